//! Following a CA: a conditional request that the CA sits on until the lists change (RFC 9110 §13,
//! RFC 7240), so that a revocation arrives in one round trip and nothing is polled.
//!
//! The lists are signed, so the CA's word is not what they are taken on, and its silence does no
//! harm until they go stale. The last ones are kept in a file, so that a gateway can be started
//! while the CA is away, and never falls behind what it knew.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{CONNECTION, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use hyper::{Request, Response, StatusCode, Uri};
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use vouchsafe_ca::MAX_BUNDLE_LEN;
use vouchsafe_certs::RevocationError;
use vouchsafe_transport::{
    Anchor, Backoff, Exchange, FetchError, FetchLimits, Fetcher, Following, Revocations,
    RevocationsError, TlsError, jittered,
};

use super::cache::{Cache, Kept};
use super::file::FollowError;
use super::in_force::{InForce, now};
use crate::assemble::trust_with_lists;
use crate::est::{NotTheCa, must_be_the_ca};
use crate::exit::Failure;
use crate::identity::Present;
use crate::runtime;

/// Where the CA publishes all its lists.
const ALL: &str = "/crl.pem";

/// Where it publishes what was revoked lately: short, where all the lists are long (RFC 5280 §5.2.4).
const CHANGES: &str = "/delta.pem";

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
    #[error("{0} answers {1} with {2}")]
    Status(String, &'static str, StatusCode),
    #[error("{0}")]
    NotTheCa(#[from] NotTheCa),
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
    let mut cache = Cache::new(followed.cache.clone(), present.clone());
    let (kept, failed) = match cache.read() {
        Ok(kept) => (kept, None),
        Err(error) => (None, Some(error)),
    };
    let is_kept = kept.is_some();
    let first = kept.unwrap_or_else(|| Arc::new(Revocations::Unreadable));
    let (in_force, receiver) = InForce::new(first, notice);
    let mut source = Source::new(followed, present);
    source.needs_all = !is_kept;
    let backoff = Backoff::new(RETRY.0, RETRY.1);
    let mut follower = Follower { source, cache, in_force, backoff, trouble: None };
    let asked = Instant::now();
    let answer = runtime.block_on(follower.source.ask(follower.in_force.taken()));
    match answer {
        Err(error) if !is_kept => {
            return Err(follower.source.nothing_to_begin_with(&error, failed.as_ref()));
        }
        answer => drop(follower.consider(answer, asked.elapsed())),
    }
    std::thread::spawn(move || follower.run(&runtime));
    Ok(receiver)
}

/// Lists that the CA offers, and the PEM they were read from.
struct Fresh {
    following: Following,
    pem: Bytes,
    /// Whether the PEM is enough to read them from.
    is_all: bool,
}

/// One of the CA's resources, and what was seen of it last.
struct Resource {
    path: &'static str,
    /// RFC 9110 §8.8.3.
    tag: Option<HeaderValue>,
}

impl Resource {
    fn new(path: &'static str) -> Self {
        Self { path, tag: None }
    }
}

struct Source {
    followed: Followed,
    /// Whose roots the CA and its lists are verified with.
    present: Present,
    /// What is known to be revoked, which the CA's own certificate may be.
    known: watch::Sender<Arc<Revocations>>,
    connection: Option<Exchange>,
    /// Whether what is known is no base for what changed.
    needs_all: bool,
    /// Whether the CA was asked last for what is new since something it has named.
    asked_for_news: bool,
    all: Resource,
    /// `None` where the CA has no such thing.
    changes: Option<Resource>,
}

impl Source {
    fn new(followed: Followed, present: Present) -> Self {
        let (all, changes) = (Resource::new(ALL), Some(Resource::new(CHANGES)));
        let known = watch::Sender::new(Arc::new(Revocations::Unreadable));
        Self {
            followed,
            present,
            known,
            connection: None,
            needs_all: true,
            asked_for_news: false,
            all,
            changes,
        }
    }

    /// Asks for what changed since the lists that are known, and for all of them where that is not enough.
    async fn ask(&mut self, known: &Arc<Revocations>) -> Result<Option<Fresh>, AskError> {
        self.known.send_replace(Arc::clone(known));
        loop {
            let Some(answer) = self.request().await? else { return Ok(None) };
            let (is_all, pem) = match answer {
                Answer::NoSuchThing => {
                    self.changes = None;
                    continue;
                }
                Answer::All(pem) => (true, pem),
                Answer::Changes(pem) => (false, pem),
            };
            let issuers = self.present.now().list_issuers();
            match known.followed_by(&pem, &issuers, now()) {
                Ok(following) => {
                    self.needs_all = false;
                    return Ok(Some(Fresh { following, pem, is_all }));
                }
                Err(RevocationsError::List(RevocationError::Baseless)) if !is_all => {
                    self.forget();
                }
                Err(error) => return Err(AskError::Lists(self.followed.address.clone(), error)),
            }
        }
    }

    async fn request(&mut self) -> Result<Option<Answer>, AskError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let needs_all = self.needs_all;
        let changes = self.changes.as_mut().filter(|_| !needs_all);
        let is_all = changes.is_none();
        let resource = changes.unwrap_or(&mut self.all);
        self.asked_for_news = resource.tag.is_some();
        let answer = connection.send_for(question(resource), WAIT).await?;
        // Not put back after an error: a connection that failed once is done with. So is one that the CA
        // needs for somebody else (RFC 9112 §9.6).
        self.connection = Some(connection).filter(|_| !is_last(&answer));
        match answer.status() {
            StatusCode::NOT_MODIFIED if resource.tag.is_some() => return Ok(None),
            StatusCode::NOT_FOUND if !is_all => return Ok(Some(Answer::NoSuchThing)),
            StatusCode::OK => resource.tag = answer.headers().get(ETAG).cloned(),
            other => {
                let address = self.followed.address.clone();
                return Err(AskError::Status(address, resource.path, other));
            }
        }
        let pem = answer.into_body();
        Ok(Some(if is_all { Answer::All(pem) } else { Answer::Changes(pem) }))
    }

    async fn open(&mut self) -> Result<Exchange, AskError> {
        // The CA may have learnt something since.
        self.changes.get_or_insert_with(|| Resource::new(CHANGES));
        // A certificate that the lists name is not the CA's any more. One of which they say nothing,
        // being stale for instance, must do: without new lists that would never end.
        let trust = trust_with_lists(&self.present, &self.known.subscribe()).unless_named();
        let mut limits = FetchLimits::default();
        limits.body = TRANSFER;
        limits.body_len = usize::try_from(MAX_BUNDLE_LEN).unwrap_or(usize::MAX);
        let Followed { address, name, cache: _ } = &self.followed;
        let fetcher = Fetcher::new(address, name.clone(), &Anchor::Trust(trust), None, limits)?;
        let exchange = fetcher.open().await?;
        must_be_the_ca(&exchange, Some(&self.present.now().certificate.principal))?;
        Ok(exchange)
    }

    /// Begins anew: with other roots, other lists may be believed.
    fn reset(&mut self) {
        self.connection = None;
        self.changes = None;
        self.forget();
    }

    /// Asks for all the lists next, also if they are the same.
    fn forget(&mut self) {
        self.needs_all = true;
        self.all.tag = None;
    }

    /// What is asked for next.
    fn next(&self) -> &Resource {
        self.changes.as_ref().filter(|_| !self.needs_all).unwrap_or(&self.all)
    }

    /// Whether the CA has named what it sent, so that it can be asked for what is new since.
    fn can_ask_for_news(&self) -> bool {
        self.next().tag.is_some()
    }

    /// Whether it will be, after its next answer at the latest.
    fn is_tagged(&self) -> bool {
        self.can_ask_for_news() || self.next().path == CHANGES
    }

    fn nothing_to_begin_with(&self, ca: &AskError, file: Option<&FollowError>) -> Failure {
        let file = file.map(ToString::to_string);
        let reasons: Vec<String> = [ca.to_string()].into_iter().chain(file).collect();
        let message = format!("there is no revocation list to begin with: {}", reasons.join("; "));
        let cache = self.followed.cache.display();
        Failure::unreachable(message).hint(format!(
            "start the CA (vouchsafe ca), or put a list into {cache} (vouchsafe crl --out FILE)"
        ))
    }
}

/// What the CA says where something is new.
enum Answer {
    All(Bytes),
    Changes(Bytes),
    NoSuchThing,
}

/// For what is new since the tag, if there is one: then it may take a while.
fn question(resource: &Resource) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = Uri::from_static(resource.path);
    if let Some(tag) = &resource.tag {
        request.headers_mut().insert(IF_NONE_MATCH, tag.clone());
        request.headers_mut().insert(PREFER, HeaderValue::from_static("wait=30"));
    }
    request
}

/// Whether no other answer follows it on its connection.
fn is_last(answer: &Response<Bytes>) -> bool {
    answer.headers().get(CONNECTION).is_some_and(|options| options == "close")
}

struct Follower<N> {
    source: Source,
    cache: Cache,
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
                    answer = self.source.ask(self.in_force.taken()) => answer,
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
    fn consider(&mut self, answer: Result<Option<Fresh>, AskError>, waited: Duration) -> Duration {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.complain(&error),
        };
        self.backoff.reset();
        if self.trouble.take_if(|trouble| trouble.is_silence).is_some() {
            self.in_force.say(&format!("following {} again", self.source.followed.address));
        }
        let has_news = match answer {
            Some(fresh) => self.take(fresh),
            None => self.remind(),
        };
        // Whoever was asked for news and says at once that there are none does not wait, and is not pressed;
        // neither is one that has sent us away.
        let waits = self.source.connection.is_some() && waited >= WAIT / 2
            || has_news && self.source.is_tagged()
            || !self.source.asked_for_news && self.source.can_ask_for_news();
        if waits { Duration::ZERO } else { jittered(POLL) }
    }

    /// Brings lists into force, which ends sessions at once, keeps them, and then tells of it; whether
    /// they are news.
    fn take(&mut self, fresh: Fresh) -> bool {
        let Fresh { following, pem, is_all } = fresh;
        let before = Arc::clone(self.in_force.taken());
        let (is_news, is_whole) = (following.is_news, following.not_taken.is_empty());
        let origin = format!("of {}", self.source.followed.address);
        let untold = self.in_force.take(following);
        self.trouble = None;
        if is_news || is_all && is_whole && self.cache.wants_all() {
            let offer = Kept { pem: &pem, is_all, is_whole };
            match self.cache.keep(offer, &before, self.in_force.taken()) {
                Ok(has_room) if has_room || is_all => {}
                Ok(_) => self.source.forget(),
                Err(error) => self.in_force.say(&format!(
                    "WARNING: {error}; without it a start needs the CA (--cache FILE)"
                )),
            }
        }
        self.in_force.tell(untold, &origin);
        is_news
    }

    /// What was not believed is no news when it is offered again, and no better for it.
    fn remind(&mut self) -> bool {
        if let Some(trouble) = &mut self.trouble
            && trouble.told.elapsed() >= REMINDER
        {
            trouble.told = Instant::now();
            self.in_force.say_stays_until_stale(&trouble.text);
        }
        false
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
