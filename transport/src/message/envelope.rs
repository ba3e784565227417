//! JSON-RPC 2.0 as MCP uses it: a request, a notification or a response.

use std::borrow::Cow;
use std::fmt;

use super::reader::read;
use super::{Known, Object, ReadError, Value};

const KEYS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

/// Servers that read numbers as doubles cannot tell larger ones apart.
const MAX_ID: u64 = (1 << 53) - 1;

/// Ids are remembered, so they have a limit.
const MAX_ID_LEN: usize = 256;

/// A request id, or a progress token, which has the same form: a string or an integer.
///
/// `1` and `"1"` differ; `1.0`, null, texts over 256 octets and integers beyond 2⁵³ − 1 are no ids.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Id {
    Integer(i64),
    Text(Box<str>),
}

impl Id {
    pub(crate) fn from_value(value: Value<'_>) -> Option<Self> {
        if let Some(text) = value.as_str() {
            return (text.len() <= MAX_ID_LEN).then(|| Self::Text(text.into()));
        }
        // "-0" and the like would come back from the server as another text.
        let integer: i64 = value.text().parse().ok()?;
        let is_exact = integer.unsigned_abs() <= MAX_ID && integer.to_string() == value.text();
        is_exact.then_some(Self::Integer(integer))
    }
}

/// Where the sender of a request wants to hear of its progress.
pub(crate) fn progress_token(params: Object<'_>) -> Option<Id> {
    let meta = params.known(["_meta"]).ok()?.get("_meta")?.as_object()?;
    meta.known(["progressToken"]).ok()?.get("progressToken").and_then(Id::from_value)
}

/// As JSON.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Text(text) => f.write_str(&serde_json::Value::from(&**text).to_string()),
        }
    }
}

/// One message.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    Request {
        id: Id,
        method: Cow<'a, str>,
        params: Option<Object<'a>>,
    },
    Notification {
        method: Cow<'a, str>,
        params: Option<Object<'a>>,
    },
    Response {
        id: Id,
        outcome: Outcome<'a>,
    },
    /// An error that could not be tied to a request.
    Stray(Object<'a>),
}

/// What a response says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome<'a> {
    Result(Object<'a>),
    Error(Object<'a>),
}

impl<'a> Message<'a> {
    /// The envelope's members, wherever they stand, of a line that is a message.
    pub(super) fn envelope(line: &'a [u8]) -> Result<Known<'a, 6>, ReadError> {
        let envelope = read(line, KEYS)?;
        shape(&envelope).ok_or(ReadError::NotJsonRpc)?;
        Ok(envelope)
    }

    /// Reads one line.
    pub(crate) fn read(line: &'a [u8]) -> Result<Self, ReadError> {
        shape(&read(line, KEYS)?).ok_or(ReadError::NotJsonRpc)
    }

    /// The error of a line that names no request: its id is missing, or null as in JSON-RPC itself.
    pub(crate) fn salvage_error(line: &'a [u8]) -> Option<Object<'a>> {
        let envelope = read(line, KEYS).ok()?;
        let is_named = envelope.get("id").is_some_and(|id| id.text() != "null");
        let is_other = ["method", "result"].iter().any(|key| envelope.get(key).is_some());
        let is_version = envelope.get("jsonrpc")?.as_str()? == "2.0";
        envelope.get("error")?.as_object().filter(|_| is_version && !is_named && !is_other)
    }

    /// The id of a line that is no message, where it can be told, so that an answer may carry it.
    pub(crate) fn salvage_id(line: &[u8]) -> Option<Id> {
        read(line, ["id"]).ok()?.get("id").and_then(Id::from_value)
    }
}

fn shape<'a>(envelope: &Known<'a, 6>) -> Option<Message<'a>> {
    if envelope.get("jsonrpc")?.as_str()? != "2.0" {
        return None;
    }
    let id = match envelope.get("id") {
        Some(value) => Some(Id::from_value(value)?),
        None => None,
    };
    let params = match envelope.get("params") {
        Some(value) => Some(value.as_object()?),
        None => None,
    };
    match (envelope.get("method"), envelope.get("result"), envelope.get("error")) {
        (Some(method), None, None) => {
            let method = method.as_str()?;
            Some(match id {
                Some(id) => Message::Request { id, method, params },
                None => Message::Notification { method, params },
            })
        }
        (None, Some(result), None) => {
            let outcome = Outcome::Result(result.as_object()?);
            Some(Message::Response { id: id?, outcome })
        }
        (None, None, Some(error)) => {
            let error = error.as_object()?;
            Some(match id {
                Some(id) => Message::Response { id, outcome: Outcome::Error(error) },
                None => Message::Stray(error),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_shapes() {
        let read = |text: &'static str| Message::read(text.as_bytes()).unwrap();
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
            Message::Request { .. }
        ));
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","method":"x","params":{}}"#),
            Message::Notification { .. }
        ));
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":"a","result":{}}"#),
            Message::Response { outcome: Outcome::Result(_), .. }
        ));
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#),
            Message::Response { outcome: Outcome::Error(_), .. }
        ));
        assert!(matches!(
            read(r#"{"jsonrpc":"2.0","error":{"code":1,"message":""}}"#),
            Message::Stray(_)
        ));
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":-0,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":99999999999999999999,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":9007199254740992,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":-9007199254740992,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":5}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
        ] {
            assert_eq!(
                Message::read(text.as_bytes()).unwrap_err(),
                ReadError::NotJsonRpc,
                "{text}"
            );
        }
        let variant = br#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"x"}"#;
        assert_eq!(Message::read(variant).unwrap_err(), ReadError::CaseVariant);
    }

    #[test]
    fn ids_keep_their_type() {
        let id = |text: &'static str| Message::salvage_id(text.as_bytes());
        assert_eq!(id(r#"{"id":1}"#), Some(Id::Integer(1)));
        assert_eq!(id(r#"{"id":"1"}"#), Some(Id::Text("1".into())));
        assert_eq!(id(r#"{"id":"\u0031"}"#).unwrap().to_string(), "\"1\"");
        assert_eq!(id(r#"{"id":null}"#), None);
    }
}
