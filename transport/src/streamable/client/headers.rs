//! What a request says beside its body: how the two eras differ.

use hyper::HeaderMap;
use hyper::header::HeaderValue;

use crate::message::{Object, Value};
use crate::streamable::annotations::Annotations;
use crate::streamable::mirror::{encoded, named_by};
use crate::streamable::{METHOD, NAME, PROTOCOL_VERSION, VERSION_IN_META};

/// Longest id of a session.
const MAX_SESSION_ID_LEN: usize = 1024;

/// The version that a message names in itself, as from 2026-07-28 on each does.
pub(super) fn own_version(params: Option<Object<'_>>) -> Option<String> {
    let meta = params?.known(["_meta"]).ok()?.get("_meta")?.as_object()?;
    let version = meta.known([VERSION_IN_META]).ok()?.get(VERSION_IN_META)?.as_str()?;
    Some(version.into_owned())
}

/// What stands in the headers as well as in the body (MCP 2026-07-28): a server refuses what does not agree.
pub(super) fn mirrored(
    version: &str,
    method: &str,
    params: Option<Object<'_>>,
    annotations: &Annotations,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let named = params.and_then(|params| params.known(["name", "uri", "taskId", "arguments"]).ok());
    let get = |key: Option<&str>| named.as_ref()?.get(key?);
    let name = get(named_by(method)).and_then(Value::as_str);
    let pairs =
        [(PROTOCOL_VERSION, Some(version)), (METHOD, Some(method)), (NAME, name.as_deref())];
    for (header, text) in pairs {
        if let Some(value) = text.and_then(encoded) {
            headers.insert(header, value);
        }
    }
    if let (true, Some(tool)) = (method == "tools/call", name) {
        let arguments = get(Some("arguments")).and_then(Value::as_object);
        for (header, text) in annotations.of(&tool, arguments) {
            if let Some(value) = encoded(&text) {
                headers.insert(header, value);
            }
        }
    }
    headers
}

/// An id of a session that may be sent back: visible ASCII (MCP 2025-06-18, session management).
pub(super) fn session_id(value: &HeaderValue) -> Option<HeaderValue> {
    let is_visible = value.as_bytes().iter().all(|octet| matches!(octet, 0x21..=0x7e));
    (is_visible && (1..=MAX_SESSION_ID_LEN).contains(&value.len())).then(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::streamable::mirror::MAX_VALUE_LEN;

    fn headers_of(line: &str) -> Vec<(String, String)> {
        let Message::Request { method, params, .. } = Message::read(line.as_bytes()).unwrap()
        else {
            panic!("{line} is no request");
        };
        let version = own_version(params).unwrap();
        let headers = mirrored(&version, &method, params, &Annotations::default());
        let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    }

    fn request(method: &str, params: &str) -> String {
        let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}{meta}}}}}"#)
    }

    fn expected(method: &str, name: Option<&str>) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut pairs =
            vec![pair("mcp-protocol-version", "2026-07-28"), pair("mcp-method", method)];
        pairs.extend(name.map(|name| pair("mcp-name", name)));
        pairs
    }

    #[test]
    fn headers_repeat_what_the_body_names() {
        let call = request("tools/call", r#""name":"echo","uri":"not this","#);
        assert_eq!(headers_of(&call), expected("tools/call", Some("echo")));
        let read = request("resources/read", r#""uri":"notes://a","name":"not this","#);
        assert_eq!(headers_of(&read), expected("resources/read", Some("notes://a")));
        let task = request("tasks/get", r#""taskId":"t-1","#);
        assert_eq!(headers_of(&task), expected("tasks/get", Some("t-1")));
        let list = request("tools/list", r#""name":"of no meaning here","#);
        assert_eq!(headers_of(&list), expected("tools/list", None));
    }

    #[test]
    fn a_name_that_no_header_carries_goes_in_base64() {
        for (name, value) in [
            ("two words", "two words"),
            (" edge", "=?base64?IGVkZ2U=?="),
            (r"a\r\nVouchsafe-Principal: x", "=?base64?YQ0KVm91Y2hzYWZlLVByaW5jaXBhbDogeA==?="),
            ("naïve", "=?base64?bmHDr3Zl?="),
            ("=?base64?YQ==?=", "=?base64?PT9iYXNlNjQ/WVE9PT89?="),
        ] {
            let call = request("tools/call", &format!(r#""name":"{name}","#));
            assert_eq!(headers_of(&call), expected("tools/call", Some(value)));
        }
        let long = format!(r#""name":"{}","#, "x".repeat(MAX_VALUE_LEN + 1));
        assert_eq!(headers_of(&request("tools/call", &long)), expected("tools/call", None));
    }

    #[test]
    fn a_session_id_is_visible_ascii_or_none() {
        let id = |octets: &[u8]| session_id(&HeaderValue::from_bytes(octets).unwrap());
        assert!(id(b"0aF-_~!").is_some());
        for junk in [&b""[..], b"a b", b"a\tb", b"\xff", &[b'x'; MAX_SESSION_ID_LEN + 1]] {
            assert_eq!(id(junk), None, "{junk:?}");
        }
    }
}
