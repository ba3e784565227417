//! What a sender is told where its message stops: the one mapping from refusals to the wire.

use std::time::Duration;

use serde_json::{Value, json};

use super::rules::{PROMPTS, RESOURCES, TOOLS, shown};
use super::{Refusal, millis};
use crate::Denial;
use crate::message::Id;

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const INTERNAL_ERROR: i32 = -32603;

/// A limit of the principal. JSON-RPC 2.0 §5.1 leaves codes outside -32768..-32000 to applications, and
/// MCP 2026-07-28 keeps -32020..-32099 to itself; this one is what HTTP calls it (RFC 6585 §4).
pub(crate) const TOO_MANY_REQUESTS: i32 = 429;

/// An error line. Where the id is not known it is left out (MCP: an error's id is optional, never null).
pub(crate) fn error(id: Option<&Id>, code: i32, message: &str, data: Option<Value>) -> Vec<u8> {
    let mut error = json!({"code": code, "message": message});
    if let (Some(data), Some(error)) = (data, error.as_object_mut()) {
        error.insert("data".into(), data);
    }
    let id = id.map(|id| format!("\"id\":{id},")).unwrap_or_default();
    format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{error}}}").into_bytes()
}

/// What a peer is told before its session is closed: no request can be named.
pub(crate) fn protocol_error(message: &str) -> Vec<u8> {
    error(None, INVALID_REQUEST, message, None)
}

/// What a peer is told whose session is closed by a judgement.
pub(crate) fn closing(denial: &Denial) -> Vec<u8> {
    let message = format!("The session is closed: {denial}");
    match denial.retry_after() {
        Some(wait) => error(None, TOO_MANY_REQUESTS, &message, Some(retry_after(&wait))),
        None => protocol_error(&message),
    }
}

fn retry_after(wait: &Duration) -> Value {
    json!({"retryAfterMs": millis(wait)})
}

/// What the sender of a refused message is told. Says nothing of what exists behind the policy.
pub(crate) fn refusal(id: Option<&Id>, refusal: &Refusal) -> Vec<u8> {
    let code = match refusal {
        Refusal::Unreadable(crate::message::ReadError::NotJson) => PARSE_ERROR,
        Refusal::Parameters
        | Refusal::NotOwn
        | Refusal::Arguments { .. }
        | Refusal::Unchecked(_)
        | Refusal::Unlisted => INVALID_PARAMS,
        Refusal::UnknownMethod(_) => METHOD_NOT_FOUND,
        Refusal::ResultShape => INTERNAL_ERROR,
        Refusal::Unreadable(_)
        | Refusal::DuplicateId
        | Refusal::TooManyInFlight
        | Refusal::NotPermitted(_)
        | Refusal::Suspended(_) => INVALID_REQUEST,
        Refusal::TooOften { .. } | Refusal::TooManyAtOnce { .. } => TOO_MANY_REQUESTS,
    };
    let message = match refusal {
        Refusal::UnknownMethod(_) => "Method not found".to_owned(),
        Refusal::Arguments { told, .. } => format!("Invalid arguments: {told}"),
        other => format!("Refused: {other}"),
    };
    let data = refusal.retry_after().as_ref().map(retry_after);
    error(id, code, &message, data)
}

/// What is answered for a name that is not permitted: exactly what is answered for one that does not exist.
pub(crate) fn absent(id: &Id, kind: &str, name: &str) -> Vec<u8> {
    match kind {
        TOOLS => error(Some(id), INVALID_PARAMS, &format!("Unknown tool: {}", shown(name)), None),
        PROMPTS => {
            error(Some(id), INVALID_PARAMS, &format!("Unknown prompt: {}", shown(name)), None)
        }
        // MCP 2026-07-28; up to 2025-11-25 the text names -32002, but the official servers never sent it.
        RESOURCES => {
            let data = json!({"uri": shown(name)});
            error(Some(id), INVALID_PARAMS, "Resource not found", Some(data))
        }
        _ => error(Some(id), INVALID_PARAMS, "Task not found", None),
    }
}

/// What is answered instead, where the operator wants denials explained.
pub(crate) fn explained(id: &Id, refusal: &Refusal) -> Vec<u8> {
    error(Some(id), INVALID_PARAMS, &format!("Denied: {refusal}"), None)
}
