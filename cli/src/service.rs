//! The CA as a service: it owns the store, and two listeners of different kinds speak for it.
//!
//! * To operators and agents with a certificate, over mutual TLS, it is an MCP server like any other
//!   behind a gateway of ours ([`admin`]): the same policy point, limits, audit and cuts.
//! * To everybody, over server-authenticated TLS, it speaks HTTP ([`web`]): certificates, lists,
//!   enrolment, OCSP.
//! * What it does unasked is in [`upkeep`]: its own certificate, and its lists, in time.

mod admin;
mod alerts;
mod signers;
mod upkeep;
mod web;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::time_provider::DefaultTimeProvider;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use vouchsafe_ca::Authority;
use vouchsafe_transport::{
    EventLog, Gateway, GatewayConfig, HttpLimits, HttpService, Limits, Output, PublicListener,
    PublicListenerConfig, Rules, Service, Trust, Upstream,
};

use crate::assemble;
use crate::confine::Confined;
use crate::exit::Failure;
use crate::follow::Source;
use crate::identity::Present;
use crate::notice::say;
use crate::systemd;
use crate::watch::WatchArgs;
use signers::Signers;
use upkeep::OwnCertificate;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// What a service is made of.
pub(crate) struct Settings {
    /// Where operators and agents with a certificate connect.
    pub(crate) listen: String,
    /// Where everybody else does.
    pub(crate) public: String,
    /// DNS names of the service beside `localhost`.
    pub(crate) dns: Vec<String>,
    /// Its addresses beside the loopback ones.
    pub(crate) ip: Vec<IpAddr>,
    /// Where every decision is recorded.
    pub(crate) audit: Arc<Output>,
    /// How to see what it does.
    pub(crate) watch: WatchArgs,
    /// What the process has given up.
    pub(crate) confined: Confined,
}

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn serve(authority: Authority, settings: Settings) -> Result<(), Failure> {
    let Settings { listen, public, dns, ip, audit, watch, confined } = settings;
    let (authority, signers) = (Arc::new(authority), Arc::new(Signers::start()?));
    let (own, present) = OwnCertificate::issue(Arc::clone(&authority), dns, ip)?;
    let web = HttpService {
        handler: web::handler(Arc::clone(&authority), Arc::clone(&signers)),
        limits: HttpLimits::default(),
    };
    let administration = administration(&authority, signers);
    let lists = Source::File(authority.home().lists_path()).follow(&present, say)?;
    let watch = watch.prepare(&present, &lists)?;
    let trust = assemble::trust_with_lists(&present, &lists);
    let log = watch.observing(EventLog::new(Arc::clone(&audit), Arc::new(DefaultTimeProvider)));
    let gateway = Arc::new(gateway(administration, &present, trust, web.clone(), log)?);
    let strangers = Arc::new(public_listener(&present, web, Arc::clone(&audit))?);
    // Both before either is announced: who hears of one may use the other.
    let (operators, everybody) = (listen_on(&listen).await?, listen_on(&public).await?);
    if let Some(alarm) = watch.alarm() {
        alerts::follow(authority.home().journal_path(), alarm)?;
    }
    watch.start(gateway.live(), &audit).await?;
    let mut stop = Stop::on_signal()?;
    let trust_domain = &authority.home().config().trust_domain;
    say(&format!("listening on {} for operators of {trust_domain}", address_of(&operators)?));
    say(&format!("listening on {} for everybody", address_of(&everybody)?));
    say(&format!("confined: {confined}"));
    systemd::notify("READY=1");
    let upkeep = tokio::spawn(upkeep::run(own));
    tokio::join!(
        gateway.serve(operators, stop.asked()),
        strangers.serve(everybody, stop.asked()),
        stop.announce(),
    );
    upkeep.abort();
    Ok(())
}

/// The MCP server behind the gateway.
fn administration(authority: &Arc<Authority>, signers: Arc<Signers>) -> Service {
    let authority = Arc::clone(authority);
    Service::new(move |peer, stream| {
        admin::serve(Arc::clone(&authority), Arc::clone(&signers), peer, stream)
    })
}

/// Operators and agents, over mutual TLS.
fn gateway(
    administration: Service,
    present: &Present,
    trust: Trust,
    web: HttpService,
    log: EventLog,
) -> Result<Gateway, Failure> {
    let config = GatewayConfig {
        identity: present.identity.clone(),
        trust,
        upstream: Upstream::Service(administration),
        streamable_http: true,
        http: Some(web),
        rules: rules(),
        limits: Limits::default(),
        log,
    };
    Gateway::new(config).map_err(Failure::new)
}

/// Everybody, over TLS that shows who the CA is and asks nothing.
fn public_listener(
    present: &Present,
    web: HttpService,
    audit: Arc<Output>,
) -> Result<PublicListener, Failure> {
    let config = PublicListenerConfig {
        identity: present.identity.clone(),
        handler: web.handler,
        limits: web.limits,
        log: EventLog::new(audit, Arc::new(DefaultTimeProvider)),
        clock: Arc::new(DefaultTimeProvider),
    };
    PublicListener::new(config).map_err(Failure::new)
}

/// Who is refused is told which permission is missing: operators are no strangers.
fn rules() -> Rules {
    let mut rules = Rules::default();
    rules.explain_denials = true;
    rules
}

async fn listen_on(address: &str) -> Result<TcpListener, Failure> {
    let failed = |error| Failure::new(format!("cannot listen on {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    // The library's queue of 128 makes honest clients wait behind a flood (listen(2) may be repeated).
    rustix::net::listen(&listener, BACKLOG).map_err(|error| failed(error.into()))?;
    Ok(listener)
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(Failure::new)
}

/// The end of the service, as SIGINT and SIGTERM ask for it.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
    stopping: watch::Sender<bool>,
}

impl Stop {
    fn on_signal() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(Failure::new)?,
            terminate: signal(SignalKind::terminate()).map_err(Failure::new)?,
            stopping: watch::Sender::new(false),
        })
    }

    /// Waits for it.
    fn asked(&self) -> impl Future<Output = ()> + use<> {
        let mut stopping = self.stopping.subscribe();
        // A sender that is gone stops the listeners as well.
        async move { drop(stopping.wait_for(|stopping| *stopping).await) }
    }

    /// Tells everybody who waits.
    async fn announce(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        systemd::notify("STOPPING=1");
        say("stopping: every session is closed");
        self.stopping.send_replace(true);
    }
}
