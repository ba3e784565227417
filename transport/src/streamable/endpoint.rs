//! Where a server is that speaks HTTP.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;
use hyper::header::HeaderValue;
use rustls_pki_types::ServerName;
use thiserror::Error;

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is not like `http://HOST:PORT/PATH`.
    #[error("{0} is no URL of a server: write http://HOST:PORT/PATH or https://HOST:PORT/PATH")]
    Malformed(String),
    /// It holds a user name or password.
    #[error("a URL of a server holds no user name and no password")]
    Credentials,
}

/// The URL at which a server speaks Streamable HTTP.
#[derive(Clone)]
pub struct Endpoint {
    is_https: bool,
    /// As it goes into `Host`.
    authority: HeaderValue,
    host: String,
    port: u16,
    target: Uri,
}

impl Endpoint {
    /// Reads `http://HOST[:PORT]/PATH` or `https://…`.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let malformed = || EndpointError::Malformed(text.to_owned());
        // Who reads URLs takes the rest of it for a fragment, and leaves it out.
        let url: Uri = text.parse().ok().filter(|_| !text.contains('#')).ok_or_else(malformed)?;
        let is_https = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(malformed()),
        };
        let authority = url.authority().ok_or_else(malformed)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Credentials);
        }
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(port) => port,
            None if has_port => return Err(malformed()),
            None => {
                if is_https {
                    443
                } else {
                    80
                }
            }
        };
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            is_https,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| malformed())?,
            host: authority.host().to_owned(),
            port,
            target: target.parse().map_err(|_| malformed())?,
        })
    }

    /// Whether the connection is TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether what is said stays on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let bare = self.bare_host();
        bare == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// Host and port, to connect to.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The name that the server's certificate must carry.
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        ServerName::try_from(self.bare_host().to_owned()).ok()
    }

    pub(crate) fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// Path and query.
    pub(crate) fn target(&self) -> &Uri {
        &self.target
    }

    fn bare_host(&self) -> &str {
        self.host.trim_matches(['[', ']'])
    }
}

/// Without the query, in which there may be a secret.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.address(), self.target.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_how() {
        let endpoint = Endpoint::parse("http://localhost:3001/mcp?key=secret").unwrap();
        assert!(!endpoint.is_https() && endpoint.is_loopback());
        assert_eq!(endpoint.address(), "localhost:3001");
        assert_eq!(endpoint.authority(), "localhost:3001");
        assert_eq!(endpoint.target().to_string(), "/mcp?key=secret");
        assert_eq!(format!("{endpoint:?}"), "Endpoint(http://localhost:3001/mcp)");
        let endpoint = Endpoint::parse("https://mcp.example").unwrap();
        assert!(endpoint.is_https() && !endpoint.is_loopback());
        assert_eq!(endpoint.address(), "mcp.example:443");
        assert_eq!(
            (endpoint.authority().to_str().unwrap(), endpoint.target().path()),
            ("mcp.example", "/")
        );
        let endpoint = Endpoint::parse("http://[::1]/mcp").unwrap();
        assert!(endpoint.is_loopback());
        assert_eq!(endpoint.address(), "[::1]:80");
        assert!(Endpoint::parse("http://127.7.7.7/").unwrap().is_loopback());
        assert!(!Endpoint::parse("http://10.0.0.1/").unwrap().is_loopback());
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for text in [
            "localhost:3001",
            "/mcp",
            "ftp://a/b",
            "http://",
            "http:///mcp",
            "http://a b/",
            "http://a:99999/",
            "http://a:x/",
            "http://a/#b",
            "http://a/\r\nHost: b",
        ] {
            assert!(matches!(Endpoint::parse(text), Err(EndpointError::Malformed(_))), "{text}");
        }
        for text in ["http://user@a/", "https://user:password@a/mcp"] {
            assert_eq!(Endpoint::parse(text).unwrap_err(), EndpointError::Credentials, "{text}");
        }
    }
}
