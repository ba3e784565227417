//! A session of lines that many requests share, of which each has been named by somebody else:
//! within the session they bear numbers.

use std::ops::Range;

use super::{Edit, Id, Known, Message, Object, ReadError, Value, edit};

/// MCP 2026-07-28: the id of the listen request that a message belongs to.
const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The line of a request under a number of its own, which is its progress token as well if it has one.
///
/// # Errors
/// Those of reading; the request has been read before, so there are none.
pub(crate) fn request_as(line: &[u8], number: u64) -> Result<Vec<u8>, ReadError> {
    let text = std::str::from_utf8(line).map_err(|_| ReadError::NotUtf8)?;
    let envelope = Message::envelope(line)?;
    let params = envelope.get("params").and_then(Value::as_object);
    let token = params.map(|params| meta(params, ["progressToken"])).transpose()?.flatten();
    let token = token.and_then(|meta| meta.get("progressToken"));
    let named = envelope.get("id").into_iter().chain(token);
    Ok(edit(text, named.map(|value| (value.span_in(text), number.to_string())).collect()).into())
}

fn meta<'a, const N: usize>(
    object: Object<'a>,
    keys: [&'static str; N],
) -> Result<Option<Known<'a, N>>, ReadError> {
    let meta = object.known(["_meta"])?.get("_meta").and_then(Value::as_object);
    meta.map(|meta| meta.known(keys)).transpose()
}

/// A server's line, and which of the requests it concerns.
#[derive(Debug)]
pub(crate) struct Concerning<'a> {
    text: &'a str,
    /// The request's number.
    pub(crate) number: u64,
    /// Where the line says it as the request's id.
    ids: Vec<Range<usize>>,
    /// Where it says it as the progress token.
    token: Option<Range<usize>>,
}

impl<'a> Concerning<'a> {
    /// Reads a line that `message` was read from; `None` if it concerns no request.
    pub(crate) fn read(line: &'a [u8], message: &Message<'a>) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let mut found = Found { text, number: None, ids: Vec::new(), token: None };
        match message {
            Message::Response { .. } => {
                let envelope = Message::envelope(line).ok()?;
                found.id(envelope.get("id"));
                let result = envelope.get("result").and_then(Value::as_object);
                found.subscription(result);
            }
            Message::Notification { method, params: Some(params) } => {
                let known = params.known(["progressToken", "requestId"]).ok()?;
                match &**method {
                    "notifications/progress" => found.token(known.get("progressToken")),
                    "notifications/cancelled" => found.id(known.get("requestId")),
                    _ => {}
                }
                found.subscription(Some(*params));
            }
            _ => {}
        }
        let Found { text, number, ids, token } = found;
        Some(Self { text, number: number?, ids, token })
    }

    /// The line as it is for whoever named the request like this.
    pub(crate) fn called(&self, request: &Id, token: Option<&Id>) -> String {
        let mut edits: Vec<Edit> =
            self.ids.iter().map(|span| (span.clone(), request.to_string())).collect();
        edits.extend(self.token.clone().zip(token.map(Id::to_string)));
        edit(self.text, edits)
    }
}

struct Found<'a> {
    text: &'a str,
    number: Option<u64>,
    ids: Vec<Range<usize>>,
    token: Option<Range<usize>>,
}

impl<'a> Found<'a> {
    fn id(&mut self, value: Option<Value<'a>>) {
        if let Some((span, number)) = self.numbered(value) {
            self.number.get_or_insert(number);
            self.ids.push(span);
        }
    }

    fn token(&mut self, value: Option<Value<'a>>) {
        if let Some((span, number)) = self.numbered(value) {
            self.number.get_or_insert(number);
            self.token = Some(span);
        }
    }

    fn subscription(&mut self, object: Option<Object<'a>>) {
        let meta = object.and_then(|object| meta(object, [SUBSCRIPTION_ID]).ok().flatten());
        self.id(meta.and_then(|meta| meta.get(SUBSCRIPTION_ID)));
    }

    fn numbered(&self, value: Option<Value<'a>>) -> Option<(Range<usize>, u64)> {
        let value = value?;
        Some((value.span_in(self.text), value.text().parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(id: &str) -> Id {
        Id::Text(id.into())
    }

    #[test]
    fn a_request_gets_a_number_for_its_id_and_its_token_and_nothing_else_changes() {
        let line = br#"{ "id":"a","jsonrpc":"2.0", "method":"tools/call","params":{"_meta":{"x":1, "progressToken":"a"},"name":"a","arguments":{"id":"a"}} }"#;
        let numbered = request_as(line, 17).unwrap();
        assert_eq!(
            String::from_utf8(numbered).unwrap(),
            r#"{ "id":17,"jsonrpc":"2.0", "method":"tools/call","params":{"_meta":{"x":1, "progressToken":17},"name":"a","arguments":{"id":"a"}} }"#
        );
        let plain = br#"{"jsonrpc":"2.0","id":5,"method":"ping"}"#;
        assert_eq!(request_as(plain, 6).unwrap(), br#"{"jsonrpc":"2.0","id":6,"method":"ping"}"#);
    }

    #[test]
    fn what_comes_back_is_called_as_its_client_calls_it() {
        for (line, expected) in [
            (
                r#"{"jsonrpc":"2.0","id":17,"result":{"id":17}}"#,
                r#"{"jsonrpc":"2.0","id":"a","result":{"id":17}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":17,"error":{"code":-1,"message":"17"}}"#,
                r#"{"jsonrpc":"2.0","id":"a","error":{"code":-1,"message":"17"}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":17,"progress":17}}"#,
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":9,"progress":17}}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"17","_meta":{"io.modelcontextprotocol/subscriptionId":17}}}"#,
                r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"17","_meta":{"io.modelcontextprotocol/subscriptionId":"a"}}}"#,
            ),
        ] {
            let message = Message::read(line.as_bytes()).unwrap();
            let concerning = Concerning::read(line.as_bytes(), &message).unwrap();
            assert_eq!(concerning.number, 17);
            assert_eq!(concerning.called(&text("a"), Some(&Id::Integer(9))), expected);
        }
    }

    #[test]
    fn what_concerns_no_request_is_nobodys() {
        for line in [
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":17}}"#,
            r#"{"jsonrpc":"2.0","id":"17","result":{}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"17"}}"#,
        ] {
            let message = Message::read(line.as_bytes()).unwrap();
            assert!(Concerning::read(line.as_bytes(), &message).is_none(), "{line}");
        }
    }
}
