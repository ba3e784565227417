//! A CA whose key everybody knows: what it signs holds a signature that fits, whatever the content.

use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SerialNumber, SigningKey,
};
use time::OffsetDateTime;
use vouchsafe_certs::CaCertificate;

/// PKCS#8 of an Ed25519 key (RFC 8410 §7) up to the key itself, which is 32 times the same octet.
const ED25519: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";

/// DER of the AlgorithmIdentifier and of the head of the BIT STRING that follow what was signed with Ed25519.
const SIGNED: &[u8] = b"\x30\x05\x06\x03\x2b\x65\x70\x03\x41\x00";

/// The CA's key. Ed25519, so that signatures, and with them the seeds, come out the same every time.
pub static KEY: LazyLock<KeyPair> = LazyLock::new(|| key(7));

/// The CA as this project reads it.
pub static CA: LazyLock<CaCertificate> = LazyLock::new(|| {
    let certificate = ca_params().self_signed(&*KEY).expect("a CA certificate can be made");
    CaCertificate::from_der(certificate.der()).expect("our own CA certificate can be read")
});

/// A key that is the same every time.
pub fn key(octet: u8) -> KeyPair {
    let pkcs8 = [ED25519, &[octet; 32]].concat();
    KeyPair::try_from(pkcs8).expect("this is an Ed25519 key")
}

/// The CA as it signs.
pub fn issuer() -> Issuer<'static, &'static KeyPair> {
    Issuer::new(ca_params(), &*KEY)
}

pub fn ca_params() -> CertificateParams {
    let mut params = params(1, "Fuzz CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// With fixed dates: a seed must not depend on the day it was made.
pub fn params(serial: u64, name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = day(0);
    params.not_after = day(1);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Days after 2026-01-01.
pub fn day(nth: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_767_225_600 + 86_400 * nth).expect("a day in this era")
}

pub fn permission_extension(der: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(vouchsafe_certs::PERMISSION_EXTENSION_OID, der)
}

/// A signature of the CA around what the fuzzer made: SEQUENCE { content, algorithm, signature }, as
/// certificates, requests and revocation lists all have it.
pub fn signed(content: &[u8]) -> Vec<u8> {
    let signature = KEY.sign(content).expect("Ed25519 signs everything");
    sequence(&[content, SIGNED, &signature].concat())
}

fn sequence(content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).expect("the fuzzer's inputs are small");
    [b"\x30\x84", len.to_be_bytes().as_slice(), content].concat()
}

/// What was signed, of something that [`signed`] or rcgen has made.
pub fn unsigned(der: &[u8]) -> &[u8] {
    let (content, _) = element(der);
    let (_, first_end) = element(content);
    &content[..first_end]
}

/// Content of the first DER element, and where the element ends.
fn element(der: &[u8]) -> (&[u8], usize) {
    let (start, len) = match der[1] {
        short @ 0..0x80 => (2, usize::from(short)),
        long => {
            let start = 2 + usize::from(long & 0x7f);
            (start, der[2..start].iter().fold(0, |len, octet| len << 8 | usize::from(*octet)))
        }
    };
    (&der[start..start + len], start + len)
}
