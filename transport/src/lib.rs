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

mod acceptor;
mod backoff;
mod bridge;
mod bucket;
pub mod causes;
mod child;
mod connector;
mod denial;
mod event;
mod fetch;
mod frame;
mod front;
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
    Refused,
};
pub use identity::{Identity, IdentityError};
pub use limits::Limits;
pub use live::{Live, LiveSession, Traffic};
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

/// The application protocol of MCP's line framing over TLS. No protocol at all means the same.
pub const ALPN: &[u8] = b"mcp/1";

/// Where Streamable HTTP is served.
pub const MCP_PATH: &str = "/mcp";

/// HTTP/1.1 over TLS (RFC 7301 §6).
pub const HTTP: &[u8] = b"http/1.1";

/// HTTP/2 over TLS (RFC 9113 §3.2).
pub(crate) const HTTP_2: &[u8] = b"h2";
