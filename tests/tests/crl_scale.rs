//! A hundred thousand revocations: a list that is long to load, once, and no burden on any handshake.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason,
    RevokedCertParams, SerialNumber, SigningKey,
};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use tokio::sync::watch;
use vouchsafe_ca::pem;
use vouchsafe_certs::{CaCertificate, ListEntry, PrivateKey, Serial, UnsignedList};
use vouchsafe_tests::{Client, RunningGateway, World, command, fixed};
use vouchsafe_transport::{GatewayConfig, Identity, Revocations, Trust};

const ENTRIES: u64 = 100_000;
const HANDSHAKES: usize = 120;

#[tokio::test]
async fn a_hundred_thousand_revocations_cost_a_handshake_nothing() {
    let world = World::new();
    let (agent, stolen) = (world.agent("agent", &["tools:*"]), world.agent("stolen", &["tools:*"]));
    let pem = long_list(&world, &stolen.certificate.serial);
    let begun = Instant::now();
    let long = Revocations::from_pem(pem.as_bytes(), &agent.list_issuers()).unwrap();
    let loading = begun.elapsed();
    assert!(long.lists().any(|list| list.serials().len() == 1 + usize::try_from(ENTRIES).unwrap()));

    let (_publisher, lists) = watch::channel(Arc::new(long));
    let short = gateway(&world, None).await;
    let long = gateway(&world, Some(lists)).await;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..HANDSHAKES {
        without.push(handshake(&short, &agent).await);
        with.push(handshake(&long, &agent).await);
    }
    let (without, with) = (median(without), median(with));
    eprintln!(
        "{ENTRIES} entries in {} octets: loaded in {loading:.2?}; a handshake costs client and gateway \
         {without:.2?} of CPU without them, {with:.2?} with them",
        pem.len()
    );
    assert!(with < without * 3 / 2, "{with:?} instead of {without:?}");

    let refused = Client::connect(long.address, &stolen).await.ending().await;
    assert_eq!(refused, "received fatal alert: CertificateRevoked");
    // It is the list that refuses: where it is not in force, the same certificate is let in.
    handshake(&short, &stolen).await;
}

#[test]
fn a_change_among_a_hundred_thousand_is_some_kilobytes() {
    let world = World::new();
    let agent = world.agent("agent", &["tools:*"]);
    let issuers = agent.list_issuers();
    let issuer = &agent.authorities[0];
    let key = fs::read_to_string(world.home().join("issuing.key")).unwrap();
    let key = PrivateKey::from_pem(&key).unwrap();
    let now = DefaultTimeProvider.current_time().unwrap();
    let next_update = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + 3600));
    let sign = |number, base_number, count: u64| {
        let entry = |_| ListEntry { serial: Serial::random().unwrap(), revoked_at: now, reason: 1 };
        let entries: Vec<ListEntry> = (0..count).map(entry).collect();
        let (entries, this_update) = (&entries, now);
        let list = UnsignedList { issuer, number, base_number, this_update, next_update, entries };
        let to_be_signed = list.to_be_signed().unwrap();
        let signature = key.sign(&to_be_signed).unwrap();
        pem::revocation_lists([list.signed(&to_be_signed, &signature).unwrap()])
    };
    let whole = sign(1, None, ENTRIES);
    // As many as the CA lets come together before it signs all of them anew: √(2N).
    let most = (2 * ENTRIES).isqrt();
    let change = sign(2, Some(1), most);
    let begun = Instant::now();
    let lists = Revocations::from_pem(whole.as_bytes(), &issuers).unwrap();
    let reading = begun.elapsed();
    let begun = Instant::now();
    let changed = lists.followed_by(change.as_bytes(), &issuers, now).unwrap().revocations;
    let changing = begun.elapsed();
    assert_eq!(
        changed.lists().map(|list| list.serials().len()).sum::<usize>(),
        usize::try_from(ENTRIES + most).unwrap()
    );
    eprintln!(
        "{ENTRIES} entries: {} octets, read in {reading:.2?}; a change has {} octets at most, added in {changing:.2?}",
        whole.len(),
        change.len()
    );
    assert!(change.len() * 100 < whole.len());
    assert!(changing < reading / 4, "{changing:?} instead of {reading:?}");
}

/// A gateway that follows these lists, or the world's; of its sessions only the handshake costs
/// anything, for there is no server to be started.
async fn gateway(
    world: &World,
    lists: Option<watch::Receiver<Arc<Revocations>>>,
) -> RunningGateway {
    let adjust = |config: &mut GatewayConfig| {
        config.upstream = command(&["/does/not/exist"]);
        if let Some(lists) = lists {
            let roots = Arc::clone(&config.identity.borrow().roots);
            config.trust = Trust::new(fixed(roots), lists, Arc::new(DefaultTimeProvider));
        }
    };
    world.gateway(adjust).await
}

/// The CPU time of one handshake, of both sides: they run on this thread.
async fn handshake(gateway: &RunningGateway, identity: &Identity) -> Duration {
    let begun = cpu();
    let mut client = Client::connect(gateway.address, identity).await;
    let told = client.line().await.unwrap().unwrap();
    assert_eq!(told["error"]["message"], "The session is closed: the server could not be started");
    assert_eq!(client.ending().await, "closed");
    cpu() - begun
}

/// What this thread has spent so far: the first number, in nanoseconds.
fn cpu() -> Duration {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A list of the world's issuing CA that names a hundred thousand strangers and one of us, with the
/// root's list beside it.
fn long_list(world: &World, revoked: &Serial) -> String {
    let home = world.home();
    let key = fs::read_to_string(home.join("issuing.key")).unwrap();
    let der = CertificateDer::from_pem_file(home.join("issuing.pem")).unwrap();
    let authority = CaCertificate::from_der(&der).unwrap();
    let now = OffsetDateTime::now_utc();
    let entry = |serial_number| RevokedCertParams {
        serial_number,
        revocation_time: now,
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let strangers = (0..ENTRIES).map(|_| Serial::random().unwrap());
    let serials = strangers.chain([*revoked]);
    let params = CertificateRevocationListParams {
        this_update: now,
        next_update: now + Duration::from_secs(3600),
        crl_number: SerialNumber::from(1000),
        issuing_distribution_point: None,
        revoked_certs: serials.map(|serial| entry(serial.as_bytes().to_vec().into())).collect(),
        key_identifier_method: KeyIdMethod::PreSpecified(authority.key_identifier),
    };
    let issuer = Issuer::from_ca_cert_der(&der, KeyPair::from_pem(&key).unwrap()).unwrap();
    let list = params.signed_by(&issuer).unwrap().pem().unwrap();
    let published = fs::read_to_string(home.join("crl.pem")).unwrap();
    let (_issuing, root) = published.split_once("-----END X509 CRL-----\n").unwrap();
    list + root
}
