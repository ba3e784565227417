//! The receiver of alerts: one URL, which may be a secret as a whole. Of it only host and port are ever shown.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode, Uri};
use rustls::time_provider::DefaultTimeProvider;
use rustls_pki_types::{CertificateDer, ServerName};
use vouchsafe_transport::{Anchor, FetchLimits, Fetcher};

use super::Alert;
use crate::exit::Failure;

/// Where alerts go.
pub(super) struct Webhook {
    /// Host and port.
    shown: String,
    /// What follows them.
    path: Uri,
    fetcher: Fetcher,
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Webhook({})", self.shown)
    }
}

/// Why an alert was not taken.
pub(super) enum Rejection {
    /// It never will be.
    Final(String),
    /// It may be later.
    ForNow(String),
}

impl Webhook {
    /// Reads a URL. What it says is not repeated where it is refused.
    pub(super) fn new(
        url: &str,
        roots: impl FnOnce() -> Result<Vec<CertificateDer<'static>>, Failure>,
    ) -> Result<Self, Failure> {
        let refused = |why: &str| Failure::usage(format!("the URL for alerts {why}"));
        let url: Uri = url.parse().map_err(|_| refused("is no URL"))?;
        let authority = url.authority().ok_or_else(|| refused("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("holds a user name or a password, which are not sent"));
        }
        let host = authority.host().trim_matches(['[', ']']);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let path = path.parse().map_err(|_| refused("is no URL"))?;
        let (port, fetcher) = match url.scheme_str() {
            Some("https") => {
                let port = authority.port_u16().unwrap_or(443);
                (port, secured(host, port, roots()?)?)
            }
            Some("http") => {
                let port = authority.port_u16().unwrap_or(80);
                let address = loopback(host).ok_or_else(|| {
                    refused("is plain http to another machine: anybody on the way could read it")
                        .hint("use https")
                })?;
                let address = SocketAddr::new(address, port);
                (port, Fetcher::without_tls(address, limits()))
            }
            _ => return Err(refused("is neither https nor http")),
        };
        Ok(Self { shown: format!("{}:{port}", authority.host()), path, fetcher })
    }

    /// Hands an alert over.
    pub(super) async fn post(&self, alert: &Alert) -> Result<(), Rejection> {
        let broken = |error: &dyn fmt::Display| Rejection::Final(error.to_string());
        let body = serde_json::to_vec(alert).map_err(|error| broken(&error))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.path.clone())
            .header(HOST, &self.shown)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, concat!("vouchsafe/", env!("CARGO_PKG_VERSION")))
            .body(Bytes::from(body))
            .map_err(|error| broken(&error))?;
        // Whatever went wrong on the way may go right the next time, also a certificate.
        let answer = self.fetcher.fetch(request).await;
        let status = answer.map_err(|error| Rejection::ForNow(error.to_string()))?.status();
        let answered = format!("it answered {status}");
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Rejection::ForNow(answered))
            }
            _ if status.is_server_error() => Err(Rejection::ForNow(answered)),
            // Redirections among them: an alert goes where its sender was told.
            _ => Err(Rejection::Final(answered)),
        }
    }
}

/// What a receiver has to say is of no interest.
fn limits() -> FetchLimits {
    let mut limits = FetchLimits::default();
    limits.head = Duration::from_secs(15);
    limits.body = Duration::from_secs(15);
    limits.body_len = 64 * 1024;
    limits
}

fn secured(host: &str, port: u16, roots: Vec<CertificateDer<'static>>) -> Result<Fetcher, Failure> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::usage("the URL for alerts names no host"))?;
    let anchor = Anchor::Web { roots, clock: Arc::new(DefaultTimeProvider) };
    let address =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    Fetcher::new(&address, name, &anchor, None, limits()).map_err(Failure::new)
}

fn loopback(host: &str) -> Option<IpAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    host.parse().ok().filter(IpAddr::is_loopback)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static ROOTS: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
        let agent = vouchsafe_tests::World::new().agent("a", &[]);
        agent.roots.iter().map(|root| root.der.clone()).collect()
    });

    fn of(url: &str) -> Result<String, String> {
        let roots = &ROOTS;
        let made = Webhook::new(url, || Ok(roots.to_vec()));
        made.map(|webhook| format!("{webhook} {webhook:?}")).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_url_is_a_secret_but_for_its_host() {
        for (url, shown) in [
            ("https://hooks.example/T0/s3cret?token=s3cret", "hooks.example:443"),
            ("https://hooks.example:8443/s3cret", "hooks.example:8443"),
            ("http://127.0.0.1:9/s3cret", "127.0.0.1:9"),
            ("http://localhost/s3cret", "localhost:80"),
            ("http://[::1]:9/s3cret", "[::1]:9"),
        ] {
            assert_eq!(of(url), Ok(format!("{shown} Webhook({shown})")));
        }
        for url in [
            "http://hooks.example/s3cret",
            "http://192.0.2.1/s3cret",
            "http://127.0.0.1.example/s3cret",
            "ftp://hooks.example/s3cret",
            "https://user:s3cret@hooks.example/",
            "/s3cret",
            "s3cret s3cret",
            "https:///s3cret",
        ] {
            let refused = of(url).unwrap_err();
            assert!(
                refused.starts_with("the URL for alerts ") && !refused.contains("s3cret"),
                "{refused}"
            );
        }
    }
}
