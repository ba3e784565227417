//! Looking into JSON text that the reader has accepted. Nothing is copied until it must be.

use std::borrow::Cow;

use memchr::memchr2;

use super::ReadError;
use super::reader::is_space;

/// The text of one JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a>(&'a str);

/// The text of one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object<'a>(&'a str);

impl<'a> Value<'a> {
    /// Only the reader calls this, once it has read the whole value.
    pub(super) fn checked(text: &'a str) -> Self {
        Self(text)
    }

    /// The JSON text.
    pub(crate) fn text(self) -> &'a str {
        self.0
    }

    pub(crate) fn as_object(self) -> Option<Object<'a>> {
        self.0.starts_with('{').then_some(Object(self.0))
    }

    /// The elements, if this is an array.
    pub(crate) fn as_array(self) -> Option<impl Iterator<Item = Self>> {
        let mut rest = self.0.strip_prefix('[')?;
        Some(std::iter::from_fn(move || {
            rest = rest.trim_start_matches(|c| is_space(c) || c == ',');
            let (element, after) = split_value(rest)?;
            rest = after;
            Some(element)
        }))
    }

    /// What a string means.
    pub(crate) fn as_str(self) -> Option<Cow<'a, str>> {
        let raw = self.0.strip_prefix('"')?.strip_suffix('"')?;
        match raw.contains('\\') {
            false => Some(Cow::Borrowed(raw)),
            true => unescape(raw).ok().map(Cow::Owned),
        }
    }

    /// Where this value stands in the text it was taken from.
    pub(crate) fn span_in(self, outer: &str) -> std::ops::Range<usize> {
        let start = self.0.as_ptr().addr().saturating_sub(outer.as_ptr().addr());
        start..start + self.0.len()
    }
}

impl<'a> Object<'a> {
    /// The JSON text.
    pub(crate) fn text(self) -> &'a str {
        self.0
    }

    /// The members in order.
    pub(crate) fn members(self) -> Members<'a> {
        Members(self.0.strip_prefix('{').unwrap_or_default())
    }

    /// The members with these keys, found in one pass.
    pub(crate) fn known<const N: usize>(
        self,
        keys: [&'static str; N],
    ) -> Result<Known<'a, N>, ReadError> {
        Known::among(self.members(), keys)
    }
}

/// Those members of an object that are looked at.
#[derive(Debug)]
pub(crate) struct Known<'a, const N: usize> {
    keys: [&'static str; N],
    values: [Option<Value<'a>>; N],
}

impl<'a, const N: usize> Known<'a, N> {
    /// Those of `members` that have these keys. A key that differs from one of them only in case is
    /// refused: there are parsers that would take it for that key (Go's does, and lets the last one
    /// win). There is no other way to look a member up, so nothing is read unchecked.
    pub(super) fn among(
        members: impl IntoIterator<Item = (Cow<'a, str>, Value<'a>)>,
        keys: [&'static str; N],
    ) -> Result<Self, ReadError> {
        let mut values = [None; N];
        for (own, value) in members {
            match keys.iter().zip(&mut values).find(|(key, _)| own == **key) {
                Some((_, found)) => *found = Some(value),
                None if folds_to_one_of(&own, &keys) => return Err(ReadError::CaseVariant),
                None => {}
            }
        }
        Ok(Self { keys, values })
    }

    /// The member with this key, which is one of the known ones.
    pub(crate) fn get(&self, key: &str) -> Option<Value<'a>> {
        debug_assert!(self.keys.contains(&key), "{key} is not among the keys that were looked for");
        self.keys
            .iter()
            .zip(&self.values)
            .find(|(own, _)| **own == key)
            .and_then(|(_, value)| *value)
    }
}

/// Whether `own` is one of `keys`, which are ASCII, to a parser that ignores case. Simple case folding
/// knows two letters outside ASCII that fold into it, the long s and the Kelvin sign; Java, which
/// compares upper case as well, takes the dotted and the dotless i of Turkish for an i.
fn folds_to_one_of(own: &str, keys: &[&str]) -> bool {
    if own.is_ascii() {
        return keys.iter().any(|key| own.eq_ignore_ascii_case(key));
    }
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        _ => c.to_ascii_lowercase(),
    };
    keys.iter().any(|key| own.chars().map(fold).eq(key.chars().map(fold)))
}

/// The members of an object, one after the other.
pub(crate) struct Members<'a>(&'a str);

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start_matches(|c| is_space(c) || c == ',');
        let (key, rest) = split_value(rest)?;
        let key = key.as_str()?;
        let rest = rest.trim_start_matches(is_space).strip_prefix(':')?;
        let (value, rest) = split_value(rest.trim_start_matches(is_space))?;
        self.0 = rest;
        Some((key, value))
    }
}

/// Past the value that starts accepted text.
pub(crate) fn value_end(text: &str) -> Option<usize> {
    split_value(text).map(|(value, _)| value.0.len())
}

/// Takes one value off the front of accepted text; `None` at a closing bracket.
fn split_value(text: &str) -> Option<(Value<'_>, &str)> {
    let bytes = text.as_bytes();
    let end = match bytes.first()? {
        b'"' => string_end(bytes, 0)?,
        b'{' | b'[' => nested_end(bytes)?,
        b'}' | b']' => return None,
        _ => bytes
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t'))
            .unwrap_or(bytes.len()),
    };
    text.split_at_checked(end).map(|(value, rest)| (Value(value), rest))
}

/// Past the string that starts at `start`, in text that the reader has accepted.
pub(crate) fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        let found = at + memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(found) == Some(&b'"') {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

/// Past the object or array that starts the text.
fn nested_end(bytes: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        // What is neither bracket nor quote is passed over in one go.
        let is_structure = |byte: &u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
        at += bytes.get(at..)?.iter().position(is_structure)?;
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            _ => depth -= 1,
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// What the inside of a string means (RFC 8259 §7).
pub(crate) fn unescape(raw: &str) -> Result<String, ReadError> {
    let mut meaning = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        meaning.push_str(plain);
        let mut chars = escaped.chars();
        let c = match chars.next() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let (c, after) = unescape_unicode(chars.as_str())?;
                meaning.push(c);
                rest = after;
                continue;
            }
            _ => return Err(ReadError::NotJson),
        };
        meaning.push(c);
        rest = chars.as_str();
    }
    meaning.push_str(rest);
    Ok(meaning)
}

/// One character written as `\uXXXX` or as a surrogate pair; the first `\u` is already taken.
fn unescape_unicode(text: &str) -> Result<(char, &str), ReadError> {
    let (first, rest) = code_unit(text)?;
    if !(0xd800..0xe000).contains(&first) {
        let c = char::from_u32(first).ok_or(ReadError::LoneSurrogate)?;
        return Ok((c, rest));
    }
    let second = rest.strip_prefix("\\u").ok_or(ReadError::LoneSurrogate)?;
    let (second, rest) = code_unit(second)?;
    if first >= 0xdc00 || !(0xdc00..0xe000).contains(&second) {
        return Err(ReadError::LoneSurrogate);
    }
    let scalar = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(scalar).map(|c| (c, rest)).ok_or(ReadError::LoneSurrogate)
}

fn code_unit(text: &str) -> Result<(u32, &str), ReadError> {
    let (digits, rest) = text.split_at_checked(4).ok_or(ReadError::NotJson)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ReadError::NotJson);
    }
    let unit = u32::from_str_radix(digits, 16).map_err(|_| ReadError::NotJson)?;
    Ok((unit, rest))
}

#[cfg(test)]
mod tests {
    use super::super::reader::read;
    use super::*;

    /// An object within a message.
    fn object(text: &str) -> String {
        format!("{{\"o\":{text}}}")
    }

    fn read_object(line: &str) -> Object<'_> {
        read(line.as_bytes(), ["o"]).unwrap().get("o").unwrap().as_object().unwrap()
    }

    #[test]
    fn members_and_elements_in_order() {
        let line = object(r#"{ "a" : [ 1 , "x,]" , {"b":[]} ] , "c\n":"\u00e9" , "d":null }"#);
        let object = read_object(&line);
        let members: Vec<_> = object.members().map(|(k, v)| (k.into_owned(), v.text())).collect();
        assert_eq!(
            members,
            [
                ("a".to_owned(), "[ 1 , \"x,]\" , {\"b\":[]} ]"),
                ("c\n".to_owned(), "\"\\u00e9\""),
                ("d".to_owned(), "null"),
            ]
        );
        let elements: Vec<_> = object
            .known(["a"])
            .unwrap()
            .get("a")
            .unwrap()
            .as_array()
            .unwrap()
            .map(Value::text)
            .collect();
        assert_eq!(elements, ["1", "\"x,]\"", "{\"b\":[]}"]);
        assert_eq!(object.known(["c\n"]).unwrap().get("c\n").unwrap().as_str().unwrap(), "é");
        assert_eq!(object.known(["e"]).unwrap().get("e"), None);
        assert_eq!(read_object(r#"{"o":{}}"#).members().count(), 0);
    }

    #[test]
    fn case_variants_of_protocol_keys() {
        // Also in the message itself, whose members the reader takes on the way.
        let variants = |text: &str| {
            let keys = ["task", "name", "uri"];
            let outer = read(text.as_bytes(), keys).map(drop);
            assert_eq!(read_object(&object(text)).known(keys).map(drop), outer, "{text}");
            outer
        };
        assert_eq!(variants(r#"{"name":1,"other":2,"tasks":3}"#), Ok(()));
        for text in [
            r#"{"Name":1}"#,
            r#"{"name":1,"NAME":2}"#,
            "{\"ta\u{17f}k\":1}",
            "{\"tas\u{212a}\":1}",
            "{\"ur\u{131}\":1}",
            "{\"UR\u{130}\":1}",
            r#"{"n\u0041me":1}"#,
        ] {
            assert_eq!(variants(text), Err(ReadError::CaseVariant), "{text}");
        }
    }

    #[test]
    fn spans_point_into_the_text() {
        let line = r#"{"a":{"b":"c"}}"#;
        let a = read(line.as_bytes(), ["a"]).unwrap().get("a").unwrap().as_object().unwrap();
        let inner = a.known(["b"]).unwrap().get("b").unwrap();
        assert_eq!(&line[inner.span_in(line)], "\"c\"");
    }
}
