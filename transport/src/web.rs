//! What a gateway serves over HTTP: MCP at one path, and whatever its user adds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Request, Response, StatusCode};
use tokio::sync::watch;

use crate::event::EventLog;
use crate::http::{Body, Caller, Handler, HttpService, Server, with_rest};
use crate::streamable::server::{Endpoint, EndpointLimits, Open, Owner, Site};
use crate::{Denial, HttpLimits, Identity, Limits, MCP_PATH, Peer, Role};

/// How much longer than its server's start `initialize` may take.
const MARGIN: Duration = Duration::from_secs(30);

/// HTTP beside MCP in lines.
pub(crate) struct Web {
    pub(crate) server: Arc<Server>,
    endpoint: Option<Endpoint>,
    handler: Option<Handler>,
}

impl Web {
    /// Of a gateway with this identity, if there is anything to serve.
    pub(crate) fn new(
        http: Option<HttpService>,
        identity: Option<watch::Receiver<Arc<Identity>>>,
        limits: &Limits,
        log: &Arc<EventLog>,
    ) -> Option<Self> {
        if http.is_none() && identity.is_none() {
            return None;
        }
        let endpoint =
            identity.map(|identity| Endpoint::new(Site::Certified(identity), of_endpoint(limits)));
        let (handler, limits) = match http {
            Some(http) => (Some(http.handler), http.limits),
            None => (None, of_http(limits)),
        };
        let server = Arc::new(Server::new(limits, Some(Arc::clone(log))));
        Some(Self { server, endpoint, handler })
    }

    /// Answers one request of a peer's; `open` opens a session of lines for it, where it takes one.
    pub(crate) async fn answer(
        &self,
        caller: Option<Caller>,
        peer: Arc<Peer>,
        open: Open,
        request: Request<Bytes>,
    ) -> Response<Body> {
        match (&self.endpoint, &self.handler, caller) {
            (Some(_), ..) if request.uri().path() == MCP_PATH && !peer.is_agent() => {
                // No challenge: what is missing is another certificate, and not a log-in.
                said(StatusCode::FORBIDDEN, &Denial::Usage(Role::Client).to_string())
            }
            (Some(endpoint), ..) if request.uri().path() == MCP_PATH => {
                endpoint.answer(Owner(Some(peer)), open, request).await
            }
            (_, Some(handler), Some(caller)) => with_rest(handler(caller, request).await),
            _ => nothing_there(),
        }
    }
}

/// No OAuth metadata either (RFC 9728): clients that find none do not begin to log in.
pub(crate) fn nothing_there() -> Response<Body> {
    said(StatusCode::NOT_FOUND, "There is nothing here")
}

fn said(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{text}\n")));
    *response.status_mut() = status;
    response
}

pub(crate) fn of_endpoint(limits: &Limits) -> EndpointLimits {
    let start = limits.first_message;
    EndpointLimits::new(limits.line, limits.write, limits.http_idle, start)
}

/// What requests with messages in them may be like. How often they may come is asked of principals,
/// and never of addresses.
pub(crate) fn of_http(limits: &Limits) -> HttpLimits {
    HttpLimits {
        handshake: limits.handshake,
        head: limits.first_message,
        body: limits.message,
        answer: limits.first_message + MARGIN,
        write: limits.write,
        body_len: limits.line,
        requests: u32::MAX,
        rate: 0,
        // A session's reader that is slow holds up itself alone.
        write_rate: 0,
        ..HttpLimits::default()
    }
}
