//! Streamable HTTP (MCP, basic/transports): sessions of MCP in requests and answers of HTTP.
//!
//! Both ends translate between HTTP and lines, and nothing else: on either side stands a session of
//! lines as over TLS, so the policy, the limits, the audit and the cuts are the same ones.
//!
//! Two eras are spoken. Up to 2025-11-25 there are sessions: `initialize` opens one, a header names
//! it, streams can be resumed. From 2026-07-28 on every request stands for itself.

pub(crate) mod server;

use hyper::header::HeaderName;

/// The session that a request belongs to, up to 2025-11-25.
pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The revision of MCP that a request follows.
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// From 2026-07-28 on: the method of the request in the body.
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// From 2026-07-28 on: the tool, prompt, resource or task that the body names.
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// The event after which a stream goes on (WHATWG HTML, server-sent events).
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The first revision in which every request stands for itself.
pub(crate) const STATELESS: &str = "2026-07-28";

/// The revisions with sessions.
pub(crate) const WITH_SESSIONS: [&str; 4] =
    ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// Where a request of 2026-07-28 says its revision, in `params._meta`.
pub(crate) const VERSION_IN_META: &str = "io.modelcontextprotocol/protocolVersion";

pub(crate) const JSON: &str = "application/json";
pub(crate) const EVENTS: &str = "text/event-stream";
