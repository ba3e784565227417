//! `/metrics` and `/healthz`, over plain HTTP on an address of their own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::registry::Registry;
use vouchsafe_transport::{Handler, HttpLimits, Refused};

use super::exposition;
use super::standing::Standing;

/// OpenMetrics 1.0 names its own type.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Somebody who scrapes comes every few seconds, and sends a short head and no body.
pub(super) fn limits() -> HttpLimits {
    let mut limits = HttpLimits::default();
    limits.body_len = 0;
    limits.head_len = 8 * 1024;
    limits.connections = 32;
    limits.connections_per_source = 32;
    limits.rate = 20;
    limits.burst = 100;
    limits
}

/// What the two paths answer from.
pub(super) struct Page {
    pub(super) registry: Registry,
    pub(super) standing: Arc<Standing>,
    /// Names under which it may be asked, beside those of the loopback.
    pub(super) hosts: Vec<String>,
}

impl Page {
    pub(super) fn into_handler(self) -> Handler {
        let page = Arc::new(self);
        Arc::new(move |_, request| {
            let page = Arc::clone(&page);
            Box::pin(async move { page.answer(&request) })
        })
    }

    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.is_ours(host)) {
            return misdirected();
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = said(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.".into());
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match request.uri().path() {
            "/metrics" => self.metrics(),
            "/healthz" => self.health(),
            _ => said(StatusCode::NOT_FOUND, "There are /metrics and /healthz.".into()),
        }
    }

    /// A page that a browser has loaded under a name of its own, which then leads here (DNS
    /// rebinding), says that name. It gets nothing.
    fn is_ours(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        let is_loopback = name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        is_loopback
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn metrics(&self) -> Response<Bytes> {
        match exposition::to_text(&self.registry) {
            Ok(text) => answer(StatusCode::OK, OPEN_METRICS, text),
            Err(_) => said(StatusCode::INTERNAL_SERVER_ERROR, "It cannot be written.".into()),
        }
    }

    fn health(&self) -> Response<Bytes> {
        match self.standing.trouble() {
            None => said(StatusCode::OK, "serving".into()),
            Some(trouble) => {
                said(StatusCode::SERVICE_UNAVAILABLE, self.standing.in_words(&trouble))
            }
        }
    }
}

/// The name or address in a `Host` field (RFC 9110 §7.2); an IPv6 address without its brackets.
fn without_port(host: &str) -> Option<&str> {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map(|(address, _)| address);
    }
    Some(host.rsplit_once(':').map_or(host, |(name, _)| name))
}

/// RFC 9110 §15.5.20.
fn misdirected() -> Response<Bytes> {
    let mut response =
        said(StatusCode::MISDIRECTED_REQUEST, "That is not the name of this host.".into());
    response
        .extensions_mut()
        .insert(Refused("metrics were asked for under another host's name".into()));
    response
}

fn said(status: StatusCode, line: String) -> Response<Bytes> {
    answer(status, TEXT, line + "\n")
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether nobody but this machine reaches an address.
pub(super) fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}
