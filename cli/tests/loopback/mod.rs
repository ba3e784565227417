//! `connect --http`, running, and an HTTP client that can do no more than to write a request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::home::{Home, VOUCHSAFE};
use crate::lines::{Lines, PATIENCE};

/// A front that serves until it is dropped.
pub(crate) struct Front {
    process: Child,
    /// What it prints, and what it says on standard error.
    pub(crate) prints: Lines,
    pub(crate) says: Lines,
    /// Where it listens, and at which path.
    pub(crate) address: String,
    pub(crate) path: String,
}

impl Front {
    /// Before the gateway at this address, as an identity.
    pub(crate) fn start(home: &Home, gateway: &str, identity: &str, options: &[&str]) -> Self {
        let mut connect = home.command(VOUCHSAFE);
        connect.args(["connect", gateway, "--identity", identity]).args(options);
        if !options.contains(&"--http") {
            connect.args(["--http", "127.0.0.1:0"]);
        }
        let mut process = connect.spawn().unwrap();
        let prints = Lines::follow(process.stdout.take().unwrap());
        let says = Lines::follow(process.stderr.take().unwrap());
        let (_, url) = prints.wait_for(0, "http://");
        let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let (address, path) = (address.to_owned(), format!("/{path}"));
        Self { process, prints, says, address, path }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stops(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap()
    }

    /// A session through it.
    pub(crate) fn session(&self) -> Session<'_> {
        let client = json!({"name": "test", "version": "1"});
        let params =
            json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        let mut session = Session { front: self, id: None };
        let said = session.sends(&request("initialize", &params));
        assert_eq!(said.status, 200, "{said:?}");
        session.id = said.header("mcp-session-id");
        assert!(session.id.is_some(), "{said:?}");
        session
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // If it is gone already, there is nobody to tell.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        drop(self.process.wait());
    }
}

/// One client's session.
pub(crate) struct Session<'a> {
    front: &'a Front,
    id: Option<String>,
}

impl Session<'_> {
    fn sends(&self, message: &Value) -> Said {
        let id = self.id.as_ref().map(|id| format!("Mcp-Session-Id: {id}\r\n"));
        post(&self.front.address, &self.front.path, &id.unwrap_or_default(), message)
    }

    /// The answer to a request.
    pub(crate) fn asks(&self, method: &str, params: &Value) -> Value {
        let said = self.sends(&request(method, params));
        said.message().unwrap_or_else(|| panic!("{said:?}"))
    }

    /// One call: the text of its result, or of its error.
    pub(crate) fn calls(&self, tool: &str, arguments: &Value) -> String {
        let answer = self.asks("tools/call", &json!({"name": tool, "arguments": arguments}));
        let text = answer["result"]["content"][0]["text"].as_str();
        text.or_else(|| answer["error"]["message"].as_str()).unwrap().to_owned()
    }
}

pub(crate) fn request(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    head: String,
    body: String,
}

impl Said {
    fn header(&self, name: &str) -> Option<String> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = pairs.filter(|(header, _)| header.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.to_owned())
    }

    /// The one message, or the last one of a stream.
    pub(crate) fn message(&self) -> Option<Value> {
        let last = self.body.lines().rev().find_map(|line| line.strip_prefix("data: "));
        serde_json::from_str(last.unwrap_or(&self.body)).ok()
    }
}

/// One message, posted with these headers; a `Host` among them takes the place of the right one.
pub(crate) fn post(address: &str, path: &str, headers: &str, message: &Value) -> Said {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = match headers.contains("Host: ") {
        true => String::new(),
        false => format!("Host: {address}\r\n"),
    };
    let (body, accept) = (message.to_string(), "application/json, text/event-stream");
    let fixed = format!("Accept: {accept}\r\nContent-Type: application/json\r\n{host}{headers}");
    // Up to HTTP/1.0 an answer ends with its connection.
    let length = body.len();
    let head = format!("POST {path} HTTP/1.0\r\n{fixed}Content-Length: {length}\r\n\r\n");
    stream.write_all((head + &body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Said { status, head: head.to_owned(), body: body.to_owned() }
}
