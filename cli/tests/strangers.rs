//! The CA's public listener, and what strangers may do to it: bounded, recorded, and nothing is lost.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
#[expect(dead_code, reason = "of what a served CA can be asked, this needs a part")]
mod served;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use home::{Home, VOUCHSAFE};
use hyper::{Method, Request, Response};
use rustls::time_provider::DefaultTimeProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use served::Served;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use vouchsafe_certs::{
    CaCertificate, Certificate, CertificateRequest, Fingerprint, KeyType, PrivateKey,
    RevocationList, certs_only,
};
use vouchsafe_tests::is_installed;
use vouchsafe_transport::{Anchor, Exchange, FetchLimits, Fetcher};

const OPERATOR: &str = "home/operator";
const SIMPLE_ENROLL: &str = "/.well-known/est/simpleenroll";

/// Whoever knows the root's fingerprint, and nothing else.
struct Stranger(Fetcher);

impl Stranger {
    fn of(home: &Home, ca: &Served<'_>) -> Self {
        let root = fs::read(home.path("home/root.pem")).unwrap();
        let root = CertificateDer::from_pem_slice(&root).unwrap();
        let clock = Arc::new(DefaultTimeProvider);
        let anchor = Anchor::Pin { root: Fingerprint::of(&root), clock };
        let name = ServerName::try_from("localhost").unwrap();
        let limits = FetchLimits::default();
        Self(Fetcher::new(&ca.everybody, name, &anchor, None, limits).unwrap())
    }

    async fn connect(&self) -> Exchange {
        self.0.open().await.unwrap()
    }

    async fn get(&self, path: &str) -> Response<Bytes> {
        self.0.fetch(Request::get(path).body(Bytes::new()).unwrap()).await.unwrap()
    }
}

/// The id and the secret of an invitation.
fn invite(ca: &Served<'_>, name: &str) -> (String, String, String) {
    let invite = ["invite", name, "--allow", "tools:search", "--address", &ca.everybody];
    let said = ca.told(OPERATOR, &invite);
    let is_line = |word: &&str| word.starts_with("vouchsafe-invitation-1.");
    let line = said.split_whitespace().find(is_line).unwrap();
    let encoded = line.strip_prefix("vouchsafe-invitation-1.").unwrap();
    let fields = base64ct::Base64UrlUnpadded::decode_vec(encoded).unwrap();
    let fields: Vec<&str> = std::str::from_utf8(&fields).unwrap().split('\n').collect();
    (fields[2].to_owned(), fields[3].to_owned(), line.to_owned())
}

fn request() -> String {
    let key = PrivateKey::generate(KeyType::P256).unwrap();
    Base64::encode_string(&CertificateRequest::prove(&key).unwrap())
}

/// A request to become a CA.
fn presumptuous(home: &Home) -> String {
    let key = "ec_paramgen_curve:P-256";
    let mut openssl = home.command("openssl");
    openssl.args(["req", "-new", "-newkey", "ec", "-pkeyopt", key, "-nodes", "-subj", "/CN=x"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:TRUE", "-keyout", "ca.key"]);
    let output = openssl.args(["-outform", "DER", "-out", "ca.csr"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Base64::encode_string(&fs::read(home.path("ca.csr")).unwrap())
}

fn enrolment(id: &str, secret: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    let credential = Base64::encode_string(format!("{id}:{secret}").as_bytes());
    let request = Request::builder().method(Method::POST).uri(SIMPLE_ENROLL);
    let request = request.header("authorization", format!("Basic {credential}"));
    request.header("content-type", "application/pkcs10").body(body.into()).unwrap()
}

fn text(response: &Response<Bytes>) -> String {
    String::from_utf8_lossy(response.body()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_wrong_secrets_gain_nothing_and_spend_nothing() {
    let home = Home::new();
    let ca = Served::start(&home, &["--audit", "audit.jsonl"]);
    let (id, secret, line) = invite(&ca, "build-7");
    let before = fs::read(home.path("home/journal.jsonl")).unwrap();
    let body = request();
    let mut counts = HashMap::new();
    let begun = Instant::now();
    let stranger = Stranger::of(&home, &ca);
    // Each connection bears a thousand requests.
    for _ in 0..10 {
        let mut connection = stranger.connect().await;
        for attempt in 0..1000 {
            let wrong = format!("{attempt:022}");
            let request = enrolment(&id, &wrong, body.clone());
            let status = connection.send(request).await.unwrap().status().as_u16();
            *counts.entry(status).or_insert(0) += 1;
        }
        // A new connection costs a token as well.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = begun.elapsed();
    let (judged, refused) = (counts[&401], counts[&429]);
    assert_eq!(judged + refused, 10_000, "{counts:?}");
    let allowed = 400 + 100 * (took.as_secs() + 1);
    assert!(judged <= allowed, "{judged} judged in {took:?}");
    // Bounded, and on record: one by one up to fifty a second of one source, then by number.
    let audit = fs::read_to_string(home.path("audit.jsonl")).unwrap();
    let lines = audit.lines().filter(|line| line.contains("\"refused\"")).count();
    assert!(audit.contains("its secret is another"), "{audit}");
    let bound = usize::try_from(51 * (took.as_secs() + 2)).unwrap();
    assert!((50..=bound).contains(&lines), "{lines} lines in {took:?}");
    assert!(!audit.contains(&secret));
    // The CA's own memory has not grown, and the invitation is as good as before.
    assert_eq!(fs::read(home.path("home/journal.jsonl")).unwrap(), before);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let enroll = home.command(VOUCHSAFE).args(["enroll", &line, "--out", "agent"]).output();
    assert!(enroll.unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_enrolment_is_refused_and_does_not_burn_the_invitation() {
    if !is_installed("openssl") {
        return;
    }
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let (id, secret, _) = invite(&ca, "build-7");
    let stranger = Stranger::of(&home, &ca);
    let with_type = |body: String, kind: &'static str| {
        let mut request = enrolment(&id, &secret, body);
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        request
    };
    let mut changed = Base64::decode_vec(&request()).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    let presumptuous = presumptuous(&home);
    let mut no_credential = enrolment(&id, &secret, request());
    no_credential.headers_mut().remove("authorization");
    let mut got = enrolment(&id, &secret, request());
    *got.method_mut() = Method::GET;
    for (request, status, said) in [
        (enrolment(&id, &secret, ""), 400, "not a PKCS#10"),
        (enrolment(&id, &secret, "!!!!"), 400, "not base64"),
        (enrolment(&id, &secret, Base64::encode_string(&[0x30; 2000])), 400, "not a PKCS#10"),
        (enrolment(&id, &secret, Base64::encode_string(&changed)), 400, "not proven"),
        (enrolment(&id, &secret, presumptuous), 400, "certificate authority"),
        (enrolment(&id, &secret, "A".repeat(40_000)), 413, "longer than 32768 octets"),
        (with_type(request(), "text/plain"), 415, "application/pkcs10"),
        (enrolment("0000000000000000", &secret, request()), 401, "there is no such invitation"),
        (enrolment(&id, "", request()), 401, "there is no such invitation"),
        (no_credential, 401, "show an invitation"),
        (got, 405, "Not by this method"),
    ] {
        let response = stranger.0.fetch(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{}", text(&response));
        assert!(text(&response).contains(said), "{}", text(&response));
        assert_eq!(response.headers().contains_key("www-authenticate"), status == 401);
    }
    // It is still good.
    let enrolled = stranger.0.fetch(enrolment(&id, &secret, request())).await.unwrap();
    assert_eq!(enrolled.status(), 200, "{}", text(&enrolled));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_good_for_one_key_as_often_as_that_key_asks() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let (id, secret, _) = invite(&ca, "build-7");
    let stranger = Stranger::of(&home, &ca);
    let own = request();
    let mut certificates = Vec::new();
    for _ in 0..2 {
        let response = stranger.0.fetch(enrolment(&id, &secret, own.clone())).await.unwrap();
        assert_eq!(response.status(), 200, "{}", text(&response));
        let letters: String = text(&response).split_whitespace().collect();
        let bag = certs_only::unpack(&Base64::decode_vec(&letters).unwrap()).unwrap();
        assert_eq!(bag.len(), 1);
        certificates.push(Certificate::from_der(&bag[0]).unwrap());
    }
    assert_eq!(certificates[0].serial, certificates[1].serial);
    assert_eq!(certificates[0].principal.name(), "build-7");
    let replayed = stranger.0.fetch(enrolment(&id, &secret, request())).await.unwrap();
    assert_eq!((replayed.status().as_u16(), text(&replayed).contains("used once")), (403, true));
    // Nobody renews without showing what is renewed.
    let mut reenroll = enrolment(&id, &secret, request());
    *reenroll.uri_mut() = "/.well-known/est/simplereenroll".parse().unwrap();
    assert_eq!(stranger.0.fetch(reenroll).await.unwrap().status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_lists_are_there_for_everybody() {
    let home = Home::new();
    home.run(&["issue", "build-7", "--out", "agent"]);
    let ca = Served::start(&home, &[]);
    let stranger = Stranger::of(&home, &ca);
    assert_eq!(text(&stranger.get("/healthz").await), "at work\n");
    let roots = stranger.get("/roots.pem").await;
    assert_eq!(roots.body(), &fs::read(home.path("home/root.pem")).unwrap());
    let issuers = stranger.get("/issuers.pem").await;
    let issuing = CertificateDer::from_pem_slice(issuers.body()).unwrap();
    let issuing = CaCertificate::from_der(&issuing).unwrap();
    for path in [
        "/",
        "/crl.pem/",
        "/crl/",
        "/crl/00.crl",
        "/crl/../ca.toml",
        "/root.key",
        "//roots.pem",
        "/.well-known/est/serverkeygen",
        "/issuer/00.cer",
        "/ocsp",
    ] {
        assert_eq!(stranger.get(path).await.status(), 404, "{path}");
    }

    let attributes = stranger.get("/.well-known/est/csrattrs").await;
    assert_eq!(attributes.headers()["content-type"], "application/csrattrs");
    let post = Request::post("/roots.pem").body(Bytes::new()).unwrap();
    let refused = stranger.0.fetch(post).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["allow"]),
        (405, &"GET, HEAD".parse().unwrap())
    );

    // One list by itself, and all of them with a tag that stands for what they say.
    let path = format!("/crl/{}.crl", issuing.serial);
    let single = stranger.get(&path).await;
    assert_eq!(single.headers()["content-type"], "application/pkix-crl");
    let list = RevocationList::from_der(single.body(), &issuing).unwrap();
    let bundle = stranger.get("/crl.pem").await;
    let tag = bundle.headers()["etag"].clone();
    let again = Request::get("/crl.pem").header("if-none-match", &tag);
    let again = again.header("prefer", "wait=20").body(Bytes::new()).unwrap();

    // Whoever waits hears of a revocation at once.
    let mut connection = stranger.connect().await;
    let waiting = tokio::spawn(async move {
        let answer = connection.send_for(again, Duration::from_secs(20)).await.unwrap();
        (Instant::now(), answer)
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    ca.told(OPERATOR, &["revoke", "build-7"]);
    let acknowledged = Instant::now();
    let (heard, answer) = waiting.await.unwrap();
    assert!(heard.duration_since(acknowledged) < Duration::from_millis(500));
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["preference-applied"]),
        (200, &"wait=20".parse().unwrap())
    );
    assert_ne!(answer.headers()["etag"], bundle.headers()["etag"]);
    let later = RevocationList::from_der(stranger.get(&path).await.body(), &issuing).unwrap();
    assert!(later.number > list.number);
    assert_eq!(later.serials().len(), list.serials().len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_ask_how_a_certificate_fares() {
    if !is_installed("openssl") {
        return;
    }
    let home = Home::new();
    home.run(&["issue", "build-7", "--out", "agent"]);
    let ca = Served::start(&home, &[]);
    let stranger = Stranger::of(&home, &ca);
    let openssl = |more: &[&str]| {
        let asked = ["ocsp", "-reqout", "question", "-issuer", "home/issuing.pem"];
        let asked = [&asked[..], &["-cert", "agent/certificate.pem", "-no_nonce"], more].concat();
        let output = home.command("openssl").args(asked).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    openssl(&[]);
    let question = fs::read(home.path("question")).unwrap();
    let posted = |body: &[u8], kind: &str| {
        let request = Request::post("/ocsp").header("content-type", kind);
        request.body(Bytes::copy_from_slice(body)).unwrap()
    };
    let verdict = |answer: &Response<Bytes>| {
        assert_eq!(answer.headers()["content-type"], "application/ocsp-response");
        fs::File::create(home.path("answer")).unwrap().write_all(answer.body()).unwrap();
        let judge = ["-respin", "answer", "-CAfile", "home/root.pem"];
        openssl(&[&judge[..], &["-verify_other", "home/issuing.pem"]].concat())
    };
    let kind = "application/ocsp-request";
    let answer = stranger.0.fetch(posted(&question, kind)).await.unwrap();
    assert!(verdict(&answer).contains("agent/certificate.pem: good"));
    ca.told(OPERATOR, &["revoke", "build-7"]);
    let path = format!("/ocsp/{}", Base64::encode_string(&question).replace('+', "%2B"));
    let said = verdict(&stranger.get(&path).await);
    assert!(said.contains("agent/certificate.pem: revoked"), "{said}");

    // What is no question is answered all the same (RFC 6960 §4.2.1: malformedRequest).
    let malformed = [0x30, 3, 0x0a, 1, 1];
    assert_eq!(stranger.0.fetch(posted(b"?", kind)).await.unwrap().body()[..], malformed);
    assert_eq!(stranger.get("/ocsp/!").await.body()[..], malformed);
    let other = stranger.0.fetch(posted(&question, "text/plain")).await.unwrap();
    assert_eq!(other.status(), 415);
}

/// Every address of 127.0.0.0/8 is this machine's.
async fn idle_connection(from: &str, to: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to.parse().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_sources_as_there_are_places_do_not_shut_the_port() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let stranger = Stranger::of(&home, &ca);
    let mut kept = stranger.connect().await;
    let mut idle = Vec::new();
    for nth in 0..1100 {
        let address = format!("127.1.{}.{}", nth / 250, nth % 250 + 1);
        idle.push(idle_connection(&address, &ca.everybody).await);
        if nth % 100 == 0 {
            // Whoever asks something now and then keeps the place.
            let request = Request::get("/healthz").body(Bytes::new()).unwrap();
            assert_eq!(kept.send(request).await.unwrap().status(), 200);
        }
    }
    assert_eq!(stranger.get("/healthz").await.status(), 200);
}

/// For what is new, whatever the lists are now.
fn poll() -> Request<Bytes> {
    let request = Request::get("/delta.pem").header("if-none-match", "*");
    request.header("prefer", "wait=60").body(Bytes::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_shuts_out_whoever_comes_from_the_same_address() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let (id, secret, _) = invite(&ca, "build-7");
    let stranger = Stranger::of(&home, &ca);
    // More than one source has places, and each of them asks for something that takes a minute.
    let mut asking = JoinSet::new();
    for _ in 0..300 {
        let mut connection = stranger.connect().await;
        asking.spawn(async move {
            let answer = connection.send_for(poll(), Duration::from_secs(60)).await;
            (answer.unwrap(), connection)
        });
        // Within what one source may ask in a second, its own next included.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(stranger.get("/healthz").await.status(), 200);
    let enrolled = stranger.0.fetch(enrolment(&id, &secret, request())).await.unwrap();
    assert_eq!(enrolled.status(), 200, "{}", text(&enrolled));
    // At most half of its places wait. Whoever may not, or no longer, hears that nothing is new.
    let mut held = Vec::new();
    while let Some(answered) = asking.try_join_next() {
        let (answer, connection) = answered.unwrap();
        assert_eq!(answer.status(), 304);
        held.push((answer, connection));
    }
    assert!(held.len() >= 172, "{}", held.len());
    let is_sent_away = |(answer, _): &&(Response<Bytes>, _)| {
        answer.headers().get("connection").is_some_and(|options| options == "close")
    };
    assert!(held.iter().any(|answered| is_sent_away(&answered)));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_take_no_place_from_others() {
    let home = Home::new();
    let ca = Served::start(&home, &["--audit", "audit.jsonl"]);
    let stranger = Stranger::of(&home, &ca);
    let mut idle = Vec::new();
    for address in ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6"] {
        for _ in 0..300 {
            idle.push(idle_connection(address, &ca.everybody).await);
        }
    }
    let begun = Instant::now();
    assert_eq!(stranger.get("/healthz").await.status(), 200);
    assert!(begun.elapsed() < Duration::from_secs(5));
    // What came too thick to be told one by one is told by number, a second later.
    let audit = || fs::read_to_string(home.path("audit.jsonl")).unwrap();
    while !audit().contains("further times within a second") {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(audit().contains("too many connections"));
}
