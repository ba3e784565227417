//! The texts in a part of a message that may hold somebody's contents. What the protocol itself hands
//! back and forth is left alone: a cursor or a request's state is often a signed token, and changed it
//! would be worth nothing to the server that made it.

use std::borrow::Cow;
use std::ops::Range;

use crate::message::{string_end, unescape, value_end};

/// Members whose value is the protocol's: handles, and what says of a content what it is. Not where all
/// is the tool's own.
const PROTOCOL: [&str; 14] = [
    "_meta",
    "nextCursor",
    "requestState",
    "taskId",
    "task",
    "resultType",
    "cacheScope",
    "uri",
    "url",
    "mimeType",
    "type",
    "elicitationId",
    "progressToken",
    "blob",
];

/// What differs between the parts of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Rules {
    /// `data` is a picture or a sound in base64, in which anything may be found.
    Result,
    /// `data` is what an error or a line of a log holds.
    Words,
}

impl Rules {
    fn passes_over(self, key: &str, value: u8, is_tools_own: bool) -> bool {
        match self {
            // MCP 2025-11-25: an error may ask the client to open URLs, tokens and all.
            Self::Words if key == "elicitations" => true,
            _ if is_tools_own => false,
            Self::Result if key == "data" && value == b'"' => true,
            _ => PROTOCOL.contains(&key),
        }
    }

    /// Within the value of this key nothing is the protocol's.
    fn frees(self, key: &str) -> bool {
        key == "structuredContent" || self == Self::Words && key == "data"
    }
}

/// Shows every text among the values in accepted JSON text, with the span of the string that means it.
pub(super) fn texts(json: &str, rules: Rules, mut show: impl FnMut(Range<usize>, &str)) {
    let bytes = json.as_bytes();
    let mut walk =
        Walk { json, rules, at: 0, open: Vec::new(), tools_own: None, expects_key: false };
    while let Some(byte) = bytes.get(walk.at).copied() {
        if byte != b'"' {
            walk.structure(byte);
            continue;
        }
        let Some(end) = string_end(bytes, walk.at) else { return };
        let span = walk.at..end;
        walk.at = end;
        let raw = json.get(span.start + 1..end - 1).unwrap_or_default();
        match raw.contains('\\') {
            false if walk.expects_key => walk.key(raw),
            false => show(span, raw),
            true => {
                // The reader has understood it.
                let text = unescape(raw).map_or(Cow::Borrowed(raw), Cow::Owned);
                if walk.expects_key { walk.key(&text) } else { show(span, &text) }
            }
        }
    }
}

struct Walk<'a> {
    json: &'a str,
    rules: Rules,
    at: usize,
    /// Whether each of those that are open is an object, innermost last.
    open: Vec<bool>,
    /// How many are open around what is the tool's own, while that is open.
    tools_own: Option<usize>,
    expects_key: bool,
}

impl Walk<'_> {
    /// A character outside of strings.
    fn structure(&mut self, byte: u8) {
        match byte {
            b'{' | b'[' => {
                self.open.push(byte == b'{');
                self.expects_key = byte == b'{';
            }
            b'}' | b']' => {
                self.open.pop();
                self.expects_key = false;
                if self.tools_own == Some(self.open.len()) {
                    self.tools_own = None;
                }
            }
            b',' => self.expects_key = self.open.last() == Some(&true),
            _ => {}
        }
        self.at += 1;
    }

    /// A key has been read; its value comes next, or is passed over.
    fn key(&mut self, key: &str) {
        self.expects_key = false;
        let rest = self.json.get(self.at..).unwrap_or_default();
        let value = rest.trim_start_matches([' ', '\t', ':']);
        self.at += rest.len() - value.len();
        let first = value.bytes().next().unwrap_or_default();
        let is_within = self.tools_own.is_some();
        if self.rules.passes_over(key, first, is_within) {
            self.at += value_end(value).unwrap_or(value.len());
        } else if !is_within && self.rules.frees(key) && matches!(first, b'{' | b'[') {
            self.tools_own = Some(self.open.len());
        }
    }
}
