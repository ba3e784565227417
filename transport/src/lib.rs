//! The meeting of two verified peers: TLS 1.3 with certificates on both sides, one judge of who may
//! stay, and one policy point through which every MCP message passes.
//!
//! ```text
//!  client ── Bridge ══ TLS 1.3, ALPN mcp/1 ══ Gateway ── child process, or service
//!              │                                 │
//!        ServerPolicy                      ClientPolicy
//!   (server's certificate)            (client's certificate)
//!              └───────────── Trust ─────────────┘
//!         may this peer stay? asked in the handshake, at each new
//!         revocation list, at notAfter, and when the list goes stale
//! ```
//!
//! * [`Identity`] is what one side shows; [`Trust`] is what it demands of the other.
//! * [`Gateway`] accepts sessions and puts an [`Upstream`] behind each: a child process that speaks
//!   MCP on its stdio, a server elsewhere that speaks it in lines or over HTTP, or a service within this process.
//! * [`Connector`] opens a session; [`Bridge`] pumps stdio through it.
//! * [`Fetcher`] asks the CA over HTTP: for lists, certificates, anything that has a URL.
//! * [`PublicListener`] serves strangers over HTTP: what they get is public, what they send is small.
//! * [`Session::run`] is the only way to a peer's stream, so nothing outlives the verdict.
//!
//! # A server of your own
//!
//! A [`Service`] is a function that serves one session. Before it stands all that stands before a
//! child process: policy, limits, audit, cuts. It gets the [`Peer`], and so knows who is calling.
//!
//! ```no_run
//! use std::{fs::File, sync::Arc};
//! use tokio::io::DuplexStream;
//! use tokio::{net::TcpListener, sync::watch};
//! use vouchsafe_transport::{
//!     DefaultTimeProvider, EventLog, Gateway, GatewayConfig, Identity, Output, Peer, Revocations,
//!     Service, Trust, Upstream,
//! };
//!
//! /// MCP, line by line, with whatever SDK you like.
//! async fn serve(peer: Arc<Peer>, stream: DuplexStream) {
//!     println!("{} may {}", peer.principal, peer.permissions);
//! #   drop(stream);
//! }
//!
//! # async fn server(lists: watch::Receiver<Arc<Revocations>>) -> Result<(), Box<dyn std::error::Error>> {
//! # let (certificate, key, roots) = (b"", "", b"");
//! // The three files of an identity directory; whatever is sent into these two later counts from then on.
//! let identity = Identity::from_pem(certificate, key, roots)?;
//! let (_renewed, roots) = watch::channel(Arc::clone(&identity.roots));
//! let (_renewed, identity) = watch::channel(Arc::new(identity));
//! let clock = Arc::new(DefaultTimeProvider);
//! let audit = Output::new(File::options().append(true).create(true).open("audit.jsonl")?);
//!
//! let gateway = Gateway::new(GatewayConfig::new(
//!     identity,
//!     // `lists` shows the latest `Revocations`; `Revocations::followed_by` says which may follow.
//!     Trust::new(roots, lists, clock.clone()),
//!     Upstream::Service(Service::new(serve)),
//!     EventLog::new(Arc::new(audit), clock),
//! ))?;
//! let listener = TcpListener::bind("127.0.0.1:8443").await?;
//! Arc::new(gateway).serve(listener, async { drop(tokio::signal::ctrl_c().await) }).await;
//! # Ok(())
//! # }
//! ```
//!
//! # A client of your own
//!
//! ```no_run
//! use std::sync::Arc;
//! use tokio::{io::AsyncWriteExt, sync::watch};
//! use vouchsafe_transport::{Connector, Identity, Limits, ServerName, Trust};
//!
//! # async fn client(identity: watch::Receiver<Arc<Identity>>, trust: Trust) -> Result<(), Box<dyn std::error::Error>> {
//! let name = ServerName::try_from("localhost")?;
//! let connector = Connector::new("localhost:8443", name, identity, trust, &Limits::default())?;
//! let session = connector.connect().await?;
//! println!("this is {}", session.peer().principal);
//! // The stream is there inside of `run` alone, and gone when trust in the server is lost.
//! session.run(|mut stream| async move { stream.write_all(b"{..}\n").await }).await??;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/rust` has both whole, with an SDK, the caller in every handler (`Extension<Arc<Peer>>`),
//! and revocation lists that are followed.

mod acceptor;
mod backoff;
mod bridge;
mod bucket;
pub mod causes;
mod child;
mod connector;
mod denial;
mod denials;
mod door;
mod event;
mod fetch;
mod frame;
mod front;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod http;
mod identity;
mod limits;
mod live;
mod message;
mod peer;
mod policy;
mod present;
mod quota;
mod random;
mod relay;
mod session;
mod shared;
mod source;
mod stream;
mod streamable;
mod tls;
mod trust;
mod upstream;
mod web;
mod woken;

pub use backoff::{Backoff, jittered};
pub use bridge::{Bridge, BridgeEnd, BridgeNews};
pub use child::{ChildCommand, ChildError};
pub use connector::{ConnectError, Connector};
pub use denial::Denial;
pub use event::{Event, EventLog, NoRecord, Observer, Output};
pub use fetch::{Anchor, Exchange, FetchError, FetchLimits, Fetcher};
pub use frame::{FrameError, LineReader, LineWriter};
pub use front::{Ended, Front, FrontError, FrontSecret};
pub use gateway::{Gateway, GatewayConfig};
pub use http::{
    Answering, Caller, Handler, HttpLimits, HttpService, PublicListener, PublicListenerConfig,
    Refused, Rest, Waiting,
};
pub use identity::{Identity, IdentityError};
pub use limits::Limits;
pub use live::{Live, LiveSession, Spoken, Traffic};
pub use message::ReadError;
pub use peer::{Peer, Role};
pub use policy::{
    ClientPolicy, Decision, Judgement, PatternError, Permit, Record, Refusal, Rules, ServerPolicy,
    Verdict, known_methods,
};
pub use quota::{LimitError, LimitTable, PrincipalLimits, Rate};
pub use session::Session;
pub use shared::SharedServer;
pub use stream::Stream;
pub use streamable::client::Near;
pub use streamable::{Endpoint, EndpointError};
pub use tls::TlsError;
pub use trust::{Following, Lists, NotTaken, Revocations, RevocationsError, Trust};
pub use upstream::{HttpUpstream, Service, SocketUpstream, Upstream, UpstreamError};

// What stands in this library's own signatures, so that its users need not find the same versions.
pub use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
pub use rustls_pki_types::{ServerName, UnixTime};
pub use vouchsafe_certs::{CaCertificate, Permission, PermissionSet, Principal};

/// The application protocol of MCP's line framing over TLS. No protocol at all means the same.
pub const ALPN: &[u8] = b"mcp/1";

/// Where Streamable HTTP is served.
pub const MCP_PATH: &str = "/mcp";

/// HTTP/1.1 over TLS (RFC 7301 §6).
pub const HTTP: &[u8] = b"http/1.1";

/// HTTP/2 over TLS (RFC 9113 §3.2).
pub(crate) const HTTP_2: &[u8] = b"h2";
