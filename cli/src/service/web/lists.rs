//! The revocation lists, as verifiers fetch them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ETAG, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::sync::watch;
use tokio::time::timeout;
use vouchsafe_ca::{Authority, Lists};
use vouchsafe_certs::Fingerprint;
use vouchsafe_transport::Caller;

use super::answer::{of, refusal};
use super::asked::{matches, preferred_wait};

/// RFC 7240 §3.
const PREFERENCE_APPLIED: &str = "preference-applied";

const PEM: &str = "application/x-pem-file";

/// RFC 7468 §6.
const END_OF_LIST: &str = "-----END X509 CRL-----\n";

/// PEM, ready to be sent.
#[derive(Debug)]
pub(super) struct Bundle {
    pem: Bytes,
    /// RFC 9110 §8.8.3: strong, so a hash of the octets.
    etag: HeaderValue,
}

impl Bundle {
    fn new(pem: impl Into<Bytes>) -> Self {
        let pem = pem.into();
        Self { etag: etag(&pem), pem }
    }
}

/// The lists, ready to be sent.
#[derive(Debug)]
pub(super) struct Published {
    /// All of them.
    pub(super) all: Bundle,
    /// What was revoked lately, where that is shorter.
    pub(super) changes: Bundle,
    /// Each of them, by the serial number of its CA.
    single: HashMap<String, Single>,
}

/// One list, ready to be sent.
#[derive(Debug)]
struct Single {
    der: Bytes,
    /// A part of the bundle's octets.
    pem: Bytes,
}

impl Published {
    fn of(lists: &Lists) -> Self {
        let all = Bundle::new(lists.to_pem());
        let changes = Bundle::new(lists.changes_to_pem());
        let single = singles(lists, &all.pem);
        Self { all, changes, single }
    }

    /// The list of one CA, as `SERIAL.crl` (DER) or `SERIAL.pem`.
    pub(super) fn one(&self, name: &str) -> Response<Bytes> {
        let (serial, extension) = name.rsplit_once('.').unwrap_or_default();
        match (self.single.get(serial), extension) {
            // RFC 5280 §4.2.1.13: where a certificate's distribution point leads to is DER.
            (Some(list), "crl") => of("application/pkix-crl", list.der.clone()),
            (Some(list), "pem") => of(PEM, list.pem.clone()),
            _ => refusal(StatusCode::NOT_FOUND, "there is no such list"),
        }
    }
}

/// A list may have tens of megabytes, so whoever asks for one gets no copy of it.
fn singles(lists: &Lists, bundle: &Bytes) -> HashMap<String, Single> {
    let mut parts = lists_in(bundle);
    let single = lists.iter().filter_map(|list| {
        let pem = list.der.as_ref().and_then(|_| parts.next());
        let _of_delta = list.delta.as_ref().and_then(|_| parts.next());
        let single = Single { der: Bytes::from_owner(list.der.clone()?), pem: pem? };
        Some((list.issuer.serial.to_string(), single))
    });
    single.collect()
}

/// The lists in a bundle, one after the other, as parts of its octets.
fn lists_in(bundle: &Bytes) -> impl Iterator<Item = Bytes> {
    let text = std::str::from_utf8(bundle).unwrap_or_default();
    text.split_inclusive(END_OF_LIST)
        .filter(|part| part.ends_with(END_OF_LIST))
        .map(|part| bundle.slice_ref(part.as_bytes()))
}

/// Makes what an authority publishes ready to be sent, now and after every change.
pub(super) fn publish(authority: &Authority) -> watch::Receiver<Arc<Published>> {
    let mut lists = authority.subscribe();
    let present = Arc::clone(&lists.borrow_and_update());
    let first = Published::of(&present);
    let (sender, receiver) = watch::channel(Arc::new(first));
    tokio::spawn(async move {
        while lists.changed().await.is_ok() && !sender.is_closed() {
            let latest = Arc::clone(&lists.borrow_and_update());
            // A long list takes a while to be written as PEM.
            let made = tokio::task::spawn_blocking(move || Published::of(&latest)).await;
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
        of(PEM, pem.clone())
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
    use vouchsafe_ca::pem;

    use super::*;

    fn published(text: &'static str) -> Arc<Published> {
        let (all, changes) = (Bundle::new(text), Bundle::new("changes"));
        Arc::new(Published { all, changes, single: HashMap::new() })
    }

    #[test]
    fn a_list_of_a_bundle_is_a_part_of_its_octets() {
        let one = pem::revocation_lists([&[1; 100]]);
        let other = pem::revocation_lists([&[2; 10]]);
        let certificate = pem::certificates(&[rustls_pki_types::CertificateDer::from(vec![3; 9])]);
        let bundle = Bytes::from([&*one, &other, &certificate].concat());
        let lists: Vec<Bytes> = lists_in(&bundle).collect();
        assert_eq!(lists, [one, other]);
        let within = bundle.as_ptr_range();
        assert!(lists.iter().all(|list| within.contains(&list.as_ptr())));
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
        let request = ask(&etag(b"one"));
        // In time.
        let begun = tokio::time::Instant::now();
        let change = async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            sender.send_replace(published("two"));
        };
        let (answer, ()) = tokio::join!(bundle(lists.clone(), all, &anybody, &request), change);
        assert_eq!((answer.status(), begun.elapsed().as_secs()), (StatusCode::OK, 7));
        assert_eq!(answer.headers()[PREFERENCE_APPLIED], "wait=30");
        assert_eq!(answer.headers()[ETAG], etag(b"two"));
        assert_eq!(answer.body(), "two");
        // Late.
        let answer = bundle(lists.clone(), all, &anybody, &ask(&etag(b"two"))).await;
        assert_eq!((answer.status(), begun.elapsed().as_secs()), (StatusCode::NOT_MODIFIED, 37));
        // With something else in hand there is nothing to wait for.
        let answer = bundle(lists, all, &anybody, &request).await;
        assert_eq!((answer.status(), begun.elapsed().as_secs()), (StatusCode::OK, 37));
    }
}
