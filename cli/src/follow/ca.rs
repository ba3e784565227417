//! Following a CA: a conditional request that the CA sits on until the lists change (RFC 9110 §13,
//! RFC 7240), so that a revocation arrives in one round trip and nothing is polled.
//!
//! The lists are signed, so the CA's word is not what they are taken on, and its silence does no
//! harm until they go stale. The last ones are kept in a file, so that a gateway can be started
//! while the CA is away, and never falls behind what it knew.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use hyper::{Request, StatusCode, Uri};
use rustls::time_provider::DefaultTimeProvider;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use vouchsafe_ca::file::{self, Access};
use vouchsafe_transport::{
    Anchor, Backoff, Exchange, FetchError, FetchLimits, Fetcher, Revocations, RevocationsError,
    TlsError, Trust, jittered,
};

use super::MAX_LEN;
use super::file::{FollowError, read_regular};
use super::in_force::InForce;
use crate::exit::Failure;
use crate::identity::Present;
use crate::runtime;

/// Where the CA publishes its lists.
const LISTS: &str = "/crl.pem";

/// RFC 7240 §2.
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// How long the CA is asked to sit on a request.
const WAIT: Duration = Duration::from_secs(30);

/// How often a CA is asked that does not wait.
const POLL: Duration = Duration::from_secs(2);

/// A CA that starts again is back after a moment; one that stays away is not pressed.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));

/// How often the operator is told of a CA that stays away.
const REMINDER: Duration = Duration::from_secs(300);

/// From the first octet of the lists to the last.
const TRANSFER: Duration = Duration::from_secs(120);

/// Which CA, and where its lists are kept.
#[derive(Debug)]
pub(crate) struct Followed {
    /// HOST:PORT of its public listener.
    pub(crate) address: String,
    /// What its certificate must carry.
    pub(crate) name: ServerName<'static>,
    /// Where the last lists are kept.
    pub(crate) cache: PathBuf,
}

/// Why the CA's lists are not taken.
#[derive(Debug, Error)]
enum AskError {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("{0} answers {LISTS} with {1}")]
    Status(String, StatusCode),
    #[error("the revocation list of {0} is not taken: {1}")]
    Lists(String, RevocationsError),
}

/// Asks the CA for the first time, and follows it from a thread of its own. `notice` hears, in a
/// sentence, of every list that is taken or not.
///
/// # Errors
/// [`Failure`] if neither the CA nor the file has anything to begin with.
pub(crate) fn follow(
    followed: Followed,
    present: Present,
    notice: impl Fn(&str) + Send + 'static,
) -> Result<watch::Receiver<Arc<Revocations>>, Failure> {
    let runtime = runtime::small()?;
    let mut source = Source { followed, present, connection: None, tag: None };
    let kept = source.kept();
    let (asked, answer) = (Instant::now(), runtime.block_on(source.ask()));
    let (first, begun) = match (kept, answer) {
        (Ok(Some(kept)), answer) => (kept, Some(answer)),
        (_, Ok(Some((lists, pem)))) => {
            source.keep(&pem, &notice);
            (lists, None)
        }
        (kept, answer) => return Err(source.nothing_to_begin_with(answer.err(), kept.err())),
    };
    let (in_force, receiver) = InForce::new(first, notice);
    let backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut follower = Follower { source, in_force, backoff, trouble: None };
    if let Some(answer) = begun {
        follower.consider(answer, asked.elapsed());
    }
    std::thread::spawn(move || follower.run(&runtime));
    Ok(receiver)
}

/// New lists with the PEM they were read from, or that nothing has changed.
type Answer = Option<(Revocations, Bytes)>;

struct Source {
    followed: Followed,
    /// Whose roots the CA and its lists are verified with.
    present: Present,
    connection: Option<Exchange>,
    /// RFC 9110 §8.8.3: names the lists that were seen last.
    tag: Option<HeaderValue>,
}

impl Source {
    async fn ask(&mut self) -> Result<Answer, AskError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.fetcher()?.open().await?,
        };
        let answer = connection.send_for(self.request(), WAIT).await?;
        // Not put back after an error: a connection that failed once is done with.
        self.connection = Some(connection);
        let address = &self.followed.address;
        match answer.status() {
            StatusCode::NOT_MODIFIED if self.tag.is_some() => return Ok(None),
            StatusCode::OK => self.tag = answer.headers().get(ETAG).cloned(),
            other => return Err(AskError::Status(address.clone(), other)),
        }
        let pem = answer.into_body();
        let issuers = self.present.now().list_issuers();
        match Revocations::from_pem(&pem, &issuers) {
            Ok(lists) => Ok(Some((lists, pem))),
            Err(error) => Err(AskError::Lists(address.clone(), error)),
        }
    }

    fn request(&self) -> Request<Bytes> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = Uri::from_static(LISTS);
        if let Some(tag) = &self.tag {
            request.headers_mut().insert(IF_NONE_MATCH, tag.clone());
            let wait = HeaderValue::from_static("wait=30");
            request.headers_mut().insert(PREFER, wait);
        }
        request
    }

    fn fetcher(&self) -> Result<Fetcher, TlsError> {
        // The CA's own certificate is not looked up in its lists: without new ones from the CA, a
        // gateway whose lists are stale would never get out of that.
        let trust = Trust::unchecked(self.present.roots.clone(), Arc::new(DefaultTimeProvider));
        let mut limits = FetchLimits::default();
        limits.body = TRANSFER;
        limits.body_len = usize::try_from(MAX_LEN).unwrap_or(usize::MAX);
        let Followed { address, name, cache: _ } = &self.followed;
        Fetcher::new(address, name.clone(), &Anchor::Trust(trust), None, limits)
    }

    /// Begins anew: with other roots, other lists may be believed.
    fn reset(&mut self) {
        self.connection = None;
        self.tag = None;
    }

    /// The lists that an earlier process kept.
    fn kept(&self) -> Result<Option<Revocations>, FollowError> {
        let cache = &self.followed.cache;
        let pem = match read_regular(cache) {
            Err(FollowError::Read(_, error)) if error.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            read => read?,
        };
        Revocations::from_pem(&pem, &self.present.now().list_issuers())
            .map(Some)
            .map_err(|error| FollowError::List(cache.clone(), error))
    }

    fn keep(&self, pem: &[u8], notice: &impl Fn(&str)) {
        if let Err(error) = file::replace(&self.followed.cache, pem, Access::Public) {
            notice(&format!("WARNING: {error}; without it a start needs the CA (--cache FILE)"));
        }
    }

    fn nothing_to_begin_with(&self, ca: Option<AskError>, file: Option<FollowError>) -> Failure {
        let reasons = [ca.map(|error| error.to_string()), file.map(|error| error.to_string())];
        let reasons: Vec<String> = reasons.into_iter().flatten().collect();
        let message = format!("there is no revocation list to begin with: {}", reasons.join("; "));
        let cache = self.followed.cache.display();
        Failure::unreachable(message).hint(format!(
            "start the CA (vouchsafe ca), or put a list into {cache} (vouchsafe crl --out FILE)"
        ))
    }
}

struct Follower<N> {
    source: Source,
    in_force: InForce<N>,
    backoff: Backoff,
    trouble: Option<Trouble>,
}

/// What the operator was told, and when.
struct Trouble {
    text: String,
    told: Instant,
    /// Whether the CA does not answer, rather than answer what is not to be believed.
    is_silence: bool,
}

impl<N: Fn(&str)> Follower<N> {
    fn run(mut self, runtime: &Runtime) {
        let mut roots = self.source.present.roots.clone();
        runtime.block_on(async {
            while self.in_force.is_wanted() {
                let asked = Instant::now();
                let answer = tokio::select! {
                    answer = self.source.ask() => answer,
                    Ok(()) = roots.changed() => {
                        self.source.reset();
                        continue;
                    }
                };
                let pause = self.consider(answer, asked.elapsed());
                tokio::time::sleep(pause).await;
            }
        });
    }

    /// What comes of an answer, and how long until the next question.
    fn consider(&mut self, answer: Result<Answer, AskError>, waited: Duration) -> Duration {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.complain(&error),
        };
        self.backoff.reset();
        if self.trouble.take_if(|trouble| trouble.is_silence).is_some() {
            self.in_force.say(&format!("following {} again", self.source.followed.address));
        }
        let has_news = match answer {
            Some((lists, pem)) => match self.in_force.offer(lists) {
                Ok(is_news) => {
                    self.trouble = None;
                    if is_news {
                        self.source.keep(&pem, &|text: &str| self.in_force.say(text));
                    }
                    is_news
                }
                Err(error) => {
                    let address = self.source.followed.address.clone();
                    return self.complain(&AskError::Lists(address, error));
                }
            },
            None => false,
        };
        // Whoever says at once that nothing is new does not wait for news, and is not pressed.
        let waits = has_news && self.source.tag.is_some() || waited >= WAIT / 2;
        if waits { Duration::ZERO } else { jittered(POLL) }
    }

    fn complain(&mut self, error: &AskError) -> Duration {
        let text = error.to_string();
        let is_old = |trouble: &Trouble| trouble.text != text || trouble.told.elapsed() >= REMINDER;
        if self.trouble.as_ref().is_none_or(is_old) {
            self.in_force.say_stays_until_stale(error);
            let is_silence = !matches!(error, AskError::Lists(..));
            self.trouble = Some(Trouble { text, told: Instant::now(), is_silence });
        }
        self.backoff.pause()
    }
}
