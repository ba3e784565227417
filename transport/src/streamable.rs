//! Streamable HTTP (MCP, transports): messages as bodies of requests, answers as JSON or as streams of
//! server-sent events. What its two sides share.

pub(crate) mod client;
mod endpoint;
mod sse;

use hyper::header::HeaderName;

pub use endpoint::{Endpoint, EndpointError};

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

/// Where a request of 2026-07-28 says in its `_meta` which version it speaks.
pub(crate) const VERSION_IN_META: &str = "io.modelcontextprotocol/protocolVersion";

/// A body that is one message.
pub(crate) const JSON: &str = "application/json";

/// A body that is a stream of events.
pub(crate) const EVENTS: &str = "text/event-stream";
