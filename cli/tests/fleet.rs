//! A hundred live sessions of one device next to a hundred of another, at the real gateway: what
//! takes the first away leaves the second alone.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod crowd;
mod cut;
#[expect(dead_code, reason = "the list in the home does not go away")]
mod gate;
mod home;
#[expect(dead_code, reason = "of what a gateway says, this needs a part")]
mod lines;

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crowd::{Crowd, Gathering};
use cut::{Cut, bound, lost_nothing};
use gate::Gate;
use home::{Home, VOUCHSAFE};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use vouchsafe_tests::{Client, identity_in};
use vouchsafe_transport::{Identity, Revocations};

/// Two hundred sessions at a time are enough.
static ALONE: Mutex<()> = Mutex::const_new(());

/// How many sessions a device holds.
const SIZE: usize = 100;

/// How long the others, and the gateway's record, are watched after the cut.
const AFTERWARDS: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_device_loses_every_session_and_the_other_none() {
    let _alone = ALONE.lock().await;
    let home = Home::new();
    let gate = open_gate(&home);
    let (stolen, other) = (agent(&home, "stolen", &[]), agent(&home, "other", &[]));
    let (first, second) = gather(&gate, &stolen, &other).await;
    sleep(Duration::from_millis(500)).await;

    let (took, returned) = revoke(&home, "stolen").await;
    let door = tokio::spawn(refused_from(returned, gate.address, Arc::clone(&stolen)));
    let cut = Cut::of(&first.until_cut().await, returned);
    let (refused, let_in) = door.await.unwrap();
    let again = refusals(gate.address, &stolen, "CertificateRevoked").await;
    sleep(AFTERWARDS).await;
    let calls = lost_nothing(&second.disperse().await, &cut);

    eprintln!(
        "revoke returned after {took:.0?}: {cut}; at the door refused {refused:.1?} after it ({let_in} let in and \
         cut), from then on within {again:.1?}; the others made {calls} calls and lost none"
    );
    cut.is_the_last_word(&gate.events_of("stolen"), "the certificate is revoked");
    assert!(cut.last() <= bound(Duration::from_millis(250)), "{cut}");
    assert!(refused <= bound(Duration::from_millis(250)), "refused only after {refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_device_loses_every_session_and_the_other_none() {
    let _alone = ALONE.lock().await;
    let home = Home::new();
    let gate = open_gate(&home);
    let other = agent(&home, "other", &[]);
    let second = Gathering::of(&other, gate.address, SIZE).await;
    let brief = agent(&home, "brief", &["--ttl", "10s"]);
    let first = Gathering::of(&brief, gate.address, SIZE).await.begin();
    let second = second.begin();

    let end = instant_of(brief.certificate.not_after.as_secs());
    let cut = Cut::of(&first.until_cut().await, end);
    let again = refusals(gate.address, &brief, "CertificateExpired").await;
    sleep(AFTERWARDS).await;
    let calls = lost_nothing(&second.disperse().await, &cut);

    eprintln!(
        "notAfter: {cut}; at the door refused within {again:.1?}; the others made {calls} calls and lost none"
    );
    cut.is_the_last_word(&gate.events_of("brief"), "the certificate has expired");
    ends_in_time(&cut);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_gone_stale_ends_every_session_and_one_renewed_in_time_none() {
    let _alone = ALONE.lock().await;
    let home = Home::new();
    let gate = open_gate(&home);
    let (one, other) = (agent(&home, "one", &[]), agent(&home, "other", &[]));
    let (first, second) = gather(&gate, &one, &other).await;
    shorten_lists(&home, "6s");

    // A list that follows in time: nobody notices that the one before has ended.
    for _ in 0..3 {
        home.run(&["crl"]);
        sleep(Duration::from_secs(3)).await;
    }
    let end = instant_of(next_update(&home, &one));
    let cuts = [
        ("one", Cut::of(&first.until_cut().await, end)),
        ("other", Cut::of(&second.until_cut().await, end)),
    ];
    let again = refusals(gate.address, &one, "CertificateUnknown").await;
    sleep(AFTERWARDS).await;

    for (device, cut) in &cuts {
        eprintln!("nextUpdate: {device}: {cut}; at the door refused within {again:.1?}");
        cut.is_the_last_word(&gate.events_of(device), "the revocation list has gone stale");
        ends_in_time(cut);
    }
    // A new list opens the door again.
    home.run(&["crl"]);
    sleep(Duration::from_millis(500)).await;
    Gathering::of(&other, gate.address, SIZE).await;
}

/// RFC 5280 §4.1.2.5: the last second counts, so nobody is cut before it is over.
fn ends_in_time(cut: &Cut) {
    assert!(cut.first_ms() >= 1000.0, "cut before the last second was over: {cut}");
    assert!(cut.last() <= bound(Duration::from_millis(1500)), "{cut}");
}

/// A gateway that follows the list in the CA's home.
fn open_gate(home: &Home) -> Gate {
    home.run(&["issue", "gate", "--server", "--dns", "localhost"]);
    let list = home.path("home/crl.pem").display().to_string();
    Gate::open(home, "gate", "127.0.0.1", &["--crl", &list])
}

fn agent(home: &Home, name: &str, more: &[&str]) -> Arc<Identity> {
    home.run(&[&["issue", name, "--allow", "tools:*"], more].concat());
    Arc::new(identity_in(&home.path(name)))
}

/// Opens the sessions of two devices, and lets all of them call at once.
async fn gather(gate: &Gate, one: &Identity, other: &Identity) -> (Crowd, Crowd) {
    let one = Gathering::of(one, gate.address, SIZE).await;
    let other = Gathering::of(other, gate.address, SIZE).await;
    (one.begin(), other.begin())
}

/// How long the command took, and when it returned.
async fn revoke(home: &Home, device: &str) -> (Duration, Instant) {
    let mut revoke = home.command(VOUCHSAFE);
    revoke.args(["revoke", device]);
    let run = move || {
        let begun = Instant::now();
        let output = revoke.output().unwrap();
        (begun.elapsed(), Instant::now(), output.status.success())
    };
    let (took, returned, succeeded) = spawn_blocking(run).await.unwrap();
    assert!(succeeded);
    (took, returned)
}

/// Connects from the moment when the command has returned: how long until the first refusal, and how
/// many sessions were let in before, only to be cut.
async fn refused_from(
    returned: Instant,
    address: SocketAddr,
    identity: Arc<Identity>,
) -> (Duration, usize) {
    let mut let_in = 0;
    while Client::connect(address, &identity).await.ending().await != alert("CertificateRevoked") {
        let_in += 1;
    }
    (returned.elapsed(), let_in)
}

/// Ten connections one after the other, each refused with this alert; how long the slowest took.
async fn refusals(address: SocketAddr, identity: &Identity, told: &str) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let begun = Instant::now();
        let ending = Client::connect(address, identity).await.ending().await;
        assert_eq!(ending, alert(told));
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

fn alert(name: &str) -> String {
    format!("received fatal alert: {name}")
}

fn instant_of(unix_seconds: u64) -> Instant {
    let now = OffsetDateTime::now_utc();
    let then = OffsetDateTime::from_unix_timestamp(i64::try_from(unix_seconds).unwrap()).unwrap();
    match Duration::try_from(then - now) {
        Ok(ahead) => Instant::now() + ahead,
        Err(_) => Instant::now() - Duration::try_from(now - then).unwrap(),
    }
}

fn shorten_lists(home: &Home, lifetime: &str) {
    let path = home.path("home/ca.toml");
    let text = fs::read_to_string(&path).unwrap();
    let shortened = text.replace("\nlist = \"7d\"", &format!("\nlist = \"{lifetime}\""));
    assert_ne!(text, shortened);
    File::create(&path).unwrap().write_all(shortened.as_bytes()).unwrap();
}

/// When the first of the published lists goes stale, in Unix seconds.
fn next_update(home: &Home, identity: &Identity) -> u64 {
    let pem = fs::read(home.path("home/crl.pem")).unwrap();
    let lists = Revocations::from_pem(&pem, &identity.list_issuers()).unwrap();
    lists.lists().map(|list| list.next_update.as_secs()).min().unwrap()
}
