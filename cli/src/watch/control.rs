//! The control socket: what serves, and whoever on this machine may ask it for its sessions.
//!
//! A Unix socket of mode 0600 in a directory that nobody but its owner can enter; both sides ask the
//! system who is at the other end. One line of JSON each way, and the connection is closed.

mod place;

use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{geteuid, getpid};
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use vouchsafe_certs::{Principal, Serial};
use vouchsafe_transport::{LineReader, LineWriter, Live, LiveSession, Spoken};

use self::place::directory_of;
pub(super) use self::place::make;
pub(crate) use self::place::{default_directory, sockets};
use crate::exit::Failure;
use crate::json::{Moment, as_text};

/// For a line to come, and for one to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Octets of a question.
const QUESTION: usize = 4 * 1024;

/// Octets of an answer: of a hundred thousand sessions, of ordinary names.
const ANSWER: usize = 64 * 1024 * 1024;

/// Connections at once.
const CONNECTIONS: usize = 8;

/// What can be asked.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// For all sessions.
    Sessions,
    /// To end the session of this number.
    Close(u64),
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// All sessions, the oldest first.
    Sessions(Vec<SessionView>),
    /// Whether there was one of that number.
    Closed(bool),
}

/// A session, as it is shown.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SessionView {
    pub(crate) session: u64,
    #[serde(with = "as_text")]
    pub(crate) principal: Principal,
    #[serde(with = "as_text")]
    pub(crate) serial: Serial,
    pub(crate) since: Option<Moment>,
    pub(crate) address: Option<std::net::SocketAddr>,
    pub(crate) speaks: Speaks,
    /// Requests allowed.
    pub(crate) calls: u64,
    /// Octets from the client.
    pub(crate) received: u64,
    /// Octets to the client.
    pub(crate) sent: u64,
    pub(crate) not_after: Moment,
}

/// What is spoken in a session.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Speaks {
    /// MCP in lines.
    Lines,
    /// MCP over HTTP.
    Http,
    /// A connection of HTTP, behind which the sessions are.
    HttpConnection,
    /// Nothing yet.
    Unknown,
}

impl From<Spoken> for Speaks {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Lines => Self::Lines,
            Spoken::Http => Self::Http,
            Spoken::Connection => Self::HttpConnection,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "lines",
            Self::Http => "HTTP",
            Self::HttpConnection => "HTTP connection",
            Self::Unknown => "-",
        })
    }
}

impl From<LiveSession> for SessionView {
    fn from(session: LiveSession) -> Self {
        Self {
            session: session.number,
            principal: session.peer.principal.clone(),
            serial: session.peer.serial,
            since: session.since.map(Moment),
            address: session.address,
            speaks: session.spoken.into(),
            calls: session.calls,
            received: session.traffic.received,
            sent: session.traffic.sent,
            not_after: Moment(session.peer.not_after),
        }
    }
}

/// A socket that answers, and is removed when this is dropped.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        // Whoever comes next clears away what is left.
        drop(std::fs::remove_file(&self.path));
    }
}

impl Control {
    /// At this path, or at one of its own among those of this user; `None` where there is no place
    /// for those.
    pub(super) async fn listen(path: Option<&Path>) -> Result<Option<Self>, Failure> {
        let path = match (path, default_directory()) {
            (Some(path), _) => path.to_owned(),
            (None, Some(directory)) => {
                make(&directory)?;
                directory.join(format!("{}.sock", getpid().as_raw_nonzero()))
            }
            (None, None) => return Ok(None),
        };
        let failed = |error: io::Error| {
            Failure::new(format!("cannot listen on {}: {error}", path.display()))
        };
        let directory = directory_of(&path)?;
        // Whoever else looks for what is left behind, or makes a socket, waits: two gateways that are
        // started at once do not take each other's away.
        flock(&directory, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        match place::state(&path).await {
            place::State::Free => {}
            place::State::LeftBehind => std::fs::remove_file(&path).map_err(failed)?,
            place::State::Taken => {
                return Err(Failure::new(format!("{} is in use", path.display()))
                    .hint("another gateway answers there; name another socket with --control"));
            }
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let permissions = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, permissions).map_err(failed)?;
        Ok(Some(Self { listener, path }))
    }

    /// Answers until it is dropped.
    pub(super) async fn answer(self, live: Arc<Live>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                // Descriptors that ran out take time to come back.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let live = Arc::clone(&live);
            tokio::spawn(async move {
                // Whoever has gone away has no use for an answer.
                let _ = converse(stream, &live).await;
                drop(place);
            });
        }
    }
}

async fn converse(stream: UnixStream, live: &Live) -> Option<()> {
    if !is_of_us(&stream) {
        return None;
    }
    let (reading, writing) = stream.into_split();
    let mut reader = LineReader::new(reading, QUESTION, PATIENCE);
    let line = timeout(PATIENCE, reader.next()).await.ok()?.ok()??;
    let answer = match serde_json::from_slice(line).ok()? {
        Question::Sessions => {
            Answer::Sessions(live.sessions().into_iter().map(SessionView::from).collect())
        }
        Question::Close(number) => Answer::Closed(live.close(number)),
    };
    let line = serde_json::to_vec(&answer).ok()?;
    LineWriter::new(writing, PATIENCE).send(&line).await.ok()
}

/// Asks what serves at a socket.
pub(crate) async fn ask(path: &Path, question: Question) -> Result<Answer, Failure> {
    let shown = path.display();
    let no_answer = || Failure::new(format!("what serves at {shown} did not answer"));
    place::must_be_private(path)?;
    let stream = match timeout(PATIENCE, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Err(Failure::unreachable(format!("nothing serves at {shown}: {error}"))
                .hint("see that the gateway is running, and under the same user"));
        }
        Err(_) => return Err(no_answer()),
    };
    // Root may ask anybody, and believes no more of what it hears than what is shown.
    if !geteuid().is_root() && !is_of_us(&stream) {
        return Err(Failure::new(format!("what serves at {shown} is another user's")));
    }
    let (reading, writing) = stream.into_split();
    let line = serde_json::to_vec(&question).map_err(Failure::new)?;
    LineWriter::new(writing, PATIENCE).send(&line).await.map_err(|_| no_answer())?;
    let mut reader = LineReader::new(reading, ANSWER, PATIENCE);
    let answered = timeout(PATIENCE, reader.next()).await;
    match answered {
        Ok(Ok(Some(line))) => serde_json::from_slice(line)
            .map_err(|_| Failure::new(format!("what serves at {shown} is of another version"))),
        _ => Err(no_answer()),
    }
}

/// The system says who is at the other end: this user or root.
fn is_of_us(stream: &UnixStream) -> bool {
    let ours = [geteuid().as_raw(), 0];
    stream.peer_cred().is_ok_and(|peer| ours.contains(&peer.uid()))
}
