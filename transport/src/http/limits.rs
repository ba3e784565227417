//! How much of everything an HTTP server bears.

use std::time::Duration;

/// How much of everything an HTTP server bears.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpLimits {
    /// From the first octet of TCP to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the handshake, or the last answer, to the end of the next request's head.
    pub head: Duration,
    /// From the end of a request's head to the end of its body.
    pub body: Duration,
    /// From the end of a request to its answer. A request that asked to wait is held no longer either.
    pub answer: Duration,
    /// For a caller that does not read to take the next octet.
    pub write: Duration,
    /// Octets a second at which an answer must be taken on the whole, a minute granted. 0 is no limit.
    pub write_rate: u32,
    /// Of a connection of HTTP/2 on which nothing is asked and nothing answered; it is closed after
    /// twice as long at the latest. Over HTTP/1.1 the next request has as long as its head ([`head`](Self::head)).
    pub idle: Duration,
    /// Octets of a request's head.
    pub head_len: usize,
    /// Header fields of a request.
    pub header_fields: usize,
    /// Octets of a request's body.
    pub body_len: usize,
    /// Requests of one connection; then it is closed in good order.
    pub requests: u32,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one source: an IPv4 address, or the first 64 bits of an IPv6 address.
    /// On half of them answers may wait for something to happen.
    pub connections_per_source: usize,
    /// Requests a second of one source, in the long run. A new connection counts as one. 0 is no limit.
    pub rate: u32,
    /// Requests of one source that may come at once.
    pub burst: u32,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            answer: Duration::from_secs(90),
            write: Duration::from_secs(30),
            write_rate: 64 * 1024,
            idle: Duration::from_secs(2 * 60),
            head_len: 16 * 1024,
            header_fields: 64,
            body_len: 32 * 1024,
            requests: 1000,
            connections: 1024,
            connections_per_source: 256,
            rate: 100,
            burst: 400,
        }
    }
}
