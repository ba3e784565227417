//! Trust under a clock that the test moves: wall time follows tokio's paused time.

mod interleavings;
mod lists;

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::time::{Instant, advance, sleep};
use vouchsafe_certs::RevocationError;

use super::*;
use crate::{Role, Session};

const BASE: u64 = 1_800_000_000;

#[derive(Debug)]
struct TestClock(Instant);

impl TimeProvider for TestClock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = Duration::from_secs(BASE) + self.0.elapsed();
        Some(UnixTime::since_unix_epoch(now))
    }
}

fn at(seconds: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(BASE + seconds).unwrap()).unwrap()
}

struct Ca {
    certificate: CaCertificate,
    params: CertificateParams,
    key: KeyPair,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from_slice(&[9]));
        let der = params.self_signed(&key).unwrap();
        Self { certificate: CaCertificate::from_der(der.der()).unwrap(), params, key }
    }

    fn agent(&self, serial: u8, not_after: u64) -> Peer {
        let leaf = self.leaf(serial, not_after, &[ExtendedKeyUsagePurpose::ClientAuth]);
        let roots = [self.certificate.clone()];
        Peer::from_chain(&leaf, &[], &roots, Role::Client).unwrap()
    }

    fn leaf(
        &self,
        serial: u8,
        not_after: u64,
        usage: &[ExtendedKeyUsagePurpose],
    ) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.not_before = at(0);
        params.not_after = at(not_after);
        params.subject_alt_names = vec![SanType::URI("spiffe://test/agent".try_into().unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usage.to_vec();
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(&key, &issuer).unwrap().der().clone()
    }

    fn list(&self, number: u64, revoked: &[u8], next_update: u64) -> Arc<Revocations> {
        let params = CertificateRevocationListParams {
            this_update: at(0),
            next_update: at(next_update),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&[*serial]),
                    revocation_time: at(0),
                    reason_code: Some(RevocationReason::KeyCompromise),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&Issuer::from_params(&self.params, &self.key)).unwrap();
        let issuers = [self.certificate.clone()];
        Arc::new(Revocations::from_pem(list.pem().unwrap().as_bytes(), &issuers).unwrap())
    }

    fn trust(&self, lists: Arc<Revocations>) -> (Trust, watch::Sender<Arc<Revocations>>) {
        let (sender, receiver) = watch::channel(lists);
        let clock = Arc::new(TestClock(Instant::now()));
        let roots = watch::channel([self.certificate.clone()].into()).1;
        (Trust::new(roots, receiver, clock), sender)
    }
}

/// Runs a session whose work never ends, and says why and after how many seconds it was cut.
async fn cut(peer: Peer, trust: Trust) -> (Denial, u64) {
    let start = Instant::now();
    let session = Session::new((), peer, trust);
    let denial = session.run(|()| std::future::pending::<()>()).await.unwrap_err();
    (denial, start.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_peer_revoked_in_mid_session_is_cut_at_once_and_others_stay() {
    let ca = Ca::new();
    let (trust, sender) = ca.trust(ca.list(1, &[], 100_000));
    let revoked = tokio::spawn(cut(ca.agent(1, 90_000), trust.clone()));
    let stays = tokio::spawn(cut(ca.agent(2, 90_000), trust));
    sleep(Duration::from_secs(1000)).await;
    sender.send_replace(ca.list(2, &[1], 100_000));
    assert_eq!(revoked.await.unwrap(), (Denial::Revoked, 1000));
    sleep(Duration::from_secs(1000)).await;
    assert!(!stays.is_finished());
}

#[tokio::test(start_paused = true)]
async fn work_for_a_peer_that_is_revoked_already_never_begins() {
    let ca = Ca::new();
    let (trust, _sender) = ca.trust(ca.list(1, &[1], 100));
    let session = Session::new((), ca.agent(1, 90), trust);
    let begun = std::cell::Cell::new(false);
    let denial = session.run(|()| async { begun.set(true) }).await;
    assert_eq!(denial, Err(Denial::Revoked));
    assert!(!begun.get());
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_after_the_last_second_of_the_certificate() {
    let ca = Ca::new();
    let (trust, _sender) = ca.trust(ca.list(1, &[], 100_000));
    // notAfter is inclusive (RFC 5280 §4.1.2.5).
    assert_eq!(cut(ca.agent(1, 500), trust).await, (Denial::Expired, 501));
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_the_list_goes_stale_unless_a_new_one_comes() {
    let ca = Ca::new();
    let (trust, sender) = ca.trust(ca.list(1, &[], 300));
    let ended = tokio::spawn(cut(ca.agent(1, 90_000), trust));
    sleep(Duration::from_secs(200)).await;
    sender.send_replace(ca.list(2, &[], 600));
    assert_eq!(ended.await.unwrap(), (Denial::RevocationListStale, 601));
}

#[tokio::test(start_paused = true)]
async fn where_the_operator_says_so_sessions_outlive_a_list_and_know_it() {
    let ca = Ca::new();
    let (trust, sender) = ca.trust(ca.list(1, &[3], 300));
    let trust = trust.with_stale_lists_for(PermissionSet::default());
    let is_stale = Arc::new(AtomicBool::new(false));
    let (peer, noted) = (ca.agent(1, 90_000), Arc::clone(&is_stale));
    let mut judge = trust.clone();
    let ended = tokio::spawn(async move { judge.lost(&peer, &noted).await });
    for (at, expected) in [(299, false), (302, true), (20_000, true)] {
        sleep(Duration::from_secs(at) - judge_time(&trust)).await;
        assert_eq!(is_stale.load(Ordering::Relaxed), expected, "{at}");
    }
    // Whoever the stale list names stays out, and a new one makes everything as it was.
    assert_eq!(cut(ca.agent(3, 90_000), trust.clone()).await.0, Denial::Revoked);
    sender.send_replace(ca.list(2, &[], 30_000));
    sleep(Duration::from_secs(1)).await;
    assert!(!is_stale.load(Ordering::Relaxed));
    sender.send_replace(ca.list(3, &[1], 30_000));
    assert_eq!(ended.await.unwrap(), Denial::Revoked);
}

/// Since the beginning.
fn judge_time(trust: &Trust) -> Duration {
    Duration::from_secs(trust.clock.current_time().unwrap().as_secs() - BASE)
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_dies_leaves_a_list_that_goes_stale() {
    let ca = Ca::new();
    let (trust, sender) = ca.trust(ca.list(1, &[], 300));
    drop(sender);
    assert_eq!(cut(ca.agent(1, 90_000), trust).await, (Denial::RevocationListStale, 301));
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_list_or_none_of_the_issuer_turns_everybody_away() {
    let ca = Ca::new();
    let (trust, sender) = ca.trust(ca.list(1, &[], 300));
    let ended = tokio::spawn(cut(ca.agent(1, 90_000), trust.clone()));
    advance(Duration::from_secs(1)).await;
    sender.send_replace(Arc::new(Revocations::Unreadable));
    assert_eq!(ended.await.unwrap().0, Denial::RevocationListUnreadable);
    let other = Ca::new();
    sender.send_replace(other.list(1, &[], 300));
    assert_eq!(cut(ca.agent(1, 90_000), trust).await.0, Denial::NoRevocationList);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_sessions_are_judged_by_one_list() {
    let ca = Ca::new();
    let (trust, sender) = ca.trust(ca.list(1, &[], 100_000));
    let (revoked, stays) = (ca.agent(1, 90_000), ca.agent(2, 90_000));
    let sessions: Vec<_> = (0..10_000)
        .map(|nth| {
            let peer = if nth % 2 == 0 { &revoked } else { &stays };
            tokio::spawn(cut(peer.clone(), trust.clone()))
        })
        .collect();
    sleep(Duration::from_secs(1)).await;
    sender.send_replace(ca.list(2, &[1], 100_000));
    sleep(Duration::from_secs(1)).await;
    for (nth, session) in sessions.iter().enumerate() {
        assert_eq!(session.is_finished(), nth % 2 == 0);
    }
}

#[test]
fn a_list_by_someone_else_is_no_list() {
    let (ca, other) = (Ca::new(), Ca::new());
    let params = CertificateRevocationListParams {
        this_update: at(0),
        next_update: at(9),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let forged = params.signed_by(&Issuer::from_params(&other.params, &other.key)).unwrap();
    let issuers = [ca.certificate];
    let refused = Revocations::from_pem(forged.pem().unwrap().as_bytes(), &issuers);
    assert_eq!(refused.unwrap_err(), RevocationsError::List(RevocationError::UnknownIssuer));
    assert_eq!(Revocations::from_pem(b"nothing", &issuers).unwrap_err(), RevocationsError::Empty);
}

#[test]
fn a_server_is_no_client_and_an_agent_no_server() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let ca = Ca::new();
    let roots = [ca.certificate.clone()];
    let server = ca.leaf(1, 9, &[ServerAuth, ClientAuth]);
    assert!(Peer::from_chain(&server, &[], &roots, Role::Server).is_ok());
    assert!(matches!(Peer::from_chain(&server, &[], &roots, Role::Client), Err(Denial::Usage(_))));
    let agent = ca.leaf(1, 9, &[ClientAuth]);
    assert!(matches!(Peer::from_chain(&agent, &[], &roots, Role::Server), Err(Denial::Usage(_))));
    // A stock verifier lets a leaf without any extended key usage through.
    let neither = ca.leaf(1, 9, &[]);
    assert!(matches!(
        Peer::from_chain(&neither, &[], &roots, Role::Client),
        Err(Denial::Certificate(_))
    ));
}
