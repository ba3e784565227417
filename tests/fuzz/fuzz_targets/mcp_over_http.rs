//! A connection to the endpoint of Streamable HTTP, head and body, through the real server: hyper, the front's gate,
//! the endpoint, and the policy behind it. What reaches the session must be what the request says, and the request
//! must say the same in its headers as in its body.
//!
//! The first octet chooses what the client holds, the next four the sizes of the pieces. The rest is said in turns,
//! which U+001E ends; in each, `@` stands for the front's secret and `~` for the session that was opened last.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use vouchsafe_fuzz::agreement::must_agree;
use vouchsafe_fuzz::front::{Lines, behind};
use vouchsafe_fuzz::pieces::pieces;
use vouchsafe_fuzz::talking::{in_its_own_time, say};
use vouchsafe_fuzz::wire::{Answered, Plain, answers};
use vouchsafe_transport::fuzzing::serve_front;
use vouchsafe_transport::{Front, FrontSecret, Limits};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const TURN: u8 = 0x1e;
const MAX_TURNS: usize = 8;

/// Octets of one message.
const LINE: usize = 4096;

fuzz_target!(|octets: &[u8]| {
    let Some((head, said)) = octets.split_at_checked(5) else { return };
    in_its_own_time(converse(head[0], &head[1..], said));
});

async fn converse(choice: u8, sizes: &[u8], said: &[u8]) {
    let lines = Lines::default();
    let (mut near, far) = duplex(64 * 1024);
    let front = Arc::new(front(choice, &lines));
    let serving = tokio::spawn(serve_front(front, far));
    let (mut session, mut is_plain) = (String::new(), true);
    for turn in said.split(|octet| *octet == TURN).take(MAX_TURNS) {
        let turn = filled_in(turn, &session);
        let came = say_in_pieces(&mut near, sizes, &turn).await;
        let lines = std::mem::take(&mut *lines.lock().expect("nobody panics with it"));
        // A turn that is one plain request says what may come of it.
        match Plain::read(&turn) {
            Some((request, b"")) if is_plain => {
                must_agree(&request, &lines, &format!("/{SECRET}/mcp"), &session);
                must_be_answered(&request, &came, lines.len());
            }
            _ => is_plain = false,
        }
        session = opened(&came).unwrap_or(session);
    }
    drop(near);
    let ended = timeout(Duration::from_secs(3600), serving).await;
    ended.expect("a connection that is closed ends").expect("nobody panics");
}

fn front(choice: u8, lines: &Lines) -> Front {
    let secret = FrontSecret::parse(SECRET).expect("32 hexadecimal digits");
    let mut limits = Limits::default();
    limits.line = LINE;
    let lines = Arc::clone(lines);
    Front::new(secret, &limits, move |stream| behind(stream, choice, Arc::clone(&lines)))
}

fn filled_in(turn: &[u8], session: &str) -> Vec<u8> {
    let text = |octet: &u8| match octet {
        b'@' => SECRET.as_bytes().to_vec(),
        b'~' => session.as_bytes().to_vec(),
        octet => vec![*octet],
    };
    turn.iter().flat_map(text).collect()
}

async fn say_in_pieces(stream: &mut DuplexStream, sizes: &[u8], octets: &[u8]) -> Vec<u8> {
    for piece in pieces(octets, sizes) {
        drop(timeout(Duration::from_secs(1), stream.write_all(piece)).await);
        tokio::task::yield_now().await;
    }
    say(stream, b"").await
}

/// The session that an answer names.
fn opened(came: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(came);
    let at = text.find("mcp-session-id: ")? + "mcp-session-id: ".len();
    text.get(at..at + 32).map(str::to_owned)
}

/// Statuses are those that the endpoint has, and a request that led to nothing is no success.
fn must_be_answered(request: &Plain<'_>, came: &[u8], lines: usize) {
    const REFUSALS: [u16; 14] =
        [400, 403, 404, 405, 406, 408, 409, 413, 415, 429, 431, 500, 503, 504];
    for Answered { status, fields, body } in answers(came, request.method == "HEAD") {
        let is_success = matches!(status, 200 | 202 | 204);
        assert!(is_success || REFUSALS.contains(&status), "status {status}");
        let names_session = fields.iter().any(|(name, _)| *name == "mcp-session-id");
        assert!(!names_session || status == 200, "a session for nobody");
        let text = String::from_utf8_lossy(&body);
        assert!(is_success || !text.contains("\"result\""), "a result under status {status}");
        assert!(lines > 0 || !text.contains("\"result\""), "a result that nobody gave");
    }
}
