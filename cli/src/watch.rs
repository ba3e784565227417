//! Watching what serves: metrics and health, its sessions, alerts.
//!
//! All of them hear of what happens where the audit does, through one observer of its events, and
//! none of them is asked before anything happens.

pub(crate) mod alerts;
pub(crate) mod control;
mod counters;
mod exposition;
mod metrics;
mod page;
mod standing;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::time_provider::DefaultTimeProvider;
use tokio::net::TcpListener;
use tokio::sync::watch;
use vouchsafe_transport::{Event, EventLog, Live, Output, PublicListener, Revocations};

use self::alerts::{Alarm, AlertArgs, Outgoing};
use self::control::Control;
use self::exposition::Exposition;
use self::metrics::Metrics;
use self::page::Page;
use self::standing::Standing;
use crate::confine::Needs;
use crate::exit::Failure;
use crate::identity::Present;
use crate::notice::say;

/// How to see what it does.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Watching")]
pub(crate) struct WatchArgs {
    /// Answer /metrics (OpenMetrics, for Prometheus) and /healthz over plain HTTP at this loopback address
    #[arg(long, value_name = "IP:PORT", value_parser = ip_and_port)]
    metrics: Option<SocketAddr>,

    /// Another name or address under which --metrics may be asked, which may then be one of the network; may be repeated
    #[arg(long, value_name = "HOST", requires = "metrics")]
    metrics_host: Vec<String>,

    /// Socket for `vouchsafe sessions`, in a directory that only you can enter [default: one of its own in XDG_RUNTIME_DIR]
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,

    #[command(flatten)]
    alerts: AlertArgs,
}

/// Whom a name means is asked of others, so where something listens is never left to one.
pub(crate) fn ip_and_port(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write an IP address and a port, such as 127.0.0.1:9090 or [::1]:9090; a host name is none"
            .to_owned()
    })
}

/// What watches, before there is anything to see.
pub(crate) struct Watch {
    standing: Arc<Standing>,
    metrics: Option<(SocketAddr, Arc<Metrics>)>,
    hosts: Vec<String>,
    control: Option<PathBuf>,
    alerts: Option<(Arc<Alarm>, Outgoing)>,
}

impl WatchArgs {
    /// What it needs besides of a process that is about to be confined. The directory of the control
    /// socket is made here, for then it is too late.
    pub(crate) fn add_to(&self, needs: Needs) -> Result<Needs, Failure> {
        let needs = needs.connections(self.alerts.tells_anybody());
        Ok(match (&self.control, control::default_directory()) {
            (Some(socket), _) => needs.file(socket),
            (None, Some(directory)) => {
                // Who did not ask for a socket can do without, as later.
                drop(control::make(&directory));
                needs.directory(&directory)
            }
            (None, None) => needs,
        })
    }

    /// Prepares it. Nothing is counted that nobody asked for.
    pub(crate) fn prepare(
        &self,
        present: &Present,
        lists: &watch::Receiver<Arc<Revocations>>,
    ) -> Result<Watch, Failure> {
        let metrics = self.metrics.map(|address| self.must_be_meant(address)).transpose()?;
        let standing = Standing {
            lists: lists.clone(),
            identity: present.identity.clone(),
            clock: Arc::new(DefaultTimeProvider),
        };
        let standing = Arc::new(standing);
        Ok(Watch {
            alerts: self.alerts.prepare(&standing)?,
            standing,
            metrics: metrics.map(|address| (address, Arc::default())),
            hosts: self.metrics_host.clone(),
            control: self.control.clone(),
        })
    }

    /// Whoever reaches the address reads along, so that is not left to a slip of the hand.
    fn must_be_meant(&self, address: SocketAddr) -> Result<SocketAddr, Failure> {
        if page::is_loopback(&address) || !self.metrics_host.is_empty() {
            return Ok(address);
        }
        Err(Failure::usage(format!("--metrics {address} is open to the network, without TLS")).hint(
            "take an address of the loopback, or say under which name others may ask: --metrics-host HOST",
        ))
    }
}

impl Watch {
    /// Listens to what a log records.
    pub(crate) fn observing(&self, mut log: EventLog) -> EventLog {
        if let Some((_, metrics)) = &self.metrics {
            let metrics = Arc::clone(metrics);
            log = log.observed_by(Arc::new(move |event: &Event<'_>| metrics.see(event)));
        }
        if let Some(alarm) = self.alarm() {
            log = log.observed_by(Arc::new(move |event: &Event<'_>| alarm.see(event)));
        }
        log
    }

    /// Where alerts are raised, if anybody is told of them.
    pub(crate) fn alarm(&self) -> Option<Arc<Alarm>> {
        self.alerts.as_ref().map(|(alarm, _)| Arc::clone(alarm))
    }

    /// Begins to answer. `audit` hears of whoever is refused.
    pub(crate) async fn start(self, live: Arc<Live>, audit: &Arc<Output>) -> Result<(), Failure> {
        let Self { standing, metrics, hosts, control, alerts } = self;
        let outcomes = alerts.as_ref().map(|(alarm, _)| Arc::clone(&alarm.outcomes));
        if let Some((alarm, outgoing)) = alerts {
            tokio::spawn(outgoing.deliver());
            tokio::spawn(alarm.look());
        }
        open_control(control.as_deref(), &live).await?;
        if let Some((address, metrics)) = metrics {
            let failed = |error| Failure::new(format!("cannot listen on {address}: {error}"));
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            let exposition =
                Exposition { metrics, live, standing: Arc::clone(&standing), alerts: outcomes };
            let page = Page { registry: exposition.into_registry(), standing, hosts };
            let log = EventLog::new(Arc::clone(audit), Arc::new(DefaultTimeProvider));
            let answering = PublicListener::without_tls(page.into_handler(), page::limits(), log);
            tokio::spawn(Arc::new(answering).serve(listener, std::future::pending()));
            say(&format!(
                "metrics on http://{address}/metrics, health on http://{address}/healthz"
            ));
        }
        Ok(())
    }
}

/// Who asked for a socket gets one; who did not can do without.
async fn open_control(path: Option<&Path>, live: &Arc<Live>) -> Result<(), Failure> {
    match Control::listen(path).await {
        Ok(Some(control)) => drop(tokio::spawn(control.answer(Arc::clone(live)))),
        Ok(None) => {}
        Err(failure) if path.is_some() => return Err(failure),
        Err(failure) => {
            say(&format!("note: `vouchsafe sessions` cannot ask this gateway: {failure}"))
        }
    }
    Ok(())
}
