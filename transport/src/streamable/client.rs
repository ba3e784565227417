//! Lines on one side, Streamable HTTP on the other: what one session of MCP says in lines is said to
//! one HTTP endpoint, in the eras with sessions (up to 2025-11-25) and in the one without (2026-07-28).
//!
//! Each request is a POST of its own, over a connection that nobody else uses meanwhile; its answer
//! comes as JSON or as a stream of events. Whatever goes wrong is the answer to the request that it
//! happened to. Nothing is followed and nothing kept: no redirects, no cookies, no proxies.

mod answer;
mod connection;
mod departure;
mod exchange;
mod failure;
#[cfg(fuzzing)]
mod fuzzing;
mod headers;
mod lines;
mod listening;
mod mirroring;
mod near;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use self::connection::Connection;
pub(crate) use self::connection::Reach;
use self::failure::Failure;
#[cfg(fuzzing)]
pub use self::fuzzing::talk;
use self::near::Ending;
pub use self::near::Near;
use crate::child::Keeper;
use crate::connector::Way;
use crate::frame::LineWriter;
use crate::message::Id;
use crate::streamable::annotations::Annotations;
use crate::{Endpoint, Limits, Session};

/// Octets that a session and its talk with a server may hold for each other, in each direction.
const BUFFER_LEN: usize = 64 * 1024;

/// More of a message than this is heard only by one request at a time: many answers may come at once,
/// and a client that does not read must not make them pile up.
const LARGE: usize = 64 * 1024;

/// Connections of one session at once. Each request under way has one, and so has a stream that somebody
/// listens to; whatever comes beyond that waits for its turn.
pub(crate) const CONNECTIONS: usize = 16;

/// A further one for what is no request.
pub(crate) const SPARE_CONNECTIONS: usize = 1;

/// A server that is spoken to over HTTP, as one session meets it.
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    pub(crate) reach: Reach,
    /// What goes along with every request, whatever the session says.
    pub(crate) headers: HeaderMap,
    pub(crate) notes: Notes,
    pub(crate) limits: Limits,
    /// Places for connections, of all sessions.
    pub(crate) places: Arc<Semaphore>,
}

/// Where the operator is told what the client is not, for this session.
#[derive(Clone, Default)]
pub(crate) struct Notes(pub(crate) Option<(u64, mpsc::Sender<(u64, String)>)>);

impl Notes {
    fn say(&self, text: String) {
        if let Some((session, lines)) = &self.0 {
            // Whoever reads them is behind: there is enough to read.
            let _ = lines.try_send((*session, text));
        }
    }
}

/// The talk of one session with its server.
struct Talk {
    server: Server,
    /// Places for connections, of this session.
    places: Arc<Semaphore>,
    /// A further one, for what is no request.
    spare: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
    state: Mutex<State>,
    to_client: AsyncMutex<LineWriter<WriteHalf<DuplexStream>>>,
    /// Held by whoever hears a large message, until it has been said.
    room: AsyncMutex<()>,
    ending: Arc<Ending>,
}

/// What a talk has come to.
#[derive(Default)]
struct State {
    /// The server's id of the session (up to 2025-11-25). Whoever has it is taken for its owner.
    session: Option<HeaderValue>,
    /// The version that `initialize` has agreed on.
    version: Option<HeaderValue>,
    annotations: Annotations,
    /// When its tools were last listed whole for their annotations.
    listed: Option<Instant>,
    in_flight: HashMap<Id, InFlight>,
    /// The stream of what the server says unasked (up to 2025-11-25).
    listening: Option<AbortHandle>,
}

/// A request that the server has not answered.
struct InFlight {
    task: AbortHandle,
    /// True once it is on its way whole; ends where that comes to nothing.
    has_left: watch::Receiver<bool>,
    /// Of 2026-07-28: hanging up is how it is cancelled.
    is_modern: bool,
    /// It stays for as long as it is wanted.
    is_listen: bool,
    is_cancelled: bool,
}

/// Begins a talk; what is returned is the session's end of it. `keeper` is held until the server has
/// been told that the session is over.
pub(crate) fn start(server: Server, keeper: Keeper) -> Near {
    begin(server, Vec::new(), keeper)
}

/// Goes on over HTTP with a gateway to which there is a connection.
pub(crate) async fn in_session(
    session: Session<TlsStream<TcpStream>>,
    way: Arc<Way>,
    endpoint: Endpoint,
    limits: &Limits,
    keeper: Keeper,
) -> Session<Near> {
    let kin = session.kin();
    let reach = Reach::Gateway(way, Arc::clone(session.peer()));
    let limits = limits.clone();
    let headers = HeaderMap::new();
    let notes = Notes::default();
    // There is no other session.
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let server = Server { endpoint, reach, headers, notes, limits, places };
    // A connection that ends here ends for a reason that the session finds out by itself.
    let first = Connection::of(session, None).await.ok();
    kin.session(begin(server, first.into_iter().collect(), keeper))
}

fn begin(server: Server, idle: Vec<Connection>, keeper: Keeper) -> Near {
    let (near, far) = tokio::io::duplex(BUFFER_LEN);
    let (from_client, to_client) = tokio::io::split(far);
    let (stop, stopped) = oneshot::channel();
    let ending = Arc::new(Ending::default());
    let talk = Arc::new(Talk {
        to_client: AsyncMutex::new(LineWriter::new(to_client, server.limits.write)),
        server,
        places: Arc::new(Semaphore::new(CONNECTIONS)),
        spare: Arc::new(Semaphore::new(SPARE_CONNECTIONS)),
        idle: Mutex::new(idle),
        room: AsyncMutex::default(),
        state: Mutex::default(),
        ending: Arc::clone(&ending),
    });
    tokio::spawn(async move {
        talk.run(from_client, stopped).await;
        drop(keeper);
    });
    Near::new(near, ending, stop)
}

impl Talk {
    /// Talks until the client has said everything, the session is dropped, or the server ends it.
    async fn run(
        self: &Arc<Self>,
        from_client: ReadHalf<DuplexStream>,
        stopped: oneshot::Receiver<()>,
    ) {
        let mut tasks = JoinSet::new();
        tokio::select! {
            () = self.upward(from_client, &mut tasks) => {}
            () = self.ending.has_come() => {}
            // It never says anything; it is dropped.
            _ = stopped => {}
        }
        tasks.shutdown().await;
        drop(timeout(self.server.limits.child_grace, self.leave()).await);
        drop(self.to_client.lock().await.close().await);
    }

    /// Says a line to the client.
    async fn say(&self, line: &[u8]) {
        let sent = self.to_client.lock().await.send(line).await;
        if let Err(error) = sent {
            self.ending.come(io::Error::other(error.to_string()));
        }
    }

    /// A request has failed, or something that nobody waits for.
    async fn fail(&self, id: Option<&Id>, failure: Failure) {
        let is_wanted = id.is_none_or(|id| self.settle(id));
        if is_wanted {
            let cause = failure.cause().map(|cause| format!(" ({cause})")).unwrap_or_default();
            self.server.notes.say(format!("{}: {failure}{cause}", self.server.endpoint));
        }
        if let (true, Some(id)) = (is_wanted, id) {
            self.say(&failure.answer(id)).await;
        }
        if let Some(why) = failure.into_end() {
            self.ending.come(why);
        }
    }

    /// Takes a request out of flight, and says whether its answer is still wanted.
    fn settle(&self, id: &Id) -> bool {
        self.state().in_flight.remove(id).is_some_and(|request| !request.is_cancelled)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.endpoint)
    }
}
