//! A gateway in small behind an endpoint of HTTP: the policy, a server that says what it was asked, and a second set
//! of books.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use vouchsafe_transport::{ClientPolicy, Ended, Rules};

use crate::json::Meaning;
use crate::session::{Books, MAPPED, MAX_IN_FLIGHT, held, read};
use crate::verdict::Fate;

/// The lines that came out of the endpoint, in their order.
pub type Lines = Arc<Mutex<Vec<Vec<u8>>>>;

/// The tool whose argument `region` is wanted in a header too.
pub const ANNOTATED: &str = "ab";

/// The tools of the server.
const TOOLS: &str = r#"{"tools":[{"name":"ab","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}},{"name":"mapped","inputSchema":{"type":"object"}},{"name":"zz","inputSchema":{"type":"object"}}]}"#;

/// Serves one session of lines to its end, of a client that holds what was chosen.
pub async fn behind(mut stream: DuplexStream, choice: u8, lines: Lines) -> Ended {
    let mut policy = ClientPolicy::new(held(choice), Arc::new(rules()));
    let mut books = Books::new(choice);
    let (mut unread, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
        unread.extend_from_slice(&buffer[..len]);
        while let Some(end) = unread.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).take(end).collect();
            for said in answer(&mut policy, &mut books, &line) {
                if stream.write_all(&[&said[..], b"\n"].concat()).await.is_err() {
                    return (stream, None);
                }
            }
            lines.lock().expect("nobody panics with it").push(line);
        }
    }
    (stream, None)
}

fn rules() -> Rules {
    let (tool, kind, name) = MAPPED;
    let mut rules = Rules::default();
    rules.require(tool, &format!("{kind}:{name}")).expect("well-formed");
    rules.max_in_flight = MAX_IN_FLIGHT;
    rules
}

/// What the client is told.
fn answer(policy: &mut ClientPolicy, books: &mut Books, line: &[u8]) -> Vec<Vec<u8>> {
    match Fate::of(policy.judge_client(line).verdict) {
        Fate::Forwarded(sent) => {
            books.sent_to_server(&sent);
            let said = serve(&read(&sent));
            let told = said.filter_map(|said| {
                let told = match Fate::of(policy.judge_server(&said).verdict) {
                    Fate::Forwarded(told) => {
                        books.sent_to_client(&told);
                        Some(told)
                    }
                    _ => None,
                };
                books.server_wrote(&said);
                told
            });
            told.collect()
        }
        Fate::Answered(answer) => {
            assert!(read(&answer).get("error").is_some());
            vec![answer]
        }
        Fate::Dropped => Vec::new(),
    }
}

/// What the server says to a message: before some answers something unasked.
fn serve(message: &Meaning) -> impl Iterator<Item = Vec<u8>> + use<> {
    let method = message.get("method").and_then(Meaning::text).map(str::to_owned);
    let id = match message.get("id") {
        Some(Meaning::Integer(id)) => Some(id.to_string()),
        Some(Meaning::Text(id)) => Some(serde_json::Value::from(id.as_str()).to_string()),
        _ => None,
    };
    let asked = method.zip(id).into_iter();
    asked.flat_map(|(method, id)| {
        let result = match &*method {
            "tools/list" => TOOLS,
            "initialize" => r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}"#,
            _ => r#"{"content":[{"type":"text","text":"done"}]}"#,
        };
        let before = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#;
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        let unasked = (method == "tools/call").then(|| before.to_owned());
        unasked.into_iter().chain([answer]).map(String::into_bytes)
    })
}
