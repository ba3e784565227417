//! A server that speaks Streamable HTTP, and says whatever it likes: heads, bodies, streams of events. What comes of
//! it goes through the policy, with a second set of books beside it.
//!
//! The first octet chooses what the client holds, the next four the sizes of the pieces. The rest is what the server
//! says over its connections, one after the other, with U+001E between them; on each the first thing that it is told
//! is awaited.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use vouchsafe_fuzz::json::Meaning;
use vouchsafe_fuzz::pieces::pieces;
use vouchsafe_fuzz::session::{Books, held};
use vouchsafe_fuzz::talking::in_its_own_time;
use vouchsafe_fuzz::verdict::Fate;
use vouchsafe_transport::fuzzing::talk;
use vouchsafe_transport::{ClientPolicy, Limits, LineReader, Rules};

const CONNECTIONS: usize = 4;
const BETWEEN: u8 = 0x1e;

/// Octets of one message.
const LINE: usize = 4096;

const ASKED: [&[u8]; 4] = [
    br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}}"#,
    br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ab"}}"#,
    br#"{"jsonrpc":"2.0","id":"2","method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#,
];

fuzz_target!(|octets: &[u8]| {
    let Some((head, said)) = octets.split_at_checked(5) else { return };
    in_its_own_time(converse(head[0], &head[1..], said));
});

async fn converse(choice: u8, sizes: &[u8], said: &[u8]) {
    let (mut streams, mut servers) = (Vec::new(), Vec::new());
    for said in said.split(|octet| *octet == BETWEEN).take(CONNECTIONS) {
        let (near, far) = duplex(16 * 1024);
        streams.push(near);
        let said = pieces(said, sizes).map(<[u8]>::to_vec).collect();
        servers.push(tokio::spawn(serve(far, said)));
    }
    let mut limits = Limits::default();
    limits.line = LINE;
    let (answer, child_grace) = (limits.answer, limits.child_grace);
    let mut near = talk(streams, limits).await;
    let mut policy = ClientPolicy::new(held(choice), Arc::new(Rules::default()));
    let mut books = Books::new(choice);
    for line in ASKED {
        if let Fate::Forwarded(sent) = Fate::of(policy.judge_client(line).verdict) {
            books.sent_to_server(&sent);
            if near.write_all(&[&sent[..], b"\n"].concat()).await.is_err() {
                break;
            }
        }
    }
    drop(near.shutdown().await);
    let mut lines = LineReader::new(near, 2 * LINE, Duration::from_secs(60));
    // Whatever the server does, every request has an end.
    let patience = 8 * (answer + child_grace + Duration::from_secs(60));
    loop {
        let next = timeout(patience, lines.next()).await.expect("a talk without end");
        let Ok(Some(line)) = next else { break };
        assert!(line.len() <= 2 * LINE);
        match Fate::of(policy.judge_server(line).verdict) {
            Fate::Forwarded(told) => books.sent_to_client(&told),
            Fate::Answered(answer) => assert!(Meaning::read(&answer).is_ok()),
            Fate::Dropped => {}
        }
        books.server_wrote(line);
    }
    books.abandoned(&policy.abandon("The server ended"));
    drop(lines);
    for server in servers {
        let ended = timeout(patience, server).await;
        ended.expect("a connection without end").expect("nobody panics");
    }
}

/// Says what it says once it has been asked, and reads until nobody asks any more.
async fn serve(mut stream: DuplexStream, said: Vec<Vec<u8>>) {
    let mut heard = [0; 4096];
    if !matches!(stream.read(&mut heard).await, Ok(1..)) {
        return;
    }
    for piece in said {
        if stream.write_all(&piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    drop(stream.shutdown().await);
    while let Ok(1..) = stream.read(&mut heard).await {}
}
