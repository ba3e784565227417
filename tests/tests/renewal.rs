//! A gateway whose certificate is renewed and whose roots change while sessions are open.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so")]

use std::sync::Arc;

use serde_json::json;
use tokio::sync::watch;
use vouchsafe_certs::CaCertificate;
use vouchsafe_tests::{Client, RunningGateway, World};
use vouchsafe_transport::{Identity, Revocations};

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_whoever_comes_next_and_no_session_notices() {
    let world = World::new();
    let (first, second) = (world.server("gateway", &[]), world.server("gateway", &[]));
    let serials = [first.certificate.serial, second.certificate.serial];
    let (identity, present) = watch::channel(Arc::new(first));
    let gateway = world.gateway(|config| config.identity = present).await;
    let agent = world.agent("a", &["tools:echo"]);
    let mut before = Client::connect(gateway.address, &agent).await;
    assert_eq!(before.call("echo", json!({"text": "before"})).await, "before");
    assert_eq!(before.server_certificate().serial, serials[0]);

    identity.send_replace(Arc::new(second));
    let mut after = Client::connect(gateway.address, &agent).await;
    assert_eq!(after.call("echo", json!({"text": "after"})).await, "after");
    assert_eq!(after.server_certificate().serial, serials[1]);
    assert_eq!(before.call("echo", json!({"text": "still"})).await, "still");
}

/// A gateway that trusts two CAs, and the two.
struct TwoRoots {
    gateway: RunningGateway,
    both: Arc<[CaCertificate]>,
    roots: watch::Sender<Arc<[CaCertificate]>>,
    old: World,
    new: World,
}

impl TwoRoots {
    async fn new() -> Self {
        let (old, new) = (World::new(), World::new());
        let (of_old, of_new) = (old.agent("any", &[]), new.agent("any", &[]));
        let both: Arc<[_]> = [&*of_old.roots, &*of_new.roots].concat().into();
        let issuers = [of_old.list_issuers(), of_new.list_issuers()].concat();
        let list = |world: &World| std::fs::read(world.home().join("crl.pem")).unwrap();
        let lists = [list(&old), list(&new)].concat();
        new.publish_this(Revocations::from_pem(&lists, &issuers).unwrap());
        let (roots, present) = watch::channel(Arc::clone(&both));
        let trust = new.trust_in(present);
        let gateway = new.gateway(|config| config.trust = trust).await;
        Self { gateway, both, roots, old, new }
    }

    /// A client that trusts the gateway, and has an identity of either CA.
    async fn client(&self, mut identity: Identity) -> Client {
        identity.roots = Arc::clone(&self.new.agent("any", &[]).roots);
        Client::connect(self.gateway.address, &identity).await
    }

    fn trust_both(&self) {
        self.roots.send_replace(Arc::clone(&self.both));
    }

    fn retire_old(&self) {
        self.roots.send_replace(Arc::clone(&self.new.agent("any", &[]).roots));
    }
}

#[tokio::test]
async fn a_root_that_is_retired_takes_its_sessions_with_it_and_no_other() {
    let world = TwoRoots::new().await;
    let mut of_old = world.client(world.old.agent("a", &["tools:echo"])).await;
    let mut of_new = world.client(world.new.agent("b", &["tools:echo"])).await;
    for client in [&mut of_old, &mut of_new] {
        assert_eq!(client.call("echo", json!({"text": "both"})).await, "both");
    }
    world.retire_old();
    let cut = world.gateway.wait_for("cut", "trusted root").await;
    assert_eq!(cut["principal"], "spiffe://acme.example/a");
    assert_eq!(of_new.call("echo", json!({"text": "stays"})).await, "stays");
    let mut again = world.client(world.old.agent("a", &["tools:echo"])).await;
    assert!(again.ending().await.contains("UnknownCA"));
    // A root that is added costs nobody anything.
    world.trust_both();
    assert_eq!(of_new.call("echo", json!({"text": "stays"})).await, "stays");
}

#[tokio::test]
async fn a_chain_that_names_a_trusted_ca_without_being_signed_by_it_is_not_taken_for_rooted() {
    let world = TwoRoots::new().await;
    let mut identity = world.old.agent("a", &["tools:echo"]);
    // Its own chain, and somebody else's issuing CA beside it.
    identity.chain.push(world.new.agent("any", &[]).chain[1].clone());
    let mut client = world.client(identity).await;
    assert_eq!(client.call("echo", json!({"text": "both"})).await, "both");
    world.retire_old();
    world.gateway.wait_for("cut", "trusted root").await;
}
