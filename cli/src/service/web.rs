//! What the CA serves over HTTP: its certificates and lists to everybody, certificates to those who
//! have an invitation or one that is to be renewed, and the state of certificates to verifiers.
//!
//! | path | what | standard |
//! |---|---|---|
//! | `/roots.pem`, `/issuers.pem` | CA certificates | |
//! | `/crl.pem` | all lists; `If-None-Match`, `Prefer: wait=N` | RFC 9110, RFC 7240 |
//! | `/delta.pem` | what was revoked lately, where lists are long; the same | RFC 5280 §5.2.4 |
//! | `/crl/SERIAL.crl`, `/crl/SERIAL.pem` | the list of one CA | RFC 5280 |
//! | `/issuer/SERIAL.cer` | the certificate of one CA | RFC 5280 |
//! | `/ocsp` | the state of certificates | RFC 6960, RFC 9654 |
//! | `/.well-known/est/…` | enrolment and renewal | RFC 7030, RFC 8951 |
//! | `/healthz` | whether the CA is at work | |

mod answer;
mod asked;
mod est;
mod lists;
mod status;

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Semaphore, watch};
use vouchsafe_ca::{Authority, PublishedList, Responder, pem};
use vouchsafe_transport::{Caller, Handler};

use super::signers::Signers;
use answer::{blocking, failed, method_not_allowed, of, refusal};
use lists::Published;

/// Certificates that are being issued at once. One batch of the CA's memory holds as many.
const ENROLLING: usize = 256;

const PEM_CHAIN: &str = "application/pem-certificate-chain";

/// Everything that a request may need.
struct Site {
    authority: Arc<Authority>,
    lists: watch::Receiver<Arc<Published>>,
    responder: Responder,
    signers: Arc<Signers>,
    enrolling: Arc<Semaphore>,
}

/// Answers requests, of strangers and of peers alike: what needs a peer asks for one.
///
/// Must be called within a runtime: the lists are made ready by a task of their own.
pub(super) fn handler(authority: Arc<Authority>, signers: Arc<Signers>) -> Handler {
    let site = Arc::new(Site {
        lists: lists::publish(&authority),
        authority,
        responder: Responder::default(),
        signers,
        enrolling: Arc::new(Semaphore::new(ENROLLING)),
    });
    Arc::new(move |caller, request| {
        let site = Arc::clone(&site);
        Box::pin(async move { site.answer(caller, request).await })
    })
}

impl Site {
    async fn answer(self: Arc<Self>, caller: Caller, request: Request<Bytes>) -> Response<Bytes> {
        let path = request.uri().path().to_owned();
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_post = request.method() == Method::POST;
        match path.as_str() {
            "/.well-known/est/simpleenroll" if is_post => est::enroll(self, request).await,
            "/.well-known/est/simplereenroll" if is_post => {
                est::reenroll(self, caller, request).await
            }
            "/.well-known/est/simpleenroll" | "/.well-known/est/simplereenroll" => {
                method_not_allowed("POST")
            }
            "/ocsp" if is_post => status::posted(self, request).await,
            _ if !is_read => method_not_allowed("GET, HEAD"),
            "/.well-known/est/cacerts" => self.on_authority(est::ca_certificates).await,
            "/.well-known/est/csrattrs" => est::attributes(),
            "/roots.pem" => self.on_authority(roots).await,
            "/issuers.pem" => self.on_authority(issuers).await,
            "/crl.pem" => self.lists(|lists| &lists.all, &caller, &request).await,
            "/delta.pem" => self.lists(|lists| &lists.changes, &caller, &request).await,
            "/healthz" => self.on_authority(health).await,
            path => match path.trim_start_matches('/').split_once('/') {
                Some(("crl", name)) => self.lists.borrow().one(name),
                Some(("issuer", name)) => issuer(&self, name),
                Some(("ocsp", question)) => status::got(self, question).await,
                _ => refusal(StatusCode::NOT_FOUND, "there is nothing here"),
            },
        }
    }

    async fn lists(
        &self,
        of_lists: fn(&Published) -> &lists::Bundle,
        caller: &Caller,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        lists::bundle(self.lists.clone(), of_lists, caller, request).await
    }

    /// Works with the CA, whose calls block.
    async fn on_authority(
        self: Arc<Self>,
        work: impl FnOnce(&Self) -> Response<Bytes> + Send + 'static,
    ) -> Response<Bytes> {
        blocking(move || work(&self)).await
    }
}

fn roots(site: &Site) -> Response<Bytes> {
    match site.authority.roots() {
        Ok(roots) => of(PEM_CHAIN, pem::certificates(roots)),
        Err(error) => failed(&error),
    }
}

fn issuers(site: &Site) -> Response<Bytes> {
    of(PEM_CHAIN, pem::certificates(site.authority.lists().issuing()))
}

/// The certificate of one issuing CA, as `SERIAL.cer`: where certificates point (RFC 5280 §4.2.2.1).
fn issuer(site: &Site, name: &str) -> Response<Bytes> {
    let lists = site.authority.lists();
    let wanted = |list: &&PublishedList| name == format!("{}.cer", list.issuer.serial);
    match lists.iter().find(wanted) {
        Some(list) => of("application/pkix-cert", list.issuer.der.to_vec()),
        None => refusal(StatusCode::NOT_FOUND, "there is no such CA"),
    }
}

/// A CA that cannot say what it remembers is not at work.
fn health(site: &Site) -> Response<Bytes> {
    match site.authority.look_up(|ledger| ledger.authority()) {
        Ok(_) => of("text/plain; charset=utf-8", "at work\n"),
        Err(error) => failed(&error),
    }
}
