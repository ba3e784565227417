//! Whom a line concerns that is longer than a message may be, as far as its first and its last octets
//! tell.
//!
//! Nothing rests on a guess: what is read here names a request of this very server's, which could have
//! answered it with an error itself, so a server gains nothing by a line that reads otherwise.

/// Octets of the beginning that are looked at.
pub(super) const HEAD_LEN: usize = 4 * 1024;

/// Whom it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concerned {
    /// It answers this request.
    Request(u64),
    /// It answers nobody: a notification, a request, or no number of ours.
    Nobody,
    /// It may be anybody's answer.
    Unknown,
}

/// Reads the members of the object as far as they are short, and then from the end: JSON-RPC lets the
/// id stand before what it answers or behind it.
pub(super) fn concerned(head: &[u8], tail: &[u8]) -> Concerned {
    let mut rest = Rest(head);
    let mut id = None;
    if !rest.takes(b'{') {
        return Concerned::Unknown;
    }
    while let Some(key) = rest.text() {
        if !rest.takes(b':') {
            break;
        }
        match (key, id) {
            (b"method" | b"params", _) => return Concerned::Nobody,
            (b"result" | b"error", Some(id)) => return of(id),
            (b"result" | b"error", None) => return at_the_end(tail).map_or(Concerned::Unknown, of),
            _ => {}
        }
        let is_text = rest.0.trim_ascii_start().starts_with(b"\"");
        let Some(value) = rest.scalar() else { break };
        if key == b"id" {
            // We give numbers: "7" is not 7.
            id = Some(if is_text { b"".as_slice() } else { value });
        }
        if !rest.takes(b',') {
            break;
        }
    }
    Concerned::Unknown
}

/// A number as we give them; under anything else nobody waits.
fn of(id: &[u8]) -> Concerned {
    let number = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
    number.map_or(Concerned::Nobody, Concerned::Request)
}

/// The id, where it is the last member and a number. The last brace is the object's own, so what stands before it
/// is outside of every string; and a quote that no backslash precedes begins or ends one.
fn at_the_end(tail: &[u8]) -> Option<&[u8]> {
    let inner = tail.trim_ascii_end().strip_suffix(b"}")?.trim_ascii_end();
    let at = inner.iter().rposition(|octet| *octet == b':')?;
    let (before, value) = (inner.get(..at)?, inner.get(at + 1..)?.trim_ascii_start());
    let before = before.trim_ascii_end().strip_suffix(b"\"id\"")?.trim_ascii_end();
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    (is_number && matches!(before.last(), Some(b',' | b'{'))).then_some(value)
}

/// What is left to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn takes(&mut self, octet: u8) -> bool {
        self.0 = self.0.trim_ascii_start();
        let rest = self.0.strip_prefix(&[octet]);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A string that is whole, without its quotes, as it stands there.
    fn text(&mut self) -> Option<&'a [u8]> {
        if !self.takes(b'"') {
            return None;
        }
        let mut at = 0;
        while *self.0.get(at)? != b'"' {
            at += if self.0.get(at) == Some(&b'\\') { 2 } else { 1 };
        }
        self.take(at).inspect(|_| self.0 = self.0.get(1..).unwrap_or_default())
    }

    /// A value that holds no others, and is whole.
    fn scalar(&mut self) -> Option<&'a [u8]> {
        self.0 = self.0.trim_ascii_start();
        match self.0.first()? {
            b'{' | b'[' => None,
            b'"' => self.text(),
            _ => {
                let end = |octet: &u8| matches!(octet, b',' | b'}') || octet.is_ascii_whitespace();
                self.take(self.0.iter().position(end)?)
            }
        }
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_line(line: &str) -> Concerned {
        let octets = line.as_bytes();
        let head = &octets[..octets.len().min(HEAD_LEN)];
        concerned(head, &octets[octets.len().saturating_sub(128)..])
    }

    #[test]
    fn an_id_is_found_before_the_answer_and_behind_it() {
        let long = "x".repeat(100_000);
        for line in [
            format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"text":"{long}"}}}}"#),
            format!(r#" {{ "id" : 7 , "jsonrpc" : "2.0" , "result" : "{long}" }}"#),
            format!(r#"{{"jsonrpc":"2.0","id":7,"error":{{"code":1,"message":"{long}"}}}}"#),
            format!(r#"{{"jsonrpc":"2.0","result":{{"text":"{long}"}},"id":7}}"#),
            format!("{{\"result\":{{\"text\":\"{long}\"}} , \"jsonrpc\":\"2.0\" , \"id\" : 7 }}\r"),
        ] {
            assert_eq!(of_line(&line), Concerned::Request(7), "{}", &line[..40]);
        }
    }

    #[test]
    fn what_answers_nobody_concerns_nobody() {
        let long = "x".repeat(100_000);
        for line in [
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{long}"}}}}"#
            ),
            // The server's own request, under a number that is one of ours as well.
            format!(
                r#"{{"jsonrpc":"2.0","id":7,"method":"roots/list","params":{{"a":"{long}"}}}}"#
            ),
            format!(r#"{{"id":7,"params":{{"a":"{long}"}},"method":"roots/list"}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":"7","result":{{"a":"{long}"}}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":-7,"result":{{"a":"{long}"}}}}"#),
        ] {
            assert_eq!(of_line(&line), Concerned::Nobody, "{}", &line[..40]);
        }
    }

    #[test]
    fn what_does_not_show_whose_it_is_may_be_anybodys() {
        let long = "x".repeat(100_000);
        for line in [
            long.clone(),
            format!(r#"[{{"id":7,"result":"{long}"}}]"#),
            format!(r#"{{"result":{{"text":"{long}"}},"jsonrpc":"2.0"}}"#),
            // What only looks like an id: in a string, and in an object within.
            format!(r#"{{"result":{{"a":"{long}"}},"b":",\"id\":7}}"#),
            format!(r#"{{"result":"{long}","b":{{"id":7}}}}"#),
            format!(r#"{{"x":"{long}","id":7,"result":{{}}}}"#),
            format!(r#"{{"x":{{}},"id":7,"result":"{long}"}}"#),
        ] {
            assert_eq!(of_line(&line), Concerned::Unknown, "{}", &line[..40.min(line.len())]);
        }
    }
}
