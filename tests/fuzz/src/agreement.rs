//! Whether a request over HTTP says in its headers what it says in its body: the rules of MCP's transports once more,
//! from their text.

use crate::front::ANNOTATED;
use crate::json::Meaning;
use crate::wire::Plain;

const STATELESS: &str = "2026-07-28";
const WITH_SESSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Methods that 2026-07-28 has no more.
const REMOVED: [&str; 7] = [
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "tasks/list",
    "tasks/result",
];

/// Panics if one of the lines should not have come of this request.
pub fn must_agree(request: &Plain<'_>, lines: &[Vec<u8>], path: &str, session: &str) {
    let mut lines: Vec<Meaning> =
        lines.iter().filter_map(|line| Meaning::read(line).ok()).collect();
    // What the gateway asks on its own account, to know what a call needs; and what a stream that is over cancels.
    let method =
        |message: &Meaning| message.get("method").and_then(Meaning::text).map(str::to_owned);
    let own = Meaning::read(request.body).ok();
    let is_sent = |line: &Meaning| own.as_ref().is_some_and(|own| as_sent(own) == as_sent(line));
    lines.retain(|line| is_sent(line) || !is_own(method(line).as_deref()));
    let Some(line) = lines.first() else { return };
    assert_eq!(lines.len(), 1, "one request, many messages");
    assert_eq!(request.method, "POST");
    assert_eq!(request.path.split('?').next(), Some(path), "another path");
    let own = own.as_ref().expect("what the session got is JSON");
    assert_eq!(as_sent(own), as_sent(line), "another message than was sent");
    must_be_meant(request);
    let media = request.one("content-type").expect("one type").split(';').next();
    assert!(media.is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")));
    let accepted = request.all("accept").collect::<Vec<_>>().join(",").to_ascii_lowercase();
    assert!(["json", "application/*", "*/*"].iter().any(|range| accepted.contains(range)));
    assert!(["event-stream", "text/*", "*/*"].iter().any(|range| accepted.contains(range)));
    match line.at(&["params", "_meta", VERSION]) {
        Some(version) => must_stand_for_itself(request, line, version),
        None => must_belong_to_a_session(request, line, session),
    }
}

/// A message without what may be numbered anew: the requests of one certificate share a session in 2026-07-28, so its
/// ids and progress tokens are the endpoint's.
fn as_sent(message: &Meaning) -> Meaning {
    let mut message = message.clone();
    if message.at(&["params", "_meta", VERSION]).is_some()
        && let Meaning::Map(members) = &mut message
    {
        members.insert("id".to_owned(), Meaning::Null);
        if let Some(Meaning::Map(params)) = members.get_mut("params")
            && let Some(Meaning::Map(meta)) = params.get_mut("_meta")
        {
            meta.remove("progressToken");
        }
    }
    message
}

fn is_own(method: Option<&str>) -> bool {
    matches!(method, Some("tools/list" | "notifications/cancelled"))
}

/// DNS rebinding: only names of this machine are answered to.
fn must_be_meant(request: &Plain<'_>) {
    let is_here = |authority: &str| {
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next(),
            None => authority.split(':').next(),
        };
        let host = host.unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
        host == "localhost"
            || host == "::1"
            || host.parse().is_ok_and(|host: std::net::IpAddr| host.is_loopback())
    };
    assert!(request.all("host").next().is_some_and(is_here), "meant for another host");
    for origin in request.all("origin").take(1) {
        let (scheme, authority) = origin.split_once("://").expect("a site");
        assert!(matches!(scheme, "http" | "https") && is_here(authority), "from another site");
    }
}

/// Up to 2025-11-25.
fn must_belong_to_a_session(request: &Plain<'_>, line: &Meaning, session: &str) {
    let versions: Vec<&str> = request.all("mcp-protocol-version").collect();
    assert!(
        versions.len() <= 1 && versions.iter().all(|version| WITH_SESSIONS.contains(version)),
        "{versions:?}"
    );
    let is_initialize = line.get("method").and_then(Meaning::text) == Some("initialize");
    if !is_initialize {
        assert!(
            request.one("mcp-session-id") == Some(session) && !session.is_empty(),
            "no session of its own"
        );
    }
}

/// 2026-07-28.
fn must_stand_for_itself(request: &Plain<'_>, line: &Meaning, version: &Meaning) {
    assert_eq!(version.text(), Some(STATELESS));
    assert_eq!(request.one("mcp-protocol-version"), Some(STATELESS), "the version");
    let method = line.get("method").and_then(Meaning::text).expect("a request");
    assert!(line.get("id").is_some(), "notifications have no use here");
    assert!(!REMOVED.contains(&method), "there is no {method} any more");
    assert_eq!(request.one("mcp-method"), Some(method), "the method");
    assert!(matches!(line.at(&["params", "_meta", CAPABILITIES]), Some(Meaning::Map(_))));
    let named = match method {
        "tools/call" | "prompts/get" => line.at(&["params", "name"]),
        "resources/read" => line.at(&["params", "uri"]),
        "tasks/get" | "tasks/update" | "tasks/cancel" => line.at(&["params", "taskId"]),
        _ => None,
    };
    if let Some(named) = named.and_then(Meaning::text) {
        let said = request.one("mcp-name").and_then(decoded);
        assert_eq!(said.as_deref(), Some(named), "the name");
    }
    if method == "tools/call" && named.and_then(Meaning::text) == Some(ANNOTATED) {
        must_mirror(request, line);
    }
}

/// What the annotated tool wants to see in a header.
fn must_mirror(request: &Plain<'_>, line: &Meaning) {
    let said = request.one("mcp-param-region").and_then(decoded);
    match line.at(&["params", "arguments", "region"]) {
        Some(Meaning::Text(region)) => assert_eq!(said.as_ref(), Some(region), "the argument"),
        Some(Meaning::Null) | None => assert_eq!(said, None, "an argument that is not there"),
        _ => {}
    }
}

/// A header's meaning: as it is, or in base64 between marks.
fn decoded(value: &str) -> Option<String> {
    use base64ct::{Base64, Encoding};
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(encoded) => String::from_utf8(Base64::decode_vec(encoded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}
