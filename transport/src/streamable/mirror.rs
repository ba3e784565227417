//! What headers repeat of a body, and how (MCP 2026-07-28, transports): one side writes it, the other
//! compares.

use base64ct::{Base64, Encoding};
use hyper::header::HeaderValue;

/// A longer value is left out, and the server says what it misses: no honest name is as long.
pub(crate) const MAX_VALUE_LEN: usize = 8 * 1024;

/// Around text that a header could not hold as it is.
const MARK: &str = "=?base64?";
const END: &str = "?=";

/// The parameter that `Mcp-Name` repeats.
pub(crate) fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// Visible ASCII and inner spaces as they are, anything else in base64 between marks.
pub(crate) fn encoded(text: &str) -> Option<HeaderValue> {
    let is_plain = text.bytes().all(|octet| matches!(octet, 0x20..=0x7e))
        && text.trim_matches(' ') == text
        && !(text.starts_with(MARK) && text.ends_with(END));
    if text.len() > MAX_VALUE_LEN {
        return None;
    }
    match is_plain {
        true => HeaderValue::from_str(text).ok(),
        false => {
            let coded = format!("{MARK}{}{END}", Base64::encode_string(text.as_bytes()));
            HeaderValue::from_str(&coded).ok()
        }
    }
}

/// What a header means: `=?base64?…?=` is text that a header could not hold.
pub(crate) fn decoded(value: &str) -> Option<String> {
    let encoded = value.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(END));
    match encoded {
        Some(encoded) => String::from_utf8(Base64::decode_vec(encoded).ok()?).ok(),
        None => Some(value.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_encoded() {
        assert_eq!(decoded("=?base64?w6k=?="), Some("é".to_owned()));
        assert_eq!(decoded(" echo "), Some("echo".to_owned()));
        assert_eq!(decoded("=?base64?!?="), None);
    }
}
