//! Bundles of lists: whose count, and what may follow what.

use std::time::Duration;

use base64ct::{Base64, Encoding};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber, SigningKey,
};
use rustls_pki_types::UnixTime;
use vouchsafe_certs::{CaCertificate, ListEntry, RevocationError, Serial, UnsignedList};

use super::super::bundle::MAX_SECTIONS;
use super::super::{Following, Revocations, RevocationsError};

/// When every list is made, and when it goes stale, in Unix seconds.
const MADE: u64 = 1_800_000_000;
const STALE: u64 = MADE + 100;

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CaCertificate,
    pem: String,
}

impl Ca {
    fn root() -> Self {
        Self::new("Root", 9, None)
    }

    /// One that the root has certified under this serial number.
    fn below(above: &Self, serial: u8) -> Self {
        Self::new("Issuing", serial, Some(above))
    }

    fn new(name: &str, serial: u8, above: Option<&Self>) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let signed = match above {
            Some(above) => params.signed_by(&key, &above.issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        let certificate = CaCertificate::from_der(signed.der()).unwrap();
        Self { issuer: Issuer::new(params, key), certificate, pem: signed.pem() }
    }

    fn list(&self, number: u64) -> String {
        self.naming(number, &[])
    }

    /// A complete list that names these certificates.
    fn naming(&self, number: u64, revoked: &[u8]) -> String {
        self.signs(number, None, revoked)
    }

    /// What was revoked since the list of that number.
    fn delta(&self, number: u64, since: u64, revoked: &[u8]) -> String {
        self.signs(number, Some(since), revoked)
    }

    fn signs(&self, number: u64, base_number: Option<u64>, revoked: &[u8]) -> String {
        let entry = |serial: &u8| ListEntry {
            serial: Serial::from_der_content(&[*serial]).unwrap(),
            revoked_at: at(MADE),
            reason: 1,
        };
        let list = UnsignedList {
            issuer: &self.certificate,
            number,
            base_number,
            this_update: at(MADE),
            next_update: at(STALE),
            entries: &revoked.iter().map(entry).collect::<Vec<_>>(),
        };
        let to_be_signed = list.to_be_signed().unwrap();
        let signature = self.issuer.key().sign(&to_be_signed).unwrap();
        let der = list.signed(&to_be_signed, &signature).unwrap();
        let text = Base64::encode_string(&der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
        format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", lines.join("\n"))
    }
}

fn certificates(issuers: &[&Ca]) -> Vec<CaCertificate> {
    issuers.iter().map(|ca| ca.certificate.clone()).collect()
}

/// The numbers of the lists in force.
fn numbers(revocations: &Revocations) -> Vec<u64> {
    let mut numbers: Vec<_> = revocations.lists().map(|list| list.number).collect();
    numbers.sort_unstable();
    numbers
}

/// The numbers of the lists that are taken.
fn taken(bundle: &[&str], issuers: &[&Ca]) -> Result<Vec<u64>, RevocationsError> {
    let read = Revocations::from_pem(bundle.concat().as_bytes(), &certificates(issuers))?;
    Ok(numbers(&read))
}

/// A gateway that takes what it is offered, bundle after bundle.
struct Gateway {
    trusts: Vec<CaCertificate>,
    in_force: Revocations,
    now: UnixTime,
}

impl Gateway {
    fn new(trusts: &[&Ca], bundle: &[String]) -> Self {
        let trusts = certificates(trusts);
        let in_force = Revocations::from_pem(bundle.concat().as_bytes(), &trusts).unwrap();
        Self { trusts, in_force, now: at(MADE) }
    }

    /// What of it is not taken, and why.
    fn is_offered(&mut self, bundle: &[&str]) -> Result<Vec<RevocationsError>, RevocationsError> {
        let pem = bundle.concat();
        let following = self.in_force.followed_by(pem.as_bytes(), &self.trusts, self.now)?;
        let Following { revocations, not_taken, .. } = following;
        self.in_force = revocations;
        Ok(not_taken.into_iter().map(|not_taken| not_taken.error).collect())
    }

    /// Of one CA.
    fn number(&self, ca: &Ca) -> Option<u64> {
        self.in_force.list_of(&ca.certificate.id).map(|list| list.number)
    }

    fn knows_as_revoked(&self, ca: &Ca, serial: u8) -> bool {
        let serial = Serial::from_der_content(&[serial]).unwrap();
        self.in_force.list_of(&ca.certificate.id).is_some_and(|list| list.revokes(&serial))
    }
}

#[test]
fn the_list_of_a_new_issuing_ca_counts_if_its_certificate_leads_to_a_trusted_root() {
    let root = Ca::root();
    let (old, new) = (Ca::below(&root, 1), Ca::below(&root, 2));
    let lists = [old.list(1), new.list(2), root.list(3)].concat();
    // Who knows the old issuing CA alone has the others' lists, but not the new one's.
    assert_eq!(taken(&[&lists], &[&root, &old]), Ok(vec![1, 3]));
    // The certificate brings it, before or after the lists.
    assert_eq!(taken(&[&lists, &new.pem], &[&root, &old]), Ok(vec![1, 2, 3]));
    assert_eq!(taken(&[&new.pem, &lists], &[&root, &old]), Ok(vec![1, 2, 3]));
    // What is in the bundle vouches for nothing: neither a root nor an issuing CA in it.
    let strange = Ca::root();
    let below = Ca::below(&strange, 1);
    let foreign = [strange.list(4), below.list(5), strange.pem, below.pem].concat();
    assert_eq!(taken(&[&lists, &new.pem, &foreign], &[&root]), Ok(vec![2, 3]));
    let unknown = Err(RevocationError::UnknownIssuer.into());
    assert_eq!(taken(&[&foreign], &[&root]), unknown);
    // An issuing CA that the reader knows makes no others known.
    let sub = Ca::below(&old, 1);
    assert_eq!(taken(&[&sub.pem, &sub.list(6)], &[&root, &old]), unknown);
}

#[test]
fn a_bundle_with_a_forged_list_a_list_twice_or_too_many_is_refused_whole() {
    let root = Ca::root();
    let good = root.list(1);
    let mut forged = root.list(2).into_bytes();
    let at = forged.len() - "-----END X509 CRL-----\n".len() - 12;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    let issuing = Ca::below(&root, 1);
    let refused = Err(RevocationError::Signature.into());
    assert_eq!(taken(&[&issuing.list(3), &issuing.pem, &forged], &[&root]), refused);
    assert_eq!(taken(&[&good, &good], &[&root]), Err(RevocationsError::Twice));
    let many = issuing.pem.repeat(MAX_SECTIONS);
    assert_eq!(taken(&[&many, &good], &[&root]), Ok(vec![1]));
    assert_eq!(taken(&[&many, &issuing.pem, &good], &[&root]), Err(RevocationsError::TooMany));
    let leaf = good.replace("X509 CRL", "CERTIFICATE");
    assert!(matches!(taken(&[&good, &leaf], &[&root]), Err(RevocationsError::Certificate(_))));
}

#[test]
fn the_list_of_a_ca_only_moves_forward() {
    let root = Ca::root();
    let mut gateway = Gateway::new(&[&root], &[root.naming(7, &[1])]);
    assert_eq!(gateway.is_offered(&[&root.naming(7, &[1])]), Ok(vec![]));
    assert_eq!(gateway.is_offered(&[&root.list(8)]), Ok(vec![]));
    let older = RevocationsError::Older { found: 7, current: 8 };
    assert_eq!(gateway.is_offered(&[&root.naming(7, &[1])]), Ok(vec![older]));
    let same = RevocationsError::SameNumber(8);
    assert_eq!(gateway.is_offered(&[&root.naming(8, &[2])]), Ok(vec![same.clone()]));
    assert_eq!(gateway.is_offered(&[&root.delta(8, 7, &[2])]), Ok(vec![same]));
    assert_eq!(gateway.number(&root), Some(8));
    assert!(!gateway.knows_as_revoked(&root, 2));
    // Changes are taken for what is in force, and not for what is not known.
    assert_eq!(gateway.is_offered(&[&root.delta(9, 8, &[2])]), Ok(vec![]));
    assert!(gateway.knows_as_revoked(&root, 2));
    let baseless = RevocationError::Baseless.into();
    assert_eq!(gateway.is_offered(&[&root.delta(12, 11, &[3])]), Err(baseless));
}

#[test]
fn what_is_missing_stays_until_it_is_stale_and_is_never_forgotten() {
    let (root, other) = (Ca::root(), Ca::root());
    let mut gateway = Gateway::new(&[&root, &other], &[root.list(8), other.list(8)]);
    assert_eq!(gateway.is_offered(&[&other.list(9)]), Ok(vec![RevocationsError::Missing]));
    assert_eq!((gateway.number(&root), gateway.number(&other)), (Some(8), Some(9)));
    gateway.now = at(STALE + 1);
    assert_eq!(gateway.is_offered(&[&other.list(10)]), Ok(vec![]));
    // It lets nobody in any more, and none from before will.
    let older = RevocationsError::Older { found: 7, current: 8 };
    assert_eq!(gateway.is_offered(&[&other.list(10), &root.list(7)]), Ok(vec![older]));
}

#[test]
fn lists_go_with_the_root_that_is_dropped_and_the_others_move_on() {
    let (old, new) = (Ca::root(), Ca::root());
    let (former, present) = (Ca::below(&old, 1), Ca::below(&new, 1));
    let chains = [former.pem.clone(), present.pem.clone()];
    let lists = [old.list(1), former.list(1), new.list(1), present.list(1)];
    let mut gateway = Gateway::new(&[&old, &new], &[&chains[..], &lists].concat());
    assert_eq!(numbers(&gateway.in_force), [1, 1, 1, 1]);
    // The rollover is over: the old root is struck from roots.pem. Its lists go on coming, or not.
    gateway.trusts = certificates(&[&new]);
    let revoking = present.naming(2, &[66]);
    assert_eq!(
        gateway.is_offered(&[&chains.concat(), &lists[0], &lists[2], &revoking]),
        Ok(vec![])
    );
    assert!(gateway.knows_as_revoked(&present, 66));
    assert_eq!((gateway.number(&old), gateway.number(&former)), (None, None));
    assert_eq!(gateway.is_offered(&[&new.list(2), &present.naming(3, &[66, 67])]), Ok(vec![]));
    assert!(gateway.knows_as_revoked(&present, 67));
}

#[test]
fn a_stolen_issuing_key_keeps_out_neither_the_lists_of_others_nor_its_own_revocation() {
    let root = Ca::root();
    let (stolen, next) = (Ca::below(&root, 1), Ca::below(&root, 2));
    let chains = [&*stolen.pem, &next.pem].concat();
    let bundle = [chains.clone(), root.list(1), stolen.naming(1, &[66]), next.list(1)];
    let mut gateway = Gateway::new(&[&root], &bundle);
    // The thief signs a list that nothing can follow, and that forgives everybody.
    let poison = stolen.list(u64::MAX);
    let foul = [&*chains, &root.list(1), &poison, &next.list(1)];
    assert_eq!(gateway.is_offered(&foul), Ok(vec![]));
    // What the CA says of others is heard all the same, whole or as changes …
    let older = |found| RevocationsError::Older { found, current: u64::MAX };
    let (whole, changes) = (stolen.naming(2, &[66, 67]), stolen.delta(3, 2, &[68]));
    let fair = [&*chains, &root.list(1), &whole, &next.naming(2, &[70])];
    assert_eq!(gateway.is_offered(&fair), Ok(vec![older(2)]));
    let fair = [&*root.list(1), &changes, &next.delta(3, 2, &[71])];
    assert_eq!(gateway.is_offered(&fair), Ok(vec![older(3)]));
    assert!(gateway.knows_as_revoked(&next, 70) && gateway.knows_as_revoked(&next, 71));
    // … and what the root says of the thief ends it, together with every list it has signed.
    let end = [&*chains, &root.naming(2, &[1]), &changes, &next.list(3)];
    assert_eq!(gateway.is_offered(&end), Ok(vec![]));
    assert!(gateway.knows_as_revoked(&root, 1));
    assert_eq!(gateway.number(&stolen), None);
    // Nothing that it signs later comes back.
    let later = [&*chains, &root.naming(2, &[1]), &poison, &next.list(4)];
    assert_eq!(gateway.is_offered(&later), Ok(vec![]));
    assert_eq!((gateway.number(&stolen), gateway.number(&next)), (None, Some(4)));
}
