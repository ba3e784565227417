//! Somebody who is told of alerts, or should be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::lines::PATIENCE;

/// A receiver on this machine.
pub(crate) struct Webhook {
    /// With a secret in it.
    pub(crate) url: String,
    posts: Receiver<(String, Value)>,
}

impl Webhook {
    /// Answers one after the other with these status lines, and then with 200.
    pub(crate) fn answering(first: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hooks/s3cret", listener.local_addr().unwrap());
        let (sender, posts) = channel();
        std::thread::spawn(move || {
            let answers = first.iter().copied().chain(std::iter::repeat("200 OK"));
            for (stream, status) in listener.incoming().zip(answers) {
                let stream = stream.unwrap();
                let post = read(&stream);
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                drop((&stream).write_all(answer.as_bytes()));
                if sender.send(post).is_err() {
                    return;
                }
            }
        });
        Self { url, posts }
    }

    /// The next alert, and the head of the request that brought it.
    pub(crate) fn post(&self) -> (String, Value) {
        self.posts.recv_timeout(PATIENCE).unwrap()
    }

    /// The next alert of a kind.
    pub(crate) fn alert(&self, kind: &str) -> Value {
        loop {
            let (_, alert) = self.post();
            if alert["kind"] == kind {
                return alert;
            }
        }
    }

    /// What has come and was not looked at.
    pub(crate) fn rest(&self) -> Vec<Value> {
        self.posts.try_iter().map(|(_, alert)| alert).collect()
    }
}

fn read(stream: &TcpStream) -> (String, Value) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0);
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}
