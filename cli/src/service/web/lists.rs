//! The revocation lists, as verifiers fetch them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ETAG, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::sync::watch;
use tokio::time::timeout;
use vouchsafe_ca::{Authority, Lists, pem};
use vouchsafe_certs::Fingerprint;
use vouchsafe_transport::{Caller, Rest};

use super::answer::{of, refusal};
use super::asked::{matches, preferred_wait};

/// RFC 7240 §3.
const PREFERENCE_APPLIED: &str = "preference-applied";

const PEM: &str = "application/x-pem-file";

/// One list or more, ready to be sent. Who asks gets no copy, and neither does the next bundle of what is
/// still the same: a list may have tens of megabytes, and one on its way to somebody slow stays as long.
#[derive(Clone, Debug)]
struct Piece {
    /// What it was made of.
    der: Arc<[u8]>,
    pem: Bytes,
    sha256: String,
}

impl Piece {
    fn of(der: &Arc<[u8]>, known: &[Self]) -> Self {
        if let Some(same) = known.iter().find(|known| Arc::ptr_eq(&known.der, der)) {
            return same.clone();
        }
        let pem = Bytes::from(pem::revocation_lists([der]));
        Self { der: Arc::clone(der), sha256: Fingerprint::of(&pem).to_string(), pem }
    }
}

/// PEM, ready to be sent.
#[derive(Debug)]
pub(super) struct Bundle {
    pem: Vec<Bytes>,
    /// RFC 9110 §8.8.3: strong, so a hash of the octets.
    etag: HeaderValue,
}

impl Bundle {
    fn new<'a>(lists: impl IntoIterator<Item = &'a Piece>, issuing: &Bytes) -> Self {
        let (mut pem, mut hashes) = (Vec::new(), Fingerprint::of(issuing).to_string());
        for list in lists {
            pem.push(list.pem.clone());
            hashes.push_str(&list.sha256);
        }
        pem.push(issuing.clone());
        Self { etag: etag(hashes.as_bytes()), pem }
    }
}

/// The lists, ready to be sent.
#[derive(Debug)]
pub(super) struct Published {
    /// All of them.
    pub(super) all: Bundle,
    /// What was revoked lately, where that is shorter.
    pub(super) changes: Bundle,
    single: Vec<Single>,
}

/// What one CA publishes, ready to be sent.
#[derive(Clone, Debug)]
struct Single {
    /// The CA's serial number.
    issuer: String,
    complete: Option<Piece>,
    delta: Option<Piece>,
}

impl Single {
    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.complete.iter().chain(&self.delta)
    }
}

impl Published {
    fn of(lists: &Lists, before: Option<&Self>) -> Self {
        let known: Vec<Piece> = {
            let single = before.iter().flat_map(|before| &before.single);
            single.flat_map(Single::pieces).cloned().collect()
        };
        let piece = |der: &Option<_>| der.as_ref().map(|der| Piece::of(der, &known));
        let single = lists.iter().map(|list| Single {
            issuer: list.issuer.serial.to_string(),
            complete: piece(&list.der),
            delta: piece(&list.delta),
        });
        Self::with(single.collect(), &lists.issuing_to_pem().into())
    }

    fn with(single: Vec<Single>, issuing: &Bytes) -> Self {
        let all = Bundle::new(single.iter().flat_map(Single::pieces), issuing);
        let changes =
            Bundle::new(single.iter().filter_map(|single| single.pieces().last()), issuing);
        Self { all, changes, single }
    }

    /// The list of one CA, as `SERIAL.crl` (DER) or `SERIAL.pem`.
    pub(super) fn one(&self, name: &str) -> Response<Bytes> {
        let (serial, extension) = name.rsplit_once('.').unwrap_or_default();
        let single = self.single.iter().find(|single| single.issuer == serial);
        match (single.and_then(|single| single.complete.as_ref()), extension) {
            // RFC 5280 §4.2.1.13: where a certificate's distribution point leads to is DER.
            (Some(list), "crl") => {
                of("application/pkix-crl", Bytes::from_owner(Arc::clone(&list.der)))
            }
            (Some(list), "pem") => of(PEM, list.pem.clone()),
            _ => refusal(StatusCode::NOT_FOUND, "there is no such list"),
        }
    }
}

/// Makes what an authority publishes ready to be sent, now and after every change.
pub(super) fn publish(authority: &Authority) -> watch::Receiver<Arc<Published>> {
    let mut lists = authority.subscribe();
    let present = Arc::clone(&lists.borrow_and_update());
    let first = Published::of(&present, None);
    let (sender, receiver) = watch::channel(Arc::new(first));
    tokio::spawn(async move {
        while lists.changed().await.is_ok() && !sender.is_closed() {
            let latest = Arc::clone(&lists.borrow_and_update());
            let before = Arc::clone(&sender.borrow());
            // A long list takes a while to be written as PEM.
            let make = move || Published::of(&latest, Some(&before));
            let made = tokio::task::spawn_blocking(make).await;
            if let Ok(made) = made {
                sender.send_replace(Arc::new(made));
            }
        }
    });
    receiver
}

fn etag(bundle: &[u8]) -> HeaderValue {
    let tag = format!("\"{}\"", Fingerprint::of(bundle));
    // Hexadecimal digits in quotes can always stand in a header.
    HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// One bundle of lists. Whoever has it already, and would rather wait than hear so, is answered when it
/// changes, or when their connection is needed for others. Where too many wait already they are
/// answered at once: a preference may be ignored (RFC 7240 §2).
pub(super) async fn bundle(
    mut lists: watch::Receiver<Arc<Published>>,
    of_lists: fn(&Published) -> &Bundle,
    caller: &Caller,
    request: &Request<Bytes>,
) -> Response<Bytes> {
    let headers = request.headers();
    let mut present = Arc::clone(&lists.borrow_and_update());
    let wait = preferred_wait(headers).filter(|_| matches(headers, &of_lists(&present).etag));
    let waiting = wait.and_then(|_| caller.waits());
    let wait = wait.filter(|_| waiting.is_some());
    if let Some((wait, mut waiting)) = wait.zip(waiting) {
        let changed = async {
            if lists.changed().await.is_err() {
                // There will be no others; the time passes all the same.
                std::future::pending().await
            }
        };
        let over = async {
            tokio::select! { () = changed => {}, () = waiting.gives_way() => {} }
        };
        drop(timeout(Duration::from_secs(wait), over).await);
        present = Arc::clone(&lists.borrow());
    }
    let Bundle { pem, etag } = of_lists(&present);
    let mut response = if matches(headers, etag) {
        let mut unchanged = Response::new(Bytes::new());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        let mut all = of(PEM, Bytes::new());
        all.extensions_mut().insert(Rest(pem.clone()));
        all
    };
    response.headers_mut().insert(ETAG, etag.clone());
    if let Some(wait) = wait {
        // RFC 7240 §3.
        let name = HeaderName::from_static(PREFERENCE_APPLIED);
        let applied = HeaderValue::try_from(format!("wait={wait}"));
        response.headers_mut().extend(applied.ok().map(|applied| (name, applied)));
    }
    response
}

#[cfg(test)]
mod tests {
    use hyper::header::IF_NONE_MATCH;

    use super::*;

    /// What is published where one CA has this list.
    fn published(list: &str) -> Arc<Published> {
        let complete = Some(Piece::of(&list.as_bytes().into(), &[]));
        let single = Single { issuer: "1".to_owned(), complete, delta: None };
        Arc::new(Published::with(vec![single], &Bytes::new()))
    }

    #[test]
    fn what_is_still_the_same_is_there_once() {
        let whole: Arc<[u8]> = vec![7; 1000].into();
        let deltas: [Arc<[u8]>; 2] = [[1; 10].into(), [2; 10].into()];
        let mut known = Vec::new();
        let [before, after] = deltas.each_ref().map(|delta| {
            let [complete, delta] = [&whole, delta].map(|der| Some(Piece::of(der, &known)));
            let single = Single { issuer: "1".to_owned(), complete, delta };
            known = single.pieces().cloned().collect();
            Published::with(vec![single], &"issuing".into())
        });
        assert_eq!(before.all.pem[0].as_ptr(), after.all.pem[0].as_ptr());
        assert_ne!(before.all.etag, after.all.etag);
        // One behind the other they are what they were as one.
        let expected = pem::revocation_lists([&whole, &deltas[1]]) + "issuing";
        assert_eq!(after.all.pem.concat(), expected.as_bytes());
        let expected = pem::revocation_lists([&deltas[1]]) + "issuing";
        assert_eq!(after.changes.pem.concat(), expected.as_bytes());
        assert_eq!(after.one("1.crl").into_body(), *whole);
        assert_eq!(after.one("1.pem").into_body(), pem::revocation_lists([&whole]));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_answered_at_the_change_or_when_the_time_is_over() {
        let (sender, lists) = watch::channel(published("one"));
        let ask = |etag: &HeaderValue| {
            let request = Request::builder().header("prefer", "wait=30");
            request.header(IF_NONE_MATCH, etag).body(Bytes::new()).unwrap()
        };
        let all: fn(&Published) -> &Bundle = |lists| &lists.all;
        let anybody = Caller::new("192.0.2.1:1".parse().unwrap(), None);
        let (one, two) = (published("one").all.etag.clone(), published("two").all.etag.clone());
        let request = ask(&one);
        // In time.
        let begun = tokio::time::Instant::now();
        let change = async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            sender.send_replace(published("two"));
        };
        let (answer, ()) = tokio::join!(bundle(lists.clone(), all, &anybody, &request), change);
        assert_eq!((answer.status(), begun.elapsed().as_secs()), (StatusCode::OK, 7));
        assert_eq!(answer.headers()[PREFERENCE_APPLIED], "wait=30");
        assert_eq!(answer.headers()[ETAG], two);
        let Rest(pem) = answer.extensions().get().unwrap();
        assert_eq!(pem.concat(), pem::revocation_lists(["two"]).into_bytes());
        // Late.
        let answer = bundle(lists.clone(), all, &anybody, &ask(&two)).await;
        assert_eq!((answer.status(), begun.elapsed().as_secs()), (StatusCode::NOT_MODIFIED, 37));
        // With something else in hand there is nothing to wait for.
        let answer = bundle(lists, all, &anybody, &request).await;
        assert_eq!((answer.status(), begun.elapsed().as_secs()), (StatusCode::OK, 37));
    }
}
