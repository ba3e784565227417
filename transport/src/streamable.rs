//! Streamable HTTP (MCP, transports): messages as bodies of requests, answers as JSON or as streams of
//! server-sent events. What its two sides share.
//!
//! Both translate between HTTP and lines, and nothing else: on either side stands a session of lines
//! as over TLS, so the policy, the limits, the audit and the cuts are the same ones.
//!
//! Two eras are spoken. Up to 2025-11-25 there are sessions: `initialize` opens one, a header names
//! it, streams can be resumed. From 2026-07-28 on every request stands for itself.

mod annotations;
pub(crate) mod client;
mod endpoint;
#[cfg(fuzzing)]
mod fuzzing;
mod mirror;
pub(crate) mod server;
mod sse;

use hyper::header::HeaderName;

pub use endpoint::{Endpoint, EndpointError};
#[cfg(fuzzing)]
pub use fuzzing::events;

/// The session of the eras that have one (up to 2025-11-25).
pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The version that was agreed on, or (2026-07-28) the one that the body names.
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The last event that came over a stream that broke (up to 2025-11-25).
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The method that the body names (2026-07-28).
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// The tool, prompt, resource or task that the body names (2026-07-28).
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// How the headers begin that repeat arguments of a call (2026-07-28).
pub(crate) const PARAM_PREFIX: &str = "mcp-param-";

/// The first revision in which every request stands for itself.
pub(crate) const STATELESS: &str = "2026-07-28";

/// The revisions with sessions.
pub(crate) const WITH_SESSIONS: [&str; 4] =
    ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// Where a request of 2026-07-28 says in its `_meta` which version it speaks.
pub(crate) const VERSION_IN_META: &str = "io.modelcontextprotocol/protocolVersion";

/// And what its client can do.
pub(crate) const CAPABILITIES_IN_META: &str = "io.modelcontextprotocol/clientCapabilities";

/// MCP 2026-07-28: a header and the body say different things.
pub(crate) const HEADER_MISMATCH: i32 = -32020;

/// A body that is one message.
pub(crate) const JSON: &str = "application/json";

/// A body that is a stream of events.
pub(crate) const EVENTS: &str = "text/event-stream";
