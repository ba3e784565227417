//! What strangers may do to a connection, over a pipe instead of TLS.

use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustls::time_provider::DefaultTimeProvider;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::Output;
use crate::http::{Handler, Rest, answer_of};

/// A server of one connection, and what it has put on record.
struct Served {
    stream: DuplexStream,
    serving: JoinHandle<()>,
    stop: watch::Sender<bool>,
    record: PipeReader,
}

impl Served {
    /// Answers with the length of the body; `/slow` takes a minute, `/refuse` is refused, `/long` has more.
    fn start(limits: HttpLimits) -> Self {
        let (record, writer) = std::io::pipe().unwrap();
        let output = Output::new(OwnedFd::from(writer).into());
        let log = EventLog::new(Arc::new(output), Arc::new(DefaultTimeProvider));
        let handler: Handler = Arc::new(|_, request| {
            Box::pin(async move {
                if request.uri().path() == "/slow" {
                    sleep(Duration::from_secs(60)).await;
                }
                let mut response = Response::new(Bytes::from(format!("{}", request.body().len())));
                if request.uri().path() == "/long" {
                    let rest = ["", "one", "two"].map(Bytes::from);
                    response.extensions_mut().insert(Rest(rest.into()));
                }
                if request.uri().path() == "/refuse" {
                    response.extensions_mut().insert(Refused("it was asked to".into()));
                }
                response
            })
        });
        let (stream, theirs) = duplex(64 * 1024);
        let (stop, stopping) = watch::channel(false);
        let server = Server::new(limits, Some(Arc::new(log)));
        let caller = Caller::new("192.0.2.1:1".parse().unwrap(), None);
        let answer = answer_of(&handler, &caller);
        let serving = tokio::spawn(async move {
            server.serve(theirs, &caller, &answer, || (), stopping).await;
        });
        Self { stream, serving, stop, record }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// What comes until the end of the head and `body_len` octets of a body.
    async fn receive(&mut self, body_len: usize) -> String {
        let mut received = Vec::new();
        while !received.ends_with(b"\r\n\r\n") {
            received.push(self.stream.read_u8().await.unwrap());
        }
        let mut body = vec![0; body_len];
        self.stream.read_exact(&mut body).await.unwrap();
        received.append(&mut body);
        String::from_utf8(received).unwrap()
    }

    /// What comes until the connection is closed, and what is on record then.
    async fn end(mut self) -> (String, String) {
        let mut received = String::new();
        self.stream.read_to_string(&mut received).await.unwrap();
        drop(self.stream);
        self.serving.await.unwrap();
        let mut record = String::new();
        self.record.read_to_string(&mut record).unwrap();
        (received, record)
    }
}

fn small() -> HttpLimits {
    HttpLimits { body_len: 10, requests: 3, ..HttpLimits::default() }
}

const CLOSE: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn so_many_requests_are_answered_and_then_it_is_over() {
    let mut server = Served::start(small());
    let request = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789";
    for _ in 0..2 {
        server.send(request).await;
        let answer = server.receive(2).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("10"), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
    server.send(request).await;
    let (last, record) = server.end().await;
    assert!(last.contains("connection: close") && last.ends_with("10"), "{last}");
    assert_eq!(record, "");
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_be_made_of_pieces() {
    let mut server = Served::start(small());
    server.send("HEAD /long HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = server.receive(0).await;
    assert!(head.contains("content-length: 7\r\n"), "{head}");
    server.send(&CLOSE.replace("GET /", "GET /long")).await;
    let (answer, _) = server.end().await;
    assert!(
        answer.contains("content-length: 7\r\n") && answer.ends_with("\r\n0onetwo"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_is_refused_whether_announced_or_not() {
    for request in [
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n01234567890",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n",
    ] {
        let mut server = Served::start(small());
        server.send(request).await;
        let (answer, record) = server.end().await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{request}: {answer}");
        assert!(record.contains("longer than 10 octets"), "{record}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_http_is_refused_and_recorded() {
    for (request, status) in [
        ("\u{16}\u{3}\u{1} no HTTP\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", "400"),
        (&format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(17_000)), "4"),
        (&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65)), "431"),
    ] {
        let mut server = Served::start(small());
        server.send(request).await;
        let (answer, record) = server.end().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(record.contains("not HTTP/1.1"), "{record}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_is_slow_loses_the_connection() {
    // In the middle of a head, or without any.
    for sent in ["", "GET / HT"] {
        let mut server = Served::start(small());
        server.send(sent).await;
        let (answer, record) = server.end().await;
        assert_eq!(answer, "");
        assert!(record.contains("no request came within 10s"), "{record}");
    }
    // In the middle of a body.
    let mut server = Served::start(small());
    server.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n012").await;
    let (answer, record) = server.end().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(record.contains("took too long"), "{record}");
    // After an answer: nobody is to blame.
    let mut server = Served::start(small());
    server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    server.receive(1).await;
    assert_eq!(server.end().await, (String::new(), String::new()));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_no_request() {
    let mut server = Served::start(small());
    server.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n012").await;
    server.stream.shutdown().await.unwrap();
    let (answer, _) = server.end().await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_too_often_is_told_when_to_come_back() {
    let mut server =
        Served::start(HttpLimits { rate: 1, burst: 2, requests: 9, ..HttpLimits::default() });
    for status in ["200", "200", "429"] {
        server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let answer = server.receive(if status == "200" { 1 } else { 19 }).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(answer.contains("retry-after: 2"), status == "429", "{answer}");
    }
    sleep(Duration::from_secs(2)).await;
    server.send(CLOSE).await;
    let (answer, record) = server.end().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(record.matches("Too many requests").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_the_answer_that_is_due_go_out() {
    let mut server = Served::start(small());
    server.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    server.stop.send_replace(true);
    let (answer, _) = server.end().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_too_long_is_given_up() {
    let mut server =
        Served::start(HttpLimits { answer: Duration::from_secs(30), ..HttpLimits::default() });
    server.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (answer, _) = server.end().await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn the_handlers_refusals_are_recorded_with_the_address() {
    let mut server = Served::start(small());
    server.send(&CLOSE.replace("GET /", "GET /refuse")).await;
    let (_, record) = server.end().await;
    assert!(record.contains("it was asked to") && record.contains("192.0.2.1:1"), "{record}");
}
