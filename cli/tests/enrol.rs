//! From an invitation to an identity, and on from there: what devices do at a CA that serves.
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

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use home::{Home, VOUCHSAFE};
use hyper::{Request, Response};
use lines::{Lines, PATIENCE};
use rustls::time_provider::DefaultTimeProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use served::Served;
use tokio::io::{AsyncReadExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use vouchsafe_ca::file::{self, Access};
use vouchsafe_certs::{CertificateRequest, KeyType, PrivateKey, certs_only};
use vouchsafe_tests::identity_in;
use vouchsafe_transport::{
    Anchor, EventLog, FetchLimits, Fetcher, HttpLimits, Output as Record, PublicListener,
    PublicListenerConfig, Trust,
};

const OPERATOR: &str = "home/operator";

/// The line for a device of this name.
fn invite(ca: &Served<'_>, name: &str, options: &[&str]) -> String {
    let invite = ["invite", name, "--allow", "tools:search", "--address", &ca.everybody];
    let said = ca.told(OPERATOR, &[&invite, options].concat());
    let is_line = |word: &&str| word.starts_with("vouchsafe-invitation-1.");
    said.split_whitespace().find(is_line).unwrap().to_owned()
}

fn enroll(home: &Home, invitation: &str, out: &str) -> Output {
    home.command(VOUCHSAFE).args(["enroll", invitation, "--out", out]).output().unwrap()
}

fn renew(home: &Home, ca: &Served<'_>, directory: &str) -> Output {
    let address = ca.operators.replace("127.0.0.1", "localhost");
    home.command(VOUCHSAFE).args(["renew", directory, "--ca", &address]).output().unwrap()
}

/// What a command that must have succeeded printed.
fn done(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command that must have failed said.
fn refused(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

fn serial(ca: &Served<'_>, identity: &str) -> String {
    let view = ca.json(OPERATOR, &["inspect", &format!("{identity}/certificate.pem")]);
    view["serial"].as_str().unwrap().to_owned()
}

fn duplicate(home: &Home, from: &str, to: &str) {
    fs::create_dir(home.path(to)).unwrap();
    for entry in fs::read_dir(home.path(from)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), home.path(to).join(entry.file_name())).unwrap();
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_device_enrols_with_a_key_that_never_leaves_it_and_renews() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let invitation = invite(&ca, "team-a/build-7", &[]);
    let said = done(&enroll(&home, &invitation, "agent"));
    assert!(said.contains("Enrolled as spiffe://acme.example/team-a/build-7"), "{said}");
    assert!(said.contains("tools:search"), "{said}");
    let agent = home.path("agent");
    assert_eq!(names(&agent), ["certificate.pem", "key.pem", "roots.pem"]);
    let mode = fs::metadata(agent.join("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nothing is left beside it.
    assert!(!home.path("agent.key.next.pem").exists());

    let first = serial(&ca, "agent");
    let key = fs::read_to_string(agent.join("key.pem")).unwrap();
    let said = done(&renew(&home, &ca, "agent"));
    assert!(said.contains("Renewed spiffe://acme.example/team-a/build-7"), "{said}");
    assert_ne!(serial(&ca, "agent"), first);
    assert_eq!(names(&agent), ["certificate.pem", "key.pem", "roots.pem"]);
    assert_ne!(fs::read_to_string(agent.join("key.pem")).unwrap(), key);
}

#[test]
fn whoever_renews_twice_in_a_row_keeps_what_is_there_and_is_told_so() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    done(&enroll(&home, &invite(&ca, "build-7", &["--ttl", "10h"]), "agent"));
    done(&renew(&home, &ca, "agent"));
    let renewed = serial(&ca, "agent");
    let key = fs::read_to_string(home.path("agent/key.pem")).unwrap();
    for _ in 0..2 {
        // No failure: a timer that comes too often is no reason to wake anybody.
        let said = done(&renew(&home, &ca, "agent"));
        assert!(said.starts_with("Not renewed yet: certificate "), "{said}");
        assert!(said.contains("is not renewed before 2"), "{said}");
        assert!(said.contains("(in 10 hours)") || said.contains("(in 600 minutes)"), "{said}");
        assert_eq!(serial(&ca, "agent"), renewed);
        assert_eq!(fs::read_to_string(home.path("agent/key.pem")).unwrap(), key);
    }
    let address = ca.operators.replace("127.0.0.1", "localhost");
    let mut json = home.command(VOUCHSAFE);
    let said = json.args(["renew", "agent", "--ca", &address, "--json"]).output().unwrap();
    let view: serde_json::Value = serde_json::from_str(&done(&said)).unwrap();
    assert_eq!(
        (view["renewed"].as_bool(), view["serial"].as_str()),
        (Some(false), Some(&*renewed))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_that_renew_too_often_hear_when_to_come_back() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    done(&enroll(&home, &invite(&ca, "build-7", &["--ttl", "10h"]), "agent"));
    done(&renew(&home, &ca, "agent"));
    let identity = identity_in(&home.path("agent"));
    let roots = watch::channel(Arc::clone(&identity.roots)).1;
    let anchor = Anchor::Trust(Trust::unchecked(roots, Arc::new(DefaultTimeProvider)));
    let (name, limits) = (ServerName::try_from("localhost").unwrap(), FetchLimits::default());
    let fetcher = Fetcher::new(&ca.operators, name, &anchor, Some(&identity), limits).unwrap();
    let reenroll = async |key: &PrivateKey| {
        let body = Base64::encode_string(&CertificateRequest::prove(key).unwrap());
        let request = Request::post("/.well-known/est/simplereenroll");
        let request = request.header("content-type", "application/pkcs10");
        fetcher.fetch(request.body(body.into()).unwrap()).await.unwrap()
    };
    let refused = reenroll(&PrivateKey::generate(KeyType::P256).unwrap()).await;
    assert_eq!(refused.status(), 429);
    let after: u32 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&after), "{after}");
    // Whoever comes with the key that is certified already gets the certificate that there is.
    let same = reenroll(&identity.key).await;
    let letters: String = String::from_utf8_lossy(same.body()).split_whitespace().collect();
    let bag = certs_only::unpack(&Base64::decode_vec(&letters).unwrap()).unwrap();
    assert_eq!(bag[0], identity.chain[0]);
}

#[test]
fn a_gateway_enrols_and_renews_as_well() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let invitation = invite(&ca, "gateway", &["--server", "--dns", "localhost"]);
    done(&enroll(&home, &invitation, "gateway"));
    done(&renew(&home, &ca, "gateway"));
    let shown = ca.told(OPERATOR, &["inspect", "gateway/certificate.pem"]);
    assert!(shown.contains("localhost"), "{shown}");
}

#[test]
fn an_answer_that_was_lost_is_given_again_and_a_copy_of_a_certificate_ends_the_lineage() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let invitation = invite(&ca, "build-7", &[]);
    // Enrolled, but the process ended before it could write: the key waits where it was.
    done(&enroll(&home, &invitation, "lost"));
    fs::rename(home.path("lost/key.pem"), home.path("agent.key.next.pem")).unwrap();
    done(&enroll(&home, &invitation, "agent"));
    assert_eq!(serial(&ca, "agent"), serial(&ca, "lost"));

    // The same at a renewal: certificate and key are the old ones, and the new key waits.
    duplicate(&home, "agent", "interrupted");
    duplicate(&home, "agent", "stolen");
    done(&renew(&home, &ca, "agent"));
    fs::copy(home.path("agent/key.pem"), home.path("interrupted/key.next.pem")).unwrap();
    done(&renew(&home, &ca, "interrupted"));
    assert_eq!(serial(&ca, "interrupted"), serial(&ca, "agent"));
    // Or it ended between the two files: the certificate is the new one already.
    duplicate(&home, "agent", "between");
    fs::rename(home.path("between/key.pem"), home.path("between/key.next.pem")).unwrap();
    fs::copy(home.path("stolen/key.pem"), home.path("between/key.pem")).unwrap();
    done(&renew(&home, &ca, "between"));
    assert_eq!(names(&home.path("between")), ["certificate.pem", "key.pem", "roots.pem"]);

    // Somebody else with a copy of what was renewed before: nobody keeps anything.
    let caught = refused(&renew(&home, &ca, "stolen"), 1);
    // The answer says why, unless the cut overtakes it; then the next handshake says that it is so.
    let said = ["somebody holds a copy", "its certificate is revoked"];
    assert!(said.iter().any(|said| caught.contains(said)), "{caught}");
    let history = ca.told(OPERATOR, &["audit"]);
    assert!(history.contains("lineage"), "{history}");
    let victim = refused(&renew(&home, &ca, "between"), 1);
    assert!(victim.contains("revoked"), "{victim}");
    let listed = ca.told(OPERATOR, &["list", "--revoked"]);
    assert_eq!(listed.matches("build-7").count(), 2, "{listed}");
}

/// A way to the CA on which the first connection breaks off once so many octets have come from there.
async fn frail_way(to: &str, octets: u64) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (to, carried) = (to.to_owned(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&carried);
    tokio::spawn(async move {
        for limit in std::iter::once(octets).chain(std::iter::repeat(u64::MAX)) {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(&to).await.unwrap();
            let ((mut asks, mut hears), (answers, mut asked)) =
                (near.into_split(), far.into_split());
            let asking = tokio::spawn(async move { drop(copy(&mut asks, &mut asked).await) });
            let mut answers = answers.take(limit);
            // Whoever left before the end was told enough.
            drop(copy(&mut answers, &mut hears).await);
            count.store(limit - answers.limit(), Ordering::SeqCst);
            asking.abort();
        }
    });
    (address, carried)
}

/// What has come from there over a way, once it has all come.
async fn all(carried: &AtomicU64) -> u64 {
    let begun = Instant::now();
    while carried.load(Ordering::SeqCst) == 0 {
        assert!(begun.elapsed() < PATIENCE, "nothing has come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    carried.load(Ordering::SeqCst)
}

/// Places in so many octets: their beginning, their end, and some between.
fn places(octets: u64) -> impl Iterator<Item = u64> {
    (0..6).map(move |nth| octets * nth / 6).chain([octets - 300, octets - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_an_answer_breaks_off_it_is_asked_for_again_and_is_the_same() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let by_way = |name: &str, address: &str| {
        let asked = ["invite", name, "--allow", "tools:search", "--address", address];
        let said = ca.told(OPERATOR, &asked);
        said.split_whitespace().find(|word| word.starts_with("vouchsafe-")).unwrap().to_owned()
    };
    let renew = |name: &str, address: &str| {
        let address = address.replace("127.0.0.1", "localhost");
        home.command(VOUCHSAFE).args(["renew", name, "--ca", &address]).output().unwrap()
    };
    // Once without a fault, to know how much comes back.
    let (everybody, enrolled) = frail_way(&ca.everybody, u64::MAX).await;
    done(&enroll(&home, &by_way("build", &everybody), "whole"));
    let (operators, renewed) = frail_way(&ca.operators, u64::MAX).await;
    done(&renew("whole", &operators));
    let (enrolled, renewed) = (all(&enrolled).await, all(&renewed).await);
    for (nth, (enrolled, renewed)) in places(enrolled).zip(places(renewed)).enumerate() {
        let name = format!("build-{nth}");
        let (address, _) = frail_way(&ca.everybody, enrolled).await;
        let invitation = by_way(&name, &address);
        // Also in the middle of the handshake.
        assert!(done(&enroll(&home, &invitation, &name)).starts_with("Enrolled as"));
        let first = serial(&ca, &name);
        let (address, _) = frail_way(&ca.operators, renewed).await;
        let said = done(&renew(&name, &address));
        assert!(said.starts_with("Renewed"), "{said}");
        // Whatever the CA has signed, the device had: no answer was given to nobody.
        assert_ne!(serial(&ca, &name), first);
        let issued = ca.told(OPERATOR, &["list", "--principal", &name]);
        assert_eq!(issued.matches(&name).count(), 2, "{issued}");
    }
    assert_eq!(ca.told(OPERATOR, &["list", "--revoked"]).matches("build").count(), 0);
}

#[test]
fn what_is_wrong_with_an_invitation_is_said() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let used = invite(&ca, "build-7", &[]);
    done(&enroll(&home, &used, "agent"));
    let again = refused(&enroll(&home, &used, "other"), 1);
    assert!(again.contains("the invitation has been used once"), "{again}");

    let withdrawn = invite(&ca, "build-8", &[]);
    let listed = ca.json(OPERATOR, &["invite", "--list"]);
    let open = listed.to_string();
    let id = open.split('"').rfind(|text| text.len() == 16).unwrap();
    ca.told(OPERATOR, &["invite", "--withdraw", id]);
    let refusal = refused(&enroll(&home, &withdrawn, "other"), 1);
    assert!(refusal.contains("withdrawn"), "{refusal}");

    let revoked = invite(&ca, "build-9", &[]);
    ca.told(OPERATOR, &["revoke", "build-9"]);
    let refusal = refused(&enroll(&home, &revoked, "other"), 1);
    assert!(refusal.contains("withdrawn") || refusal.contains("revoked"), "{refusal}");

    let expired = invite(&ca, "build-10", &["--expires", "1s"]);
    std::thread::sleep(Duration::from_millis(2100));
    let refusal = refused(&enroll(&home, &expired, "other"), 1);
    assert!(refusal.contains("the invitation expired at 20"), "{refusal}");

    let nonsense = refused(&enroll(&home, "vouchsafe-invitation-1.abc", "other"), 2);
    assert!(nonsense.contains("incomplete"), "{nonsense}");
    let occupied = refused(&enroll(&home, &used, "agent"), 1);
    assert!(occupied.contains("holds an identity already"), "{occupied}");
    assert!(!home.path("other").exists());
}

#[test]
fn a_ca_with_another_root_or_none_at_all_gets_nothing() {
    let (home, other) = (Home::new(), Home::new());
    let ca = Served::start(&home, &[]);
    let impostor = Served::start(&other, &[]);
    let invite = ["invite", "build-7", "--allow", "tools:search", "--address", &impostor.everybody];
    let said = ca.told(OPERATOR, &invite);
    let invitation = said.split_whitespace().find(|word| word.starts_with("vouchsafe-")).unwrap();
    let refusal = refused(&enroll(&home, invitation, "agent"), 1);
    assert!(refusal.contains("not from the CA whose root is pinned"), "{refusal}");
    drop(impostor);
    let refusal = refused(&enroll(&home, invitation, "agent"), 3);
    assert!(refusal.contains("cannot be reached"), "{refusal}");
    // Nobody has seen the secret, so it is still good.
    let address = &ca.everybody;
    let said = ca.json(OPERATOR, &["invite", "--list"]);
    assert!(said.to_string().contains("open"), "{said} at {address}");
}

/// Whoever has the identity in a directory, answering requests by their paths; where, and for what.
async fn stands_in(
    home: &Home,
    directory: &str,
    answer: impl Fn(&str) -> Response<Bytes> + Send + Sync + 'static,
) -> (String, mpsc::UnboundedReceiver<String>) {
    let identity = identity_in(&home.path(directory));
    let (seen, requests) = mpsc::unbounded_channel();
    let clock = Arc::new(DefaultTimeProvider);
    let record = fs::File::create(home.path("audit")).unwrap();
    let listener = PublicListener::new(PublicListenerConfig {
        identity: watch::channel(Arc::new(identity)).1,
        handler: Arc::new(move |_, request| {
            let path = request.uri().path().to_owned();
            let response = answer(&path);
            seen.send(path).unwrap();
            Box::pin(async { response })
        }),
        limits: HttpLimits::default(),
        log: EventLog::new(Arc::new(Record::new(record)), clock.clone()),
        clock,
    });
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(Arc::new(listener.unwrap()).serve(socket, std::future::pending()));
    (address, requests)
}

/// A gateway has a certificate of the same CA, and perhaps the same host name.
#[tokio::test(flavor = "multi_thread")]
async fn another_server_of_the_trust_domain_does_not_get_to_see_the_secret() {
    let home = Home::new();
    home.run(&["issue", "gw", "--server", "--ip", "127.0.0.1", "--out", "gw"]);
    let (address, mut requests) = stands_in(&home, "gw", |_| Response::new(Bytes::new())).await;
    let invite = ["invite", "build-7", "--allow", "tools:search", "--address", &address];
    let said = home.run(&invite);
    let invitation = said.split_whitespace().find(|word| word.starts_with("vouchsafe-")).unwrap();
    let refusal = refused(&enroll(&home, invitation, "agent"), 1);
    assert!(refusal.contains("spiffe://acme.example/gw, not the CA"), "{refusal}");
    assert!(requests.try_recv().is_err());
}

/// Whoever trusts the roots of two trust domains has one CA all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_ca_of_another_trust_domain_is_not_asked_although_its_root_is_trusted() {
    let home = Home::new();
    home.run(&["issue", "agent"]);
    let other = |arguments: &[&str]| home.run(&[&["--home", "other"], arguments].concat());
    other(&["init", "--trust-domain", "other.example"]);
    other(&["issue", "ca", "--server", "--ip", "127.0.0.1"]);
    let both = ["home", "other"].map(|of| home.path(of).join("roots.pem"));
    let both = both.map(|path| fs::read_to_string(path).unwrap()).concat();
    file::replace(&home.path("agent/roots.pem"), both.as_bytes(), Access::Public).unwrap();
    let (address, mut requests) = stands_in(&home, "ca", |_| Response::new(Bytes::new())).await;
    let mut renew = home.command(VOUCHSAFE);
    let said = refused(&renew.args(["renew", "agent", "--ca", &address]).output().unwrap(), 1);
    assert!(said.contains("spiffe://other.example/ca, not the CA"), "{said}");
    assert!(requests.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_waits_as_long_as_the_ca_asks_it_to_and_asks_again() {
    let home = Home::new();
    home.run(&["issue", "ca", "--server", "--ip", "127.0.0.1"]);
    home.run(&["issue", "agent", "--ttl", "1m"]);
    let authorities = ["issuing.pem", "root.pem"]
        .map(|name| CertificateDer::from_pem_file(home.path("home").join(name)).unwrap());
    let authorities = Base64::encode_string(&certs_only::pack(&authorities).unwrap());
    let (address, mut requests) = stands_in(&home, "ca", move |path| {
        if path.ends_with("cacerts") {
            return Response::new(authorities.clone().into());
        }
        let later = Response::builder().status(429).header("retry-after", "6");
        later.body("it is as good as new\n".into()).unwrap()
    })
    .await;
    let mut renew = home.command(VOUCHSAFE);
    let once = renew.args(["renew", "agent", "--ca", &address]).output().unwrap();
    assert!(done(&once).starts_with("Not renewed yet: it is as good as new\n"));

    // It has two thirds of its life behind it, by a clock that is ahead of the CA's.
    home.run(&["issue", "agent", "--ttl", "1s", "--force"]);
    let mut daemon = home.command(VOUCHSAFE);
    daemon.args(["renew", "agent", "--daemon", "--ca", &address]).stdout(Stdio::null());
    let mut daemon = daemon.spawn().unwrap();
    let says = Lines::follow(daemon.stderr.take().unwrap());
    let begun = Instant::now();
    let (at, line) = says.wait_for(0, "not renewed yet");
    assert!(line.ends_with("it is as good as new") && !line.contains("WARNING"), "{line}");
    says.wait_for(at + 1, "not renewed yet");
    assert!(begun.elapsed() >= Duration::from_secs(6));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    requests.close();
    let mut asked = 0;
    while let Some(path) = requests.recv().await {
        asked += usize::from(path.ends_with("simplereenroll"));
    }
    assert_eq!(asked, 3);
}

#[test]
fn the_daemon_renews_in_time_and_runs_its_hook_and_says_when_it_must_give_up() {
    let home = Home::new();
    let ca = Served::start(&home, &[]);
    let invitation = invite(&ca, "build-7", &["--ttl", "6s"]);
    done(&enroll(&home, &invitation, "agent"));
    let first = serial(&ca, "agent");
    let address = ca.operators.replace("127.0.0.1", "localhost");
    let hook = "echo renewed in $VOUCHSAFE_IDENTITY >> hook.log; exit 3";
    let mut daemon = home.command(VOUCHSAFE);
    daemon.args(["renew", "agent", "--daemon", "--ca", &address, "--hook", hook]);
    let mut daemon = daemon.stdout(Stdio::null()).spawn().unwrap();
    let says = Lines::follow(daemon.stderr.take().unwrap());
    let (at, _) = says.wait_for(0, "renewed: certificate");
    assert_ne!(serial(&ca, "agent"), first);
    // What is wrong with the hook takes nothing back.
    let (at, _) = says.wait_for(at + 1, "WARNING: the hook failed: exit status: 3");
    says.wait_for(at + 1, "renewed: certificate");
    let hooked = fs::read_to_string(home.path("hook.log")).unwrap();
    assert!(hooked.starts_with("renewed in agent\n"), "{hooked}");
    // The device is revoked: there is nothing left to try.
    ca.told(OPERATOR, &["revoke", "build-7"]);
    says.wait_for(at, "error: ");
    let begun = Instant::now();
    while daemon.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", says.all());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(daemon.wait().unwrap().code(), Some(1));
}
