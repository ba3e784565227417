//! A strict reader of one JSON object (RFC 8259, I-JSON in spirit).
//!
//! Two parsers that read the same octets differently are a way around any policy, so whatever some
//! parser might read in its own way is refused: duplicate keys at any depth, keys that hold a NUL,
//! lone surrogates, anything after the object. What passes has one meaning, and the octets themselves are forwarded.

use std::borrow::Cow;
use std::collections::HashSet;

use memchr::memchr2;
use thiserror::Error;

use super::value::{Known, Value, unescape};

/// Deeper nesting than any honest message needs; bounds the reader's stack.
const MAX_DEPTH: usize = 64;

/// So much of a string is looked at octet by octet.
const SHORT_LEN: usize = 24;

/// From so many keys on, an object's keys are compared through a hash set.
const MANY_KEYS: usize = 24;

/// Why a line is not a message that can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not UTF-8.
    #[error("the message is not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("the message is not JSON")]
    NotJson,
    /// An array at the top: JSON-RPC batches are no part of MCP.
    #[error("batches are not allowed")]
    Batch,
    /// Something else than an object at the top.
    #[error("the message is not an object")]
    NotObject,
    /// The same key twice in one object.
    #[error("a key appears twice in one object")]
    DuplicateKey,
    /// A key with an escaped NUL: to a parser that ends strings there it is another key, and perhaps
    /// one that is there already.
    #[error("a key holds a NUL")]
    NulInKey,
    /// A `\u` escape that is half of a surrogate pair.
    #[error("a string holds half of a surrogate pair")]
    LoneSurrogate,
    /// Nested deeper than 64 levels.
    #[error("the message is nested too deeply")]
    TooDeep,
    /// A key that some parsers would take for a protocol key.
    #[error("a key differs from a protocol key only in case")]
    CaseVariant,
    /// Not the shape of a JSON-RPC 2.0 request, notification or response.
    #[error("the message is not JSON-RPC 2.0")]
    NotJsonRpc,
}

/// Reads one line as one JSON object, and takes the members with these keys out of it on the way.
pub(super) fn read<'a, const N: usize>(
    line: &'a [u8],
    keys: [&'static str; N],
) -> Result<Known<'a, N>, ReadError> {
    let text = std::str::from_utf8(line).map_err(|_| ReadError::NotUtf8)?;
    // A line may end in CR LF. Any other CR is refused below: there are servers (the official Python
    // SDK's) whose readers end a line at a lone CR, and would read another message after it.
    let text = text.strip_suffix('\r').unwrap_or(text).trim_matches(is_space);
    match text.bytes().next() {
        Some(b'{') => {}
        Some(b'[') => return Err(ReadError::Batch),
        Some(_) if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => {
            return Err(ReadError::NotObject);
        }
        _ => return Err(ReadError::NotJson),
    }
    let mut reader = Reader { text, at: 0, keys: Vec::new(), members: Vec::new() };
    reader.object(0)?;
    if reader.at < text.len() {
        return Err(ReadError::NotJson);
    }
    Known::among(reader.members, keys)
}

/// White space within a line (RFC 8259 §2, less the line ends).
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// How much of a string comes before its end or an escape; `None` if neither comes, or a control
/// character, which MUST be escaped, comes before.
fn plain_len(text: &[u8]) -> Option<usize> {
    // Most strings are keys and names: shorter than what it takes to get going with many at a time.
    let (short, long) = text.split_at_checked(SHORT_LEN).unwrap_or((text, &[]));
    if let Some(at) = short.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20)) {
        return short.get(at).filter(|byte| **byte >= 0x20).map(|_| at);
    }
    let len = memchr2(b'"', b'\\', long)?;
    let has_control = long.iter().take(len).fold(false, |found, byte| found | (*byte < 0x20));
    (!has_control).then_some(SHORT_LEN + len)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The keys of the objects that are open, innermost last.
    keys: Vec<Cow<'a, str>>,
    /// The members of the outermost object.
    members: Vec<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| is_space(char::from(byte))) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ReadError> {
        if self.peek() != Some(byte) {
            return Err(ReadError::NotJson);
        }
        self.at += 1;
        Ok(())
    }

    /// Takes `byte` if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let comes = self.peek() == Some(byte);
        self.at += usize::from(comes);
        comes
    }

    fn value(&mut self, depth: usize) -> Result<(), ReadError> {
        if depth > MAX_DEPTH {
            return Err(ReadError::TooDeep);
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => Err(ReadError::NotJson),
        }
    }

    fn literal(&mut self, literal: &str) -> Result<(), ReadError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(literal) {
            return Err(ReadError::NotJson);
        }
        self.at += literal.len();
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<(), ReadError> {
        self.expect(b'[')?;
        self.skip_space();
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            self.skip_space();
            self.value(depth + 1)?;
            self.skip_space();
            if !self.takes(b',') {
                return self.expect(b']');
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), ReadError> {
        let outer = self.keys.len();
        self.expect(b'{')?;
        self.skip_space();
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            // Unescaped it would be no JSON.
            if matches!(&key, Cow::Owned(key) if key.contains('\0')) {
                return Err(ReadError::NulInKey);
            }
            self.keys.push(key);
            self.skip_space();
            self.expect(b':')?;
            self.skip_space();
            let start = self.at;
            self.value(depth + 1)?;
            if depth == 0 {
                self.keep_member(start);
            }
            self.skip_space();
            if !self.takes(b',') {
                break;
            }
        }
        self.expect(b'}')?;
        let distinct = are_distinct(self.keys.get(outer..).unwrap_or_default());
        self.keys.truncate(outer);
        if distinct { Ok(()) } else { Err(ReadError::DuplicateKey) }
    }

    /// Keeps the member whose key was read last, and whose value begins at `start` and ends here.
    fn keep_member(&mut self, start: usize) {
        let value = self.text.get(start..self.at).map(Value::checked);
        self.members.extend(self.keys.last().cloned().zip(value));
    }

    /// RFC 8259 §7. What the string means is built only where it holds escapes.
    fn string(&mut self) -> Result<Cow<'a, str>, ReadError> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = plain_len(rest).ok_or(ReadError::NotJson)?;
            self.at += plain + 1;
            if rest.get(plain) == Some(&b'"') {
                break;
            }
            escaped = true;
            // Whatever is escaped, a quote above all, does not end the string.
            self.at += 1;
        }
        let raw = self.text.get(start..self.at - 1).ok_or(ReadError::NotJson)?;
        if escaped { unescape(raw).map(Cow::Owned) } else { Ok(Cow::Borrowed(raw)) }
    }

    /// RFC 8259 §6. A number beyond the range of doubles is infinite to some parsers and an error to others.
    fn number(&mut self) -> Result<(), ReadError> {
        let start = self.at;
        self.literal_number()?;
        let text = self.text.get(start..self.at).unwrap_or_default();
        let is_small = text.len() < 300 && !text.contains(['e', 'E']);
        if is_small || text.parse().is_ok_and(f64::is_finite) {
            return Ok(());
        }
        Err(ReadError::NotJson)
    }

    fn literal_number(&mut self) -> Result<(), ReadError> {
        self.takes(b'-');
        if !self.takes(b'0') {
            self.digits()?;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            if !self.takes(b'+') {
                self.takes(b'-');
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ReadError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(ReadError::NotJson) }
    }
}

fn are_distinct(keys: &[Cow<'_, str>]) -> bool {
    if keys.len() < MANY_KEYS {
        let earlier = |nth: usize| keys.iter().take(nth);
        return keys.iter().enumerate().all(|(nth, key)| earlier(nth).all(|other| other != key));
    }
    let mut seen = HashSet::with_capacity(keys.len());
    keys.iter().all(|key| seen.insert(key.as_ref()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn read(line: &[u8]) -> Result<(), ReadError> {
        super::read(line, []).map(drop)
    }

    #[test]
    fn plain_objects_pass() {
        for text in [
            "{}",
            " {\"a\" : [ 1 , -0.5e+7 , true,false,null, \"\" , {} , [] ] }\r",
            r#"{"a":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}"#,
            r#"{"a":{"b":1},"b":{"a":1}}"#,
            r#"{"a":0,"A":0}"#,
            r#"{"a":"\u0000","two\nlines":0,"\\u0000":0}"#,
        ] {
            assert!(read(text.as_bytes()).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_parsers_disagree_about_is_refused() {
        for (text, error) in [
            (r#"{"a":1,"a":2}"#, ReadError::DuplicateKey),
            (r#"{"x":[{"a":1,"b":{},"a":2}]}"#, ReadError::DuplicateKey),
            (r#"{"a":1,"\u0061":2}"#, ReadError::DuplicateKey),
            (r#"{"a":1,"a\u0000":2}"#, ReadError::NulInKey),
            (r#"{"x":[{"\u0000a":1}]}"#, ReadError::NulInKey),
            (r#"{"na\u006de\u0000x":1}"#, ReadError::NulInKey),
            (r#"[{"a":1}]"#, ReadError::Batch),
            ("[", ReadError::Batch),
            ("1", ReadError::NotObject),
            ("null", ReadError::NotObject),
            (r#"{"a":"\ud800"}"#, ReadError::LoneSurrogate),
            (r#"{"a":"\udc00\ud800"}"#, ReadError::LoneSurrogate),
            (r#"{"a":"\ud800\u0061"}"#, ReadError::LoneSurrogate),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err(), error, "{text}");
        }
        assert_eq!(read(b"{\"a\":\"\xff\"}").unwrap_err(), ReadError::NotUtf8);
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "{}{}",
            "{} x",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":1e}",
            "{\"a\":-}",
            "{\"a\":1e999}",
            "{\"a\":NaN}",
            "{\"a\":Infinity}",
            "{\"a\":tru}",
            "{\"a\":\"\t\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"",
            "{\"a\":\"\\\"}",
            "{\"a\":[1,]}",
            "{\"a\":[1 2]}",
            "{\"a\":1//\n}",
            "\u{feff}{}",
            "{\"a\":\u{a0}1}",
        ] {
            assert_eq!(read(text.as_bytes()).unwrap_err(), ReadError::NotJson, "{text:?}");
        }
    }

    #[test]
    fn nothing_within_a_line_ends_a_line() {
        for end in ["\r", "\r\n", "\u{2028}", "\u{2029}", "\u{85}", "\u{b}", "\u{c}"] {
            let smuggled = format!("{{\"id\":1,\"params\":{end}{{\"id\":2}}{end}}}");
            assert_eq!(read(smuggled.as_bytes()).unwrap_err(), ReadError::NotJson, "{end:?}");
        }
        assert_eq!(read(b"{}\r\r").unwrap_err(), ReadError::NotJson);
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(read(nested(MAX_DEPTH + 1).as_bytes()).unwrap_err(), ReadError::TooDeep);
        let unclosed = format!("{{\"a\":{}", "[".repeat(1_000_000));
        assert_eq!(read(unclosed.as_bytes()).unwrap_err(), ReadError::TooDeep);
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes")]
    fn many_keys_are_compared_too() {
        let object = |keys: &[usize]| {
            let members: Vec<String> = keys.iter().map(|key| format!("\"k{key}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        let mut keys: Vec<usize> = (0..1000).collect();
        assert!(read(object(&keys).as_bytes()).is_ok());
        keys.push(0);
        assert_eq!(read(object(&keys).as_bytes()).unwrap_err(), ReadError::DuplicateKey);
    }

    proptest! {
        /// Nothing that is accepted means anything else to another parser.
        #[test]
        fn what_is_accepted_is_json_elsewhere(text in "\\{[\"a-c\\\\u0-9:,{}\\[\\] .eE+-]{0,24}\\}") {
            if read(text.as_bytes()).is_ok() {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }

        #[test]
        fn what_another_writes_is_accepted(keys in prop::collection::hash_map("[^\n\0]{0,6}", ".{0,9}", 0..40)) {
            let text = serde_json::to_string(&keys).unwrap();
            prop_assert!(read(text.as_bytes()).is_ok(), "{}", text);
        }
    }
}
