//! What the demo plays on: a temporary directory with a CA, identities and a gateway in it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rmcp::model::{CallToolRequestParams, JsonObject};
use rustls::time_provider::DefaultTimeProvider;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use vouchsafe_ca::{Actor, Authority, Founding, Home, Kind, Order, Reason, StoreKind};
use vouchsafe_certs::{KeyType, Permission, PermissionSet, PrivateKey, TrustDomain};
use vouchsafe_transport::{
    ChildCommand, Connector, EventLog, Gateway, GatewayConfig, Limits, Output, Rules, Upstream,
};

use super::Serving;
use crate::assemble;
use crate::client::with_client;
use crate::commands::call::text_of;
use crate::context::Context;
use crate::exit::Failure;
use crate::follow::Source;
use crate::keyfile::{Destination, Papers};
use crate::session::Failed;

pub(super) const TRUST_DOMAIN: &str = "demo.example";

pub(super) struct Stage<'a> {
    context: &'a Context,
    folder: tempfile::TempDir,
    authority: Option<Authority>,
    steps: std::cell::Cell<u32>,
    keep: bool,
}

/// An agent's identity directory.
pub(super) struct Agent {
    directory: PathBuf,
    permissions: PermissionSet,
}

impl Agent {
    pub(super) fn permissions(&self) -> String {
        self.permissions.to_string()
    }

    pub(super) fn dial(&self, address: SocketAddr) -> Result<Connector, Failure> {
        let present = assemble::identity(&self.directory)?;
        let trust = assemble::trust_without_list(&present);
        assemble::connector(&address.to_string(), None, &present, trust, &Limits::default())
    }
}

impl<'a> Stage<'a> {
    pub(super) fn set(context: &'a Context, keep: bool) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("vouchsafe-demo-").tempdir();
        let folder = folder
            .map_err(|error| Failure::new(format!("cannot make a temporary directory: {error}")))?;
        Ok(Self { context, folder, authority: None, steps: std::cell::Cell::new(0), keep })
    }

    /// Removes everything, or says where it is.
    pub(super) fn strike(self) -> Result<(), Failure> {
        let Self { context, folder, authority, keep, .. } = self;
        drop(authority);
        if keep {
            let kept = folder.keep();
            return context.print(&format!("Everything is in {}\n", kept.display()));
        }
        folder
            .close()
            .map_err(|error| Failure::new(format!("cannot remove the demo's files: {error}")))
    }

    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        self.context.print(&format!("{text}\n"))
    }

    /// Something that has happened, and how long it took.
    pub(super) fn step(&self, what: &str, time: Duration) -> Result<(), Failure> {
        self.steps.set(self.steps.get() + 1);
        let time = if time.is_zero() { String::new() } else { milliseconds(time) };
        self.say(&format!("\n{:>2}  {what:<88} {time:>9}", self.steps.get()))
    }

    /// What came of it.
    pub(super) fn detail(&self, who: &str, what: &str) -> Result<(), Failure> {
        self.say(&format!("      {who:<15} {what}"))
    }

    /// Shows why something failed; if it did not, the demo has.
    pub(super) fn must_fail(
        &self,
        who: &str,
        outcome: Result<String, Failed>,
    ) -> Result<(), Failure> {
        match outcome {
            Err(failed) if failed.is_unreachable() => Err(failed.into()),
            Err(failed) => self.detail(who, &failed.to_string()),
            Ok(text) => Err(Failure::new(format!(
                "this should have been refused, but the answer was {text:?}"
            ))),
        }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("ca")
    }

    pub(super) fn found_ca(&mut self) -> Result<(), Failure> {
        self.authority = Some(self.new_ca(&self.home())?);
        Ok(())
    }

    fn new_ca(&self, home: &Path) -> Result<Authority, Failure> {
        let trust_domain = TrustDomain::parse(TRUST_DOMAIN).map_err(Failure::new)?;
        let founding = Founding {
            trust_domain,
            key_type: KeyType::P256,
            store: StoreKind::default(),
            passphrase: None,
            root_out: None,
        };
        let now = self.context.now()?;
        let (home, ledger) = Home::create(home, founding, self.context.command(), now)?;
        self.context.authority(home, ledger, None)
    }

    fn authority(&self) -> Result<&Authority, Failure> {
        self.authority.as_ref().ok_or_else(|| Failure::new("there is no CA yet"))
    }

    pub(super) fn issue(&self, name: &str, permissions: &[&str]) -> Result<Agent, Failure> {
        let directory = self.folder.path().join(name);
        issue(self.authority()?, name, permissions, Kind::Agent, directory)
    }

    pub(super) fn issue_gateway(&self) -> Result<(), Failure> {
        let kind = Kind::Server {
            dns_names: vec!["localhost".into()],
            ip_addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        };
        let directory = self.folder.path().join("gateway");
        issue(self.authority()?, "gateway", &[], kind, directory).map(drop)
    }

    /// An agent of the same name and for everything, by a CA of the same name that nobody trusts. It
    /// trusts the real root, or it would refuse the gateway before the gateway could refuse it.
    pub(super) fn impostor(&self, name: &str) -> Result<Agent, Failure> {
        let strange = self.new_ca(&self.folder.path().join("strange-ca"))?;
        let directory = self.folder.path().join("impostor");
        let impostor = issue(&strange, name, &["*"], Kind::Agent, directory)?;
        let copy = |from: PathBuf, to: PathBuf| -> std::io::Result<()> {
            let mut roots = std::fs::read(&from)?;
            roots.extend(std::fs::read(&to)?);
            let file = std::fs::File::create(&to)?;
            std::io::Write::write_all(&mut &file, &roots)
        };
        let real = self.folder.path().join(super::READER).join("roots.pem");
        copy(real, impostor.directory.join("roots.pem"))
            .map_err(|error| Failure::new(format!("cannot copy the root: {error}")))?;
        Ok(impostor)
    }

    pub(super) fn revoke(&self, name: &str, reason: Reason) -> Result<(), Failure> {
        let authority = self.authority()?;
        let principal = authority.home().config().trust_domain.principal(name);
        authority.revoke_device(&Actor::Home, &principal.map_err(Failure::new)?, reason)?;
        Ok(())
    }

    pub(super) async fn open_gateway(&self) -> Result<RunningGateway, Failure> {
        let present = assemble::identity(&self.folder.path().join("gateway"))?;
        let list = Source::File(self.home().join("crl.pem"));
        let lists = list.follow(&present, |_| ())?;
        let audit = self.folder.path().join("audit.jsonl");
        let file = std::fs::File::create_new(&audit)
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", audit.display())))?;
        let clock = Arc::new(DefaultTimeProvider);
        let trust = vouchsafe_transport::Trust::new(
            present.roots,
            lists,
            Arc::<DefaultTimeProvider>::clone(&clock),
        );
        let gateway = Gateway::new(GatewayConfig {
            identity: present.identity,
            trust,
            upstream: Upstream::Command(notes_server()?),
            streamable_http: true,
            http: None,
            rules: Rules::default(),
            limits: Limits::default(),
            log: EventLog::new(Arc::new(Output::new(file)), clock),
        });
        RunningGateway::start(gateway.map_err(Failure::new)?, audit).await
    }
}

fn issue(
    authority: &Authority,
    name: &str,
    permissions: &[&str],
    kind: Kind,
    directory: PathBuf,
) -> Result<Agent, Failure> {
    let permissions: PermissionSet = permissions
        .iter()
        .map(|text| Permission::parse(text))
        .collect::<Result<_, _>>()
        .map_err(Failure::new)?;
    let key = PrivateKey::generate(KeyType::P256).map_err(Failure::new)?;
    let trust_domain = &authority.home().config().trust_domain;
    let issued = authority.issue(
        &Actor::Home,
        Order {
            principal: trust_domain.principal(name).map_err(Failure::new)?,
            kind,
            permissions: permissions.clone(),
            lifetime: None,
            public_key: key.public_key().map_err(Failure::new)?,
        },
    )?;
    Destination::whole(directory.clone(), false)?.write(&Papers::of(&issued), &key)?;
    Ok(Agent { directory, permissions })
}

/// This program again, as an MCP server on stdio.
fn notes_server() -> Result<ChildCommand, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(format!("cannot find this program: {error}")))?;
    ChildCommand::new([program.into_os_string(), "demo-server".into()], []).map_err(Failure::new)
}

/// A gateway that serves in the background.
pub(super) struct RunningGateway {
    pub(super) address: SocketAddr,
    audit: PathBuf,
    stop: oneshot::Sender<()>,
    serving: Serving,
}

impl RunningGateway {
    async fn start(gateway: Gateway, audit: PathBuf) -> Result<Self, Failure> {
        let failed = |error| Failure::new(format!("cannot listen on this machine: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { drop(stopped.await) };
        let serving = tokio::spawn(Arc::new(gateway).serve(listener, shutdown));
        Ok(Self { address, audit, stop, serving })
    }

    /// How many lines the audit has.
    pub(super) fn events(&self) -> Result<usize, Failure> {
        let text = std::fs::read_to_string(&self.audit);
        let text = text.map_err(|error| Failure::new(format!("cannot read the audit: {error}")))?;
        Ok(text.lines().count())
    }

    pub(super) async fn close(self) {
        drop(self.stop);
        // It ends by itself; a panic in it has been reported already.
        drop(self.serving.await);
    }
}

/// One call in a session of its own: the text of the result.
pub(super) async fn ask(
    connector: &Connector,
    tool: &str,
    arguments: JsonObject,
) -> Result<String, Failed> {
    let params = call(tool, arguments);
    let result = with_client(connector, async |client| client.call_tool(params).await).await?;
    Ok(text_of(&result))
}

pub(super) fn call(tool: &str, arguments: JsonObject) -> CallToolRequestParams {
    CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments)
}

pub(super) fn arguments(title: &str) -> JsonObject {
    JsonObject::from_iter([("title".to_owned(), title.into())])
}

pub(super) fn search(text: &str) -> JsonObject {
    JsonObject::from_iter([("text".to_owned(), text.into())])
}

/// What it gives, and how long it took.
pub(super) fn took<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (work(), begun.elapsed())
}

pub(super) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
