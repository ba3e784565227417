//! Whom a request is meant for, and whose page it comes from. A browser that was led here by a name
//! that resolves to us (DNS rebinding) says so in Host and Origin.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::Request;
use hyper::header::{HOST, ORIGIN};
use hyper::http::uri::Authority;
use tokio::sync::watch;

use super::refusal::Refusal;
use crate::Identity;

/// The names that this side answers to.
#[derive(Clone)]
pub(crate) enum Site {
    /// Those in its certificate.
    Certified(watch::Receiver<Arc<Identity>>),
    /// Those that mean this machine alone.
    Loopback,
}

impl Site {
    /// MCP, transports: servers MUST validate Origin. A request without one is not a browser's.
    pub(crate) fn must_be_meant<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = match (request.uri().authority(), header) {
            (Some(authority), _) => authority.clone(),
            (None, Some(header)) => header.parse().map_err(|_| Refusal::Host)?,
            (None, None) => return Err(Refusal::Host),
        };
        if !self.is_called(host.host()) {
            return Err(Refusal::Host);
        }
        match request.headers().get(ORIGIN).map(|origin| origin.to_str()) {
            None => Ok(()),
            Some(Ok(origin)) if self.is_own(origin, &host) => Ok(()),
            Some(_) => Err(Refusal::Origin),
        }
    }

    fn is_called(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<IpAddr> = bare.parse().ok();
        match self {
            Self::Loopback => {
                host == "localhost" || address.is_some_and(|address| address.is_loopback())
            }
            Self::Certified(identity) => {
                let identity = identity.borrow();
                let certificate = &identity.certificate;
                match address {
                    Some(address) => certificate.ip_addresses.contains(&address),
                    None => certificate.dns_names.iter().any(|name| covers(name, &host)),
                }
            }
        }
    }

    /// A page of this very site; on this machine a page of any of its ports.
    fn is_own(&self, origin: &str, host: &Authority) -> bool {
        let Some((scheme, origin)) = origin.split_once("://") else { return false };
        let Ok(origin) = origin.parse::<Authority>() else { return false };
        match self {
            Self::Certified(_) => {
                let port = |authority: &Authority| authority.port_u16().unwrap_or(443);
                scheme == "https"
                    && origin.host().eq_ignore_ascii_case(host.host())
                    && port(&origin) == port(host)
            }
            Self::Loopback => matches!(scheme, "http" | "https") && self.is_called(origin.host()),
        }
    }
}

/// RFC 6125 §6.4.3: a `*` stands for one whole label, the first.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => {
            host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => name.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &str, origin: Option<&str>) -> bool {
        let mut request = Request::builder().uri("/mcp");
        if !host.is_empty() {
            request = request.header(HOST, host);
        }
        if let Some(origin) = origin {
            request = request.header(ORIGIN, origin);
        }
        Site::Loopback.must_be_meant(&request.body(()).unwrap()).is_ok()
    }

    #[test]
    fn a_loopback_front_answers_to_this_machine_alone() {
        for host in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:4711",
            "[::1]:4711",
            "127.8.9.10",
            "localhost.",
        ] {
            assert!(asked(host, None), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "a b",
            "@localhost@",
        ] {
            assert!(!asked(host, None), "{host}");
        }
        for origin in ["http://localhost:6274", "https://127.0.0.1", "http://[::1]:1"] {
            assert!(asked("localhost:1", Some(origin)), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://evil.example",
            "file://localhost",
            "http://localhost.evil.example:1",
            "localhost",
        ] {
            assert!(!asked("localhost:1", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(covers("*.example.com", "a.example.com") && covers("Example.com", "example.com"));
        for host in ["example.com", "a.b.example.com", "aexample.com"] {
            assert!(!covers("*.example.com", host), "{host}");
        }
    }
}
