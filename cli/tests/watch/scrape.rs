//! Asking a gateway over plain HTTP, octet by octet.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use crate::lines::{Lines, PATIENCE};

/// Where a gateway answers, as it has said.
pub(crate) struct Page(pub(crate) String);

impl Page {
    pub(crate) fn of(says: &Lines) -> Self {
        let (_, line) = says.wait_for(0, "metrics on http://");
        let address = line.strip_prefix("metrics on http://").unwrap();
        Self(address.split_once('/').unwrap().0.to_owned())
    }

    /// One request, and everything that comes back.
    pub(crate) fn asked(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.0).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let host = &self.0;
        let answer = self
            .asked(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The value of one series, written as the page writes it.
    pub(crate) fn value(&self, series: &str) -> f64 {
        let (status, body) = self.get("/metrics");
        assert_eq!(status, 200);
        let value = body.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {body}")).parse().unwrap()
    }

    /// Waits until a series has a value.
    pub(crate) fn comes_to(&self, series: &str, value: f64) {
        let begun = Instant::now();
        while (self.value(series) - value).abs() > f64::EPSILON {
            assert!(begun.elapsed() < PATIENCE, "{series} is {}", self.value(series));
            std::thread::sleep(std::time::Duration::from_millis(60));
        }
    }
}
