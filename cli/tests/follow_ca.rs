//! A running gateway that follows a CA: revocations come at once, and a CA that goes away, comes back
//! or tells stories takes nothing from it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
mod serving;
mod standin;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use home::{Home, VOUCHSAFE};
use lines::PATIENCE;
use rustix::process::Signal;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use serde_json::json;
use serving::{Serving, Talk, replace};
use standin::{Manner, StandIn};
use vouchsafe_ca::{Actor, Authority, Kind, Order, Reason};
use vouchsafe_certs::{KeyType, PermissionSet, Principal, PrivateKey, Serial, TrustDomain};
use vouchsafe_tests::{identity_in, list_of_nobody};
use vouchsafe_transport::Revocations;

const REVOKED: &str = "error: the gateway refused this identity: its certificate is revoked\n";

/// A CA, a gateway that follows it, and an agent in mid-session.
struct Scene {
    home: Home,
    ca: StandIn,
    serving: Serving,
    talk: Talk,
    /// The lines of the gateway that have been read.
    read: usize,
}

/// A CA with certificates for itself, a gateway and two agents.
fn founded() -> Home {
    let home = Home::new();
    home.run(&["issue", "ca", "--server", "--ip", "127.0.0.1"]);
    home.run(&["issue", "gw", "--server", "--ip", "127.0.0.1"]);
    home.run(&["issue", "a", "--allow", "tools:*"]);
    home.run(&["issue", "stolen", "--allow", "tools:*"]);
    home
}

impl Scene {
    fn new(manner: Manner) -> Self {
        let home = founded();
        let ca = StandIn::new(&home, manner);
        let serving = serve(&home, &ca);
        let talk = Talk::with(&home, &serving.address, "a");
        Self { home, ca, serving, talk, read: 0 }
    }

    /// The CA revokes a device, and publishes that.
    fn revokes(&self, name: &str) {
        self.home.run(&["revoke", name]);
        self.ca.publishes(current(&self.home));
    }

    /// What the gateway says next that holds this.
    fn hears(&mut self, text: &str) -> String {
        let (at, line) = self.serving.says.wait_for(self.read, text);
        self.read = at + 1;
        line.replace(&self.ca.address.to_string(), "CA")
    }

    fn is_served(&mut self) {
        assert_eq!(self.talk.calls("search_notes", &json!({"text": "May"})), "launch plan");
    }

    /// How a new session of an agent ends, or that it does not.
    fn asks_as(&self, agent: &str) -> (bool, String) {
        let arguments = ["tools", &self.serving.address, "--identity", agent];
        let output = self.home.command(VOUCHSAFE).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }
}

fn serve(home: &Home, ca: &StandIn) -> Serving {
    Serving::notes(home, &["--ca", &ca.address.to_string()])
}

/// The CA's current lists.
fn current(home: &Home) -> Vec<u8> {
    fs::read(home.path("home/crl.pem")).unwrap()
}

#[test]
fn a_revocation_arrives_as_the_answer_to_a_question_that_waits() {
    let mut scene = Scene::new(Manner::Waits);
    scene.is_served();
    for (number, (agent, revoked)) in [(2, ("stolen", 1)), (3, ("a", 2))] {
        scene.home.run(&["revoke", agent]);
        let begun = Instant::now();
        scene.ca.publishes(current(&scene.home));
        let expected = format!("revocation list number {number} in force, {revoked} revoked");
        assert_eq!(scene.hears(" in force, "), expected);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(scene.asks_as(agent), (false, REVOKED.into()));
    }
    // At the start, for what changed since, once for each list, and for the next; save that what changed
    // since may be the first of them already.
    wait_for(|| scene.ca.asked() >= 4);
    assert!(scene.ca.asked() <= 5, "{}", scene.ca.asked());
    let (code, said) = scene.talk.ended();
    assert!(code == Some(1) && said.ends_with(REVOKED.trim_end()), "{said}");
}

#[test]
fn a_ca_that_does_not_wait_is_asked_now_and_then() {
    let mut scene = Scene::new(Manner::Hurries);
    scene.revokes("stolen");
    assert_eq!(scene.hears(" in force, "), "revocation list number 2 in force, 1 revoked");
    assert_eq!(scene.asks_as("stolen"), (false, REVOKED.into()));
    scene.is_served();
    assert!(scene.ca.asked() < 10, "{}", scene.ca.asked());
}

#[test]
fn a_ca_that_needs_the_connection_for_others_is_asked_again_over_another() {
    let mut scene = Scene::new(Manner::SendsAway);
    wait_for(|| scene.ca.asked() >= 6);
    scene.revokes("stolen");
    assert_eq!(scene.hears(" in force, "), "revocation list number 2 in force, 1 revoked");
    assert_eq!(scene.asks_as("stolen"), (false, REVOKED.into()));
    // That is how a CA is when many ask, and nothing that anybody need be told of.
    assert!(!scene.serving.says.all().iter().any(|line| line.contains("WARNING")));
}

#[test]
fn a_ca_that_goes_and_comes_disturbs_nobody() {
    let mut scene = Scene::new(Manner::Waits);
    scene.ca.goes();
    let warned = scene.hears("WARNING");
    assert!(
        warned.starts_with("WARNING: CA broke off: the connection ended; the list"),
        "{warned}"
    );
    assert!(warned.contains("; the list in force stays until 20"), "{warned}");
    scene.is_served();
    assert!(scene.asks_as("a").0);
    // It comes back with trouble of its own first.
    scene.home.run(&["revoke", "stolen"]);
    scene.ca.comes(Manner::Fails);
    let trouble = scene.hears(" answers ");
    assert!(trouble.starts_with("WARNING: CA answers /delta.pem with 503"), "{trouble}");
    scene.is_served();
    scene.ca.goes();
    scene.ca.publishes(current(&scene.home));
    scene.ca.comes(Manner::Waits);
    assert_eq!(scene.hears("again"), "following CA again");
    assert_eq!(scene.hears(" in force, "), "revocation list number 2 in force, 1 revoked");
    assert_eq!(scene.asks_as("stolen"), (false, REVOKED.into()));
    scene.is_served();
}

#[test]
fn a_gateway_starts_without_its_ca_and_never_behind_what_it_knew() {
    let mut scene = Scene::new(Manner::Waits);
    let before = current(&scene.home);
    scene.revokes("stolen");
    scene.hears("number 2 in force");
    let kept =
        || fs::read(scene.home.path("gw.crl.pem.delta-1")).ok() == Some(current(&scene.home));
    wait_for(kept);
    assert!(!scene.serving.says.all().iter().any(|line| line.contains("WARNING")));
    scene.talk.leaves();
    let Scene { home, mut ca, serving, .. } = scene;
    assert!(serving.stops(Signal::TERM).0.success());
    ca.goes();
    let serving = serve(&home, &ca);
    let talk = Talk::with(&home, &serving.address, "a");
    let mut scene = Scene { home, ca, serving, talk, read: 0 };
    let warned = scene.hears("WARNING");
    assert!(warned.starts_with("WARNING: CA cannot be reached: "), "{warned}");
    assert_eq!(scene.asks_as("stolen"), (false, REVOKED.into()));
    // A CA that was put back to yesterday is not believed.
    scene.ca.publishes(before);
    scene.ca.comes(Manner::Waits);
    let older = scene.hears("is lower");
    let expected = ": its number 1 is lower than 2, the number of the list in force; its list in force stays until 20";
    assert!(
        older.starts_with("WARNING: the revocation list of CA is not taken for CA "),
        "{older}"
    );
    assert!(older.contains(expected), "{older}");
    assert_eq!(scene.asks_as("stolen"), (false, REVOKED.into()));
    scene.is_served();
}

#[test]
fn changes_are_never_kept_without_what_they_change() {
    let home = founded();
    let mut ca = StandIn::new(&home, Manner::Waits);
    let address = ca.address.to_string();
    let kept = ["--ca", &address, "--cache", "kept/lists.pem"];
    let serving = Serving::notes(&home, &kept);
    serving.says.wait_for(0, "without it a start needs the CA");
    // Now there would be room for what changes, but the lists themselves are not there yet.
    fs::create_dir(home.path("kept")).unwrap();
    home.run(&["revoke", "stolen"]);
    ca.publishes(current(&home));
    serving.says.wait_for(0, "number 2 in force");
    wait_for(|| fs::read(home.path("kept/lists.pem")).ok() == Some(current(&home)));
    assert!(serving.stops(Signal::TERM).0.success());
    ca.goes();
    let serving = Serving::notes(&home, &kept);
    serving.says.wait_for(0, "(1 revoked), followed");
}

#[test]
fn without_the_ca_and_without_its_last_lists_nobody_is_served() {
    let home = founded();
    let mut ca = StandIn::new(&home, Manner::Waits);
    let stranger = founded();
    ca.goes();
    let address = ca.address.to_string();
    let serve = |home: &Home, address: &str| {
        let arguments = ["serve", "--identity", "gw", "--ca", address, "--", "true"];
        let output = home.command(VOUCHSAFE).args(arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap().replace(address, "CA");
        (output.status.code().unwrap(), text)
    };
    let (code, text) = serve(&home, &address);
    let expected = "error: there is no revocation list to begin with: CA cannot be reached: ";
    assert!(code == 3 && text.starts_with(expected), "{code} {text}");

    // Lists that were tampered with are as good as none, and what is no CA of ours is not asked.
    replace(&home.path("gw.crl.pem"), b"garbage");
    let (code, text) = serve(&home, &address);
    assert!(code == 3 && text.contains("; the revocation list in "), "{text}");
    let other = StandIn::new(&stranger, Manner::Waits);
    let (code, text) = serve(&home, &other.address.to_string());
    let expected = "there is no revocation list to begin with: CA is not trusted: the certificate does not lead to a trusted root";
    assert!(code == 3 && text.contains(expected), "{code} {text}");
    assert_eq!(other.asked(), 0);
}

#[test]
fn an_agent_follows_the_ca_as_well_and_leaves_a_gateway_that_is_revoked() {
    let scene = Scene::new(Manner::Waits);
    let ca = scene.ca.address.to_string();
    let talk = Talk::with_options(&scene.home, &scene.serving.address, "stolen", &["--ca", &ca]);
    scene.revokes("gw");
    let (code, text) = talk.ended();
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("error: the gateway is not trusted: the certificate is revoked"),
        "{text}"
    );
}

#[test]
fn a_stolen_issuing_key_neither_keeps_out_its_own_revocation_nor_serves_the_thief() {
    let mut scene = Scene::new(Manner::Waits);
    let issuing = identity_in(&scene.home.path("gw")).authorities.remove(0);
    // A thief has that CA's key, stands in the CA's place, and forgives everybody, once and for all.
    scene.home.run(&["revoke", "stolen"]);
    let fair = String::from_utf8(current(&scene.home)).unwrap();
    let key = fs::read_to_string(scene.home.path("home/issuing.key")).unwrap();
    let poison = list_of_nobody(&issuing, &PrivateKey::from_pem(&key).unwrap(), u64::MAX);
    let lists = fair.split_inclusive("-----END X509 CRL-----\n");
    let is_of_issuing = |list: &&str| {
        Revocations::from_pem(list.as_bytes(), std::slice::from_ref(&issuing)).is_ok()
    };
    let others: String = lists.filter(|list| !is_of_issuing(list)).collect();
    scene.ca.publishes((others + &poison).into());
    scene.hears("revocation list number 18446744073709551615 in force, 0 revoked");
    assert!(scene.asks_as("stolen").0);

    // What the CA itself says of its certificates is lower now, which does not go unnoticed.
    scene.ca.publishes(fair.into());
    let warned = scene.hears("WARNING");
    let expected = format!(" is not taken for CA {}: its number 2 is lower than ", issuing.serial);
    assert!(warned.contains(&expected), "{warned}");

    // So the root ends it: the thief's lists are worth nothing from then on, and everybody moves.
    scene.home.run(&["rotate", "issuer", "--now"]);
    scene.home.run(&["issue", "b", "--allow", "tools:*"]);
    scene.home.run(&["issue", "ca", "--server", "--ip", "127.0.0.1", "--out", "new-ca"]);
    scene.home.run(&["issue", "gw", "--server", "--ip", "127.0.0.1", "--out", "gw", "--force"]);
    scene.home.run(&["revoke", "--issuer", &issuing.serial.to_string()]);
    scene.ca.publishes(current(&scene.home));
    let cut = scene.talk;
    let (code, said) = cut.ended();
    assert!(code == Some(1) && said.ends_with(REVOKED.trim_end()), "{said}");
    let home = scene.home;
    let asks = |agent| {
        let arguments = ["tools", &scene.serving.address, "--identity", agent];
        home.command(VOUCHSAFE).args(arguments).output().unwrap().status.success()
    };
    assert!(!asks("stolen"));
    assert!(asks("b"));
}

#[test]
fn a_ca_whose_certificate_is_revoked_is_not_followed_until_it_has_another() {
    let mut scene = Scene::new(Manner::Waits);
    // Somebody else has the key of the CA's service, so it gets another certificate.
    scene.home.run(&["revoke", "ca"]);
    scene.home.run(&["revoke", "ca", "--reinstate"]);
    scene.home.run(&["issue", "ca", "--server", "--ip", "127.0.0.1", "--out", "new-ca"]);
    scene.ca.publishes(current(&scene.home));
    scene.hears("revocation list number 2 in force, 1 revoked");
    let warned = scene.hears("WARNING");
    let expected =
        "WARNING: CA is not trusted: the certificate is revoked; the list in force stays until 20";
    assert!(warned.starts_with(expected), "{warned}");
    // Nor after a restart: what was known is known.
    scene.ca.goes();
    scene.ca.comes(Manner::Waits);
    let Scene { home, mut ca, serving, talk, .. } = scene;
    talk.leaves();
    assert!(serving.stops(Signal::TERM).0.success());
    let serving = serve(&home, &ca);
    serving.says.wait_for(0, &format!("{} is not trusted: the certificate is revoked", ca.address));
    assert_eq!(ca.asked(), 0);
    ca.goes();
    ca.shows(&home, "new-ca");
    ca.comes(Manner::Waits);
    home.run(&["revoke", "stolen"]);
    ca.publishes(current(&home));
    let following = format!("following {} again", ca.address);
    let (at, _) = serving.says.wait_for(0, &following);
    serving.says.wait_for(at, " in force, 2 revoked");
    let arguments = ["tools", &serving.address, "--identity", "stolen"];
    let output = home.command(VOUCHSAFE).args(arguments).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), REVOKED);
}

#[test]
fn another_server_of_the_trust_domain_is_not_the_ca() {
    let home = founded();
    let mut ca = StandIn::new(&home, Manner::Waits);
    ca.goes();
    ca.shows(&home, "gw");
    ca.comes(Manner::Waits);
    let address = ca.address.to_string();
    let arguments = ["serve", "--identity", "gw", "--ca", &address, "--", "true"];
    let output = home.command(VOUCHSAFE).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let expected = "the server there is spiffe://acme.example/gw, not the CA";
    assert!(output.status.code() == Some(3) && text.contains(expected), "{text}");
    assert_eq!(ca.asked(), 0);
}

/// More than a list of 16 KiB holds.
const MANY: usize = 460;

fn open(home: &Home) -> Authority {
    let clock = Arc::new(DefaultTimeProvider);
    let now = clock.current_time().unwrap();
    let home = vouchsafe_ca::Home::open(&home.path("home"), "test", now).unwrap();
    let ledger = home.open_ledger().unwrap();
    Authority::open(home, ledger, None, clock).unwrap()
}

fn principal(name: &str) -> Principal {
    TrustDomain::parse("acme.example").unwrap().principal(name).unwrap()
}

/// Issues certificates to one device.
fn issue(authority: &Authority, name: &str, count: usize) -> Vec<Serial> {
    let key = PrivateKey::generate(KeyType::P256).unwrap().public_key().unwrap();
    let issue = || {
        let order = Order {
            principal: principal(name),
            kind: Kind::Agent,
            permissions: PermissionSet::default(),
            lifetime: None,
            public_key: key.clone(),
        };
        authority.issue(&Actor::Home, order).unwrap().certificate.serial
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(issue)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_long_list_is_sent_once_and_then_only_what_changed() {
    let home = founded();
    let authority = open(&home);
    issue(&authority, "old", MANY);
    authority.revoke_device(&Actor::Home, &principal("old"), Reason::Superseded).unwrap();
    let publish = |ca: &StandIn| {
        let lists = authority.lists();
        ca.publishes_changes(lists.to_pem().into(), lists.changes_to_pem().into());
        lists.to_pem().len()
    };
    let ca = StandIn::new(&home, Manner::Waits);
    let all = publish(&ca);
    let serving = serve(&home, &ca);
    let talk = Talk::with(&home, &serving.address, "a");
    let mut scene = Scene { home, ca, serving, talk, read: 0 };
    let revoked = issue(&authority, "new", 40);
    for (nth, serial) in revoked.iter().enumerate() {
        authority.revoke(&Actor::Home, serial, Reason::Superseded).unwrap();
        publish(&scene.ca);
        scene.hears(&format!(" in force, {} revoked", MANY + nth + 1));
    }
    // The CA has signed a whole list on the way; whoever follows has no need of it.
    let sent = scene.ca.sent();
    assert!(sent < all + revoked.len() * all / 4, "{sent} octets; all lists have {all}");
    authority.revoke_device(&Actor::Home, &principal("stolen"), Reason::KeyCompromise).unwrap();
    publish(&scene.ca);
    scene.hears(&format!(" in force, {} revoked", MANY + revoked.len() + 1));
    assert_eq!(scene.asks_as("stolen"), (false, REVOKED.into()));

    // What changed is kept beside the whole list, for a start without the CA.
    let changes = authority.lists().changes_to_pem();
    let kept = scene.home.path("gw.crl.pem.delta-2");
    wait_for(|| fs::read_to_string(&kept).ok() == Some(changes.clone()));
    let Scene { home, serving, ca, .. } = scene;
    let mut ca = ca;
    assert!(serving.stops(Signal::TERM).0.success());
    ca.goes();
    let serving = serve(&home, &ca);
    serving.says.wait_for(0, &format!("({} revoked), followed", MANY + revoked.len() + 1));
    // Where the CA has gone on for so long that what changed does not fit, all is asked for.
    for serial in issue(&authority, "new", 80) {
        authority.revoke(&Actor::Home, &serial, Reason::Superseded).unwrap();
    }
    publish(&ca);
    ca.comes(Manner::Waits);
    serving.says.wait_for(0, &format!(" in force, {} revoked", MANY + revoked.len() + 81));
    assert!(ca.sent() > all);
}

fn wait_for(mut happens: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happens() {
        assert!(begun.elapsed() < PATIENCE, "it does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
