//! HTTP/1.1 for those who do not speak MCP: verifiers that fetch lists, and devices that have no
//! certificate yet. Every octet, count and wait that a stranger can cause is bounded.
//!
//! The grammar is hyper's. Here is what it does not do: who may connect ([`places`]), how often
//! ([`rates`]), how long a request may take to come and an answer to go ([`server`], [`paced`]).

mod body;
mod broken;
mod limits;
mod listener;
mod paced;
mod places;
mod rates;
mod refusals;
mod second;
mod server;

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response};

pub(crate) use body::Body;
pub(crate) use broken::Cause;
pub use limits::HttpLimits;
pub use listener::{PublicListener, PublicListenerConfig};
pub use places::Waiting;
pub(crate) use refusals::Refusals;
pub use refusals::Refused;
pub(crate) use server::{Answer, Server};

use self::places::Place;
use crate::Peer;

/// Who asks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Caller {
    /// Where from. Never what an authorization rests on.
    pub address: SocketAddr,
    /// Who it is, where that was verified; `None` on the public listener.
    pub peer: Option<Arc<Peer>>,
    /// The connection's, where others may need it.
    place: Option<Arc<Place>>,
}

impl Caller {
    /// Somebody whose connection is in nobody's way.
    #[must_use]
    pub fn new(address: SocketAddr, peer: Option<Arc<Peer>>) -> Self {
        Self { address, peer, place: None }
    }

    fn at(self, place: Arc<Place>) -> Self {
        Self { place: Some(place), ..self }
    }

    /// To be held while an answer waits for something that may take long. `None` if as many of the
    /// caller's source wait as may: then it is time to answer.
    #[must_use]
    pub fn waits(&self) -> Option<Waiting> {
        self.place.as_ref().map_or_else(|| Some(Waiting::freely()), Place::waits)
    }
}

/// HTTP beside something else.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "built by its user, field by field")]
pub struct HttpService {
    /// Answers requests.
    pub handler: Handler,
    /// What it bears; connections and handshakes are counted by whatever it is beside.
    pub limits: HttpLimits,
}

impl fmt::Debug for HttpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpService").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// An answer in the making. It is dropped if the caller goes away.
pub type Answering = Pin<Box<dyn Future<Output = Response<Bytes>> + Send>>;

/// Answers requests whose body has come whole.
///
/// What it puts into an answer's extensions as [`Refused`] goes into the audit, and what it puts there as
/// [`Rest`] comes behind the body.
pub type Handler = Arc<dyn Fn(Caller, Request<Bytes>) -> Answering + Send + Sync>;

/// What comes behind an answer's body: pieces that many answers share, so that none has a copy.
#[derive(Debug, Clone)]
#[expect(clippy::exhaustive_structs, reason = "octets and nothing else")]
pub struct Rest(pub Vec<Bytes>);

/// An answer with all of its body.
pub(crate) fn with_rest(mut answer: Response<Bytes>) -> Response<Body> {
    let Rest(rest) = answer.extensions_mut().remove().unwrap_or(Rest(Vec::new()));
    answer.map(|first| Body::pieces([first].into_iter().chain(rest)))
}

/// What a handler answers to one caller.
pub(crate) fn answer_of(handler: &Handler, caller: &Caller) -> Answer {
    let (handler, caller) = (Arc::clone(handler), caller.clone());
    Answer::new(move |request| {
        let place = caller.place.clone();
        if let Some(place) = &place {
            place.works();
        }
        let answer = handler(caller.clone(), request);
        Box::pin(async move {
            let mut answer = with_rest(answer.await);
            if place.is_some_and(|place| !place.has_worked()) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        })
    })
}
