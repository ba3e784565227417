//! A CA, its agents and its gateways, in a folder that goes when the test does.

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use vouchsafe_ca::{Actor, Authority, Founding, Home, Kind, Order, Reason, StoreKind, pem};
use vouchsafe_certs::{CaCertificate, KeyType, Permission, PermissionSet, PrivateKey, TrustDomain};
use vouchsafe_transport::{
    ChildCommand, EventLog, Gateway, GatewayConfig, Identity, Limits, Output, Revocations, Rules,
    Trust, Upstream,
};

use crate::eventually;

/// The trust domain of every world.
pub const TRUST_DOMAIN: &str = "acme.example";

/// One CA with a home of its own, and the lists it publishes.
pub struct World {
    folder: TempDir,
    /// The CA.
    pub authority: Authority,
    lists: watch::Sender<Arc<Revocations>>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A new CA with P-256 keys.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(DefaultTimeProvider);
        let founding = Founding {
            trust_domain: TrustDomain::parse(TRUST_DOMAIN).unwrap(),
            key_type: KeyType::P256,
            store: StoreKind::default(),
            passphrase: None,
            root_out: None,
        };
        let now = clock.current_time().unwrap();
        let path = folder.path().join("home");
        let (home, ledger) = Home::create(&path, founding, "test", now).unwrap();
        let authority = Authority::open(home, ledger, None, clock).unwrap();
        let (lists, _) = watch::channel(Arc::new(Revocations::Unreadable));
        let world = Self { folder, authority, lists };
        world.publish();
        world
    }

    /// A folder for the test's own files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The CA's home.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.authority.home().path()
    }

    /// Publishes the lists that the CA has signed last to every gateway of this world.
    pub fn publish(&self) {
        let pem = std::fs::read(self.home().join("crl.pem")).unwrap();
        let issuers = self.agent("publisher", &[]).list_issuers();
        self.lists.send_replace(Arc::new(Revocations::from_pem(&pem, &issuers).unwrap()));
    }

    /// Publishes something else.
    pub fn publish_this(&self, revocations: Revocations) {
        self.lists.send_replace(Arc::new(revocations));
    }

    /// Revokes a device and publishes the new lists.
    pub fn revoke(&self, name: &str) {
        let principal = TrustDomain::parse(TRUST_DOMAIN).unwrap().principal(name).unwrap();
        self.authority.revoke_device(&Actor::Home, &principal, Reason::KeyCompromise).unwrap();
        self.publish();
    }

    /// Issues an agent's certificate.
    #[must_use]
    pub fn agent(&self, name: &str, permissions: &[&str]) -> Identity {
        self.issue(name, permissions, Kind::Agent, None)
    }

    /// Issues an agent's certificate that lives for so long.
    #[must_use]
    pub fn short_lived_agent(&self, name: &str, permissions: &[&str], lifetime: &str) -> Identity {
        self.issue(name, permissions, Kind::Agent, Some(lifetime))
    }

    /// Issues a gateway's certificate for `localhost`.
    #[must_use]
    pub fn server(&self, name: &str, permissions: &[&str]) -> Identity {
        let kind = Kind::Server {
            dns_names: vec!["localhost".into()],
            ip_addresses: vec!["127.0.0.1".parse().unwrap()],
        };
        self.issue(name, permissions, kind, None)
    }

    fn issue(
        &self,
        name: &str,
        permissions: &[&str],
        kind: Kind,
        lifetime: Option<&str>,
    ) -> Identity {
        let key = PrivateKey::generate(KeyType::P256).unwrap();
        let order = Order {
            principal: TrustDomain::parse(TRUST_DOMAIN).unwrap().principal(name).unwrap(),
            kind,
            permissions: permissions_of(permissions),
            lifetime: lifetime.map(|text| text.parse().unwrap()),
            public_key: key.public_key().unwrap(),
        };
        let issued = self.authority.issue(&Actor::Home, order).unwrap();
        let chain = pem::certificates(&issued.chain);
        let root = pem::certificates(&issued.roots);
        Identity::from_pem(chain.as_bytes(), &key.to_pem(), root.as_bytes()).unwrap()
    }

    /// Writes an identity into a directory, as `vouchsafe issue` would.
    #[must_use]
    pub fn directory(&self, identity: &Identity) -> PathBuf {
        let directory = self.folder().join(identity.certificate.serial.to_string());
        std::fs::create_dir(&directory).unwrap();
        let write = |name: &str, text: &str| {
            let mut file = std::fs::File::create_new(directory.join(name)).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        write("certificate.pem", &pem::certificates(&identity.chain));
        write("key.pem", &identity.key.to_pem());
        write("roots.pem", &pem::certificates(identity.roots.iter().map(|root| &root.der)));
        directory
    }

    /// Trust that follows this world's lists.
    #[must_use]
    pub fn trust(&self, identity: &Identity) -> Trust {
        self.trust_in(fixed(Arc::clone(&identity.roots)))
    }

    /// Trust in the roots that are in force, which follows this world's lists.
    #[must_use]
    pub fn trust_in(&self, roots: watch::Receiver<Arc<[CaCertificate]>>) -> Trust {
        Trust::new(roots, self.lists.subscribe(), Arc::new(DefaultTimeProvider))
    }

    /// A gateway on a free port, with the echo server behind it.
    pub async fn gateway(&self, adjust: impl FnOnce(&mut GatewayConfig)) -> RunningGateway {
        self.gateway_at("127.0.0.1:0".parse().unwrap(), adjust).await
    }

    /// A gateway at an address of which nobody else makes use.
    pub async fn gateway_at(
        &self,
        address: SocketAddr,
        adjust: impl FnOnce(&mut GatewayConfig),
    ) -> RunningGateway {
        let identity = self.server("gateway", &["client:*"]);
        let audit = self.folder.path().join(format!("audit-{}.jsonl", identity.certificate.serial));
        let mut config = GatewayConfig {
            trust: self.trust(&identity),
            identity: fixed(Arc::new(identity)),
            upstream: echo_server(),
            streamable_http: true,
            http: None,
            rules: Rules::default(),
            limits: Limits::default(),
            log: EventLog::new(
                Arc::new(Output::new(std::fs::File::create_new(&audit).unwrap())),
                Arc::new(DefaultTimeProvider),
            ),
        };
        adjust(&mut config);
        RunningGateway::start(Gateway::new(config).unwrap(), listener(address), audit)
    }
}

/// Reads the identity in a directory.
#[must_use]
pub fn identity_in(directory: &Path) -> Identity {
    let read = |file: &str| std::fs::read_to_string(directory.join(file)).unwrap();
    let (certificate, roots) = (read("certificate.pem"), read("roots.pem"));
    Identity::from_pem(certificate.as_bytes(), &read("key.pem"), roots.as_bytes()).unwrap()
}

/// What stays as it is.
#[must_use]
pub fn fixed<T>(value: T) -> watch::Receiver<T> {
    watch::channel(value).1
}

/// Reads permissions.
pub(crate) fn permissions_of(texts: &[&str]) -> PermissionSet {
    texts.iter().map(|text| Permission::parse(text).unwrap()).collect()
}

/// The echo server as a child.
fn echo_server() -> Upstream {
    Upstream::Command(ChildCommand::new([binary("echo-server").into_os_string()], []).unwrap())
}

/// Any command as a child.
#[must_use]
pub fn command(words: &[&str]) -> Upstream {
    Upstream::Command(ChildCommand::new(words.iter().map(OsString::from), []).unwrap())
}

/// A binary that cargo has built beside the tests.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // target/<profile>/deps/<test> → target/<profile>/<name>
    let built = test.ancestors().nth(2).unwrap().join(name);
    assert!(built.exists(), "{} is not built: run `cargo test --workspace`", built.display());
    built
}

/// With room for a crowd before the door: the library's own choice is 128, and whoever finds no
/// room tries again only after a second.
pub(crate) fn listener(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    // The connections of a gateway that is gone keep nobody from its place.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket.listen(4096).unwrap()
}

/// A gateway that serves until it is dropped or stopped.
pub struct RunningGateway {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its audit.
    pub audit: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl RunningGateway {
    fn start(gateway: Gateway, listener: TcpListener, audit: PathBuf) -> Self {
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { drop(stopped.await) };
        let serving = tokio::spawn(Arc::new(gateway).serve(listener, shutdown));
        Self { address, audit, stop: Some(stop), serving }
    }

    /// Stops the gateway and waits for its last child.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.await.unwrap();
    }

    /// The audit so far, line by line.
    #[must_use]
    pub fn events(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&self.audit).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until the audit holds an event of this kind with this reason.
    pub async fn wait_for(&self, event: &str, reason: &str) -> serde_json::Value {
        let is_it = |line: &serde_json::Value| {
            line["event"] == event && line["reason"].as_str().unwrap_or_default().contains(reason)
        };
        let found = self.wait_until(|events| events.iter().any(is_it)).await;
        found.into_iter().find(is_it).unwrap()
    }

    /// Waits until the audit is as it should be, and returns it.
    pub async fn wait_until(
        &self,
        condition: impl Fn(&[serde_json::Value]) -> bool,
    ) -> Vec<serde_json::Value> {
        let found = eventually(|| Some(self.events()).filter(|events| condition(events))).await;
        found.unwrap_or_else(|| panic!("it did not come about: {:#?}", self.events()))
    }
}
