//! Requests and answers on one connection.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::paced::Paced;
use super::rates::Rates;
use super::refusals::{Refusals, Refused};
use super::{Body, Caller, HttpLimits};
use crate::acceptor::linger;
use crate::event::{Event, EventLog, as_json};
use crate::source::Source;

/// What answers the requests of one connection.
#[derive(Clone)]
pub(crate) struct Answer {
    /// Looks at a request's head, before anything of its body is read: what it answers is the answer,
    /// and the end of the connection.
    gate: Arc<Gate>,
    /// Answers it once the body has come whole.
    whole: Arc<Whole>,
}

type Gate = dyn Fn(&Parts) -> Option<Response<Body>> + Send + Sync;
type Whole = dyn Fn(Request<Bytes>) -> Answering + Send + Sync;

impl Answer {
    pub(crate) fn new(whole: impl Fn(Request<Bytes>) -> Answering + Send + Sync + 'static) -> Self {
        Self { gate: Arc::new(|_| None), whole: Arc::new(whole) }
    }

    pub(crate) fn behind(
        self,
        gate: impl Fn(&Parts) -> Option<Response<Body>> + Send + Sync + 'static,
    ) -> Self {
        Self { gate: Arc::new(gate), ..self }
    }
}

pub(crate) type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Answers the requests of connections.
pub(crate) struct Server {
    pub(super) limits: HttpLimits,
    pub(super) rates: Rates,
    pub(crate) refusals: Refusals,
}

impl Server {
    pub(crate) fn new(limits: HttpLimits, log: Option<Arc<EventLog>>) -> Self {
        let rates = Rates::new(&limits);
        Self { limits, rates, refusals: Refusals::new(log) }
    }

    /// Serves one connection until it ends, or until `stopping` turns true and the answer that is
    /// due has been given. `asked` is called at each request that is within the caller's rate, and
    /// whenever much of an answer has been taken.
    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        caller: &Caller,
        answer: &Answer,
        asked: impl Fn() + Sync,
        mut stopping: watch::Receiver<bool>,
    ) {
        let (count, asked) = (AtomicU32::new(0), &asked);
        let service = service_fn(|request| {
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            Box::pin(async move {
                let mut response = self.respond(caller, answer, asked, |_| (), request).await;
                if number >= self.limits.requests {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            })
        });
        let stream = TokioIo::new(Paced::new(stream, &self.limits, asked));
        let mut connection = self.builder().serve_connection(stream, service);
        let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
        let ended = tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
            () = stopped => {
                Pin::new(&mut connection).graceful_shutdown();
                poll_fn(|context| connection.poll_without_shutdown(context)).await
            }
        };
        // Of a body that was too long a part may not have been read.
        linger(connection.into_parts().io.into_inner()).await;
        if let Err(error) = ended {
            self.broken(caller, &error, count.load(Ordering::Relaxed)).await;
        }
    }

    fn builder(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_headers(self.limits.header_fields)
            .max_buf_size(self.limits.head_len);
        builder
    }

    /// A caller that goes away, or has nothing more to say, concerns nobody.
    async fn broken(&self, caller: &Caller, error: &hyper::Error, answered: u32) {
        if error.is_parse() {
            let reason = format!("the request is not HTTP/1.1: {error}");
            self.refusals.tell(Some(caller.address), &reason).await;
        } else if error.is_timeout() && answered == 0 {
            let reason = format!("no request came within {:?}", self.limits.head);
            self.refusals.tell(Some(caller.address), &reason).await;
        }
    }

    /// Answers one request. `asked` is called if it is within the caller's rate, and `whole` with the
    /// length of its body once that has come.
    pub(super) async fn respond(
        &self,
        caller: &Caller,
        answer: &Answer,
        asked: impl Fn(),
        whole: impl FnOnce(usize),
        request: Request<Incoming>,
    ) -> Response<Body> {
        let response = match self.answer(caller, answer, asked, whole, request).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        };
        self.tell(caller, response.extensions().get()).await;
        response
    }

    /// What is answered where there is no room for a body.
    pub(super) async fn has_no_room(&self, caller: &Caller) -> Response<Body> {
        let response = Refusal::NoRoom.into_response();
        self.tell(caller, response.extensions().get()).await;
        response
    }

    /// Puts a refusal on record.
    async fn tell(&self, caller: &Caller, refused: Option<&Refused>) {
        if let Some(Refused(reason)) = refused {
            let principal = caller.peer.as_ref().map(|peer| as_json(peer.principal.as_str()));
            let serial = caller.peer.as_ref().map(|peer| as_json(&peer.serial.to_string()));
            let event = Event {
                event: "refused",
                address: Some(caller.address),
                principal: principal.as_deref(),
                serial: serial.as_deref(),
                reason: Some(reason),
                ..Event::default()
            };
            self.refusals.tell_of(&event).await;
        }
    }

    async fn answer(
        &self,
        caller: &Caller,
        answer: &Answer,
        asked: impl Fn(),
        whole: impl FnOnce(usize),
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let source = Source::of(caller.address.ip());
        self.rates
            .take(source, Instant::now())
            .map_err(|wait| Refusal::TooOften(wait.as_secs()))?;
        asked();
        let (head, body) = request.into_parts();
        if let Some(mut refused) = (answer.gate)(&head) {
            refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(refused);
        }
        let request = self.whole(Request::from_parts(head, body)).await?;
        whole(request.body().len());
        timeout(self.limits.answer, (answer.whole)(request)).await.map_err(|_| Refusal::NoAnswer)
    }

    /// Reads a request's body, if it is no longer than it may be.
    async fn whole(&self, request: Request<Incoming>) -> Result<Request<Bytes>, Refusal> {
        let limit = self.limits.body_len;
        let (head, body) = request.into_parts();
        let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if announced
            .and_then(|length| length.parse().ok())
            .is_some_and(|length: u64| usize::try_from(length).is_ok_and(|length| length > limit))
        {
            // Said before the body is read, so that whoever waits for a 100 need not send it.
            return Err(Refusal::TooLong(limit));
        }
        let collected = timeout(self.limits.body, Limited::new(body, limit).collect()).await;
        match collected.map_err(|_| Refusal::TooSlow)? {
            Ok(collected) => Ok(Request::from_parts(head, collected.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLong(limit)),
            Err(_) => Err(Refusal::Broken),
        }
    }
}

/// Why a request is not put to the handler, or came to nothing there.
enum Refusal {
    /// There is a token after so many whole seconds, and a part of one.
    TooOften(u64),
    /// Other requests of the connection have it all.
    NoRoom,
    TooLong(usize),
    TooSlow,
    Broken,
    NoAnswer,
}

impl Refusal {
    fn into_response(self) -> Response<Body> {
        let (status, said) = match &self {
            Self::TooOften(_) => (StatusCode::TOO_MANY_REQUESTS, "Too many requests.".to_owned()),
            Self::NoRoom => {
                let said = "There is no room for one more long request on this connection.";
                (StatusCode::SERVICE_UNAVAILABLE, said.to_owned())
            }
            Self::TooLong(limit) => {
                let said = format!("The request's body is longer than {limit} octets.");
                (StatusCode::PAYLOAD_TOO_LARGE, said)
            }
            Self::TooSlow => {
                (StatusCode::REQUEST_TIMEOUT, "The request's body took too long.".to_owned())
            }
            Self::Broken => (StatusCode::BAD_REQUEST, "The request's body is broken.".to_owned()),
            Self::NoAnswer => {
                (StatusCode::SERVICE_UNAVAILABLE, "The answer took too long.".to_owned())
            }
        };
        let mut response = Response::new(Body::from(format!("{said}\n")));
        *response.status_mut() = status;
        let (name, value) = match self {
            Self::TooOften(seconds) => (RETRY_AFTER, HeaderValue::from(seconds + 1)),
            Self::NoRoom => (RETRY_AFTER, HeaderValue::from(1)),
            // What is left of the body is not read to its end.
            _ => (CONNECTION, HeaderValue::from_static("close")),
        };
        response.headers_mut().insert(name, value);
        response.extensions_mut().insert(Refused(said));
        response
    }
}
