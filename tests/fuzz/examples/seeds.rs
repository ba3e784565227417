//! Writes the seeds that nobody can type: `cargo run --example seeds`. Running it again changes nothing.
//! The seeds that are text were written by hand.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
};
use vouchsafe_certs::{Certificate, CertificateRequest, Permission, PermissionSet, RevocationList};
use vouchsafe_fuzz::issuer::{self, day, params, permission_extension};

fn main() {
    certificates();
    permission_extensions();
    requests();
    revocation_lists();
}

#[expect(
    clippy::disallowed_methods,
    reason = "seeds are made by hand and looked at before they are committed"
)]
fn write(target: &str, name: &str, octets: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder).expect("the folder of the seeds");
    fs::write(folder.join(name), octets).expect("a seed");
}

fn permissions(texts: &[&str]) -> Vec<u8> {
    let set: PermissionSet = texts.iter().flat_map(|text| Permission::parse(text)).collect();
    assert_eq!(set.len(), texts.len());
    set.to_der().expect("a small set")
}

fn san(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

fn agent() -> CertificateParams {
    let mut agent = params(0x4101, "build-7");
    agent.subject_alt_names = vec![san("spiffe://acme.example/team-a/build-7")];
    agent.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    agent.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    agent.use_authority_key_identifier_extension = true;
    agent
}

fn server() -> CertificateParams {
    let mut server = agent();
    server.subject_alt_names = vec![
        san("spiffe://acme.example/gw"),
        SanType::DnsName("localhost".try_into().expect("ASCII")),
        SanType::IpAddress([127, 0, 0, 1].into()),
        SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
    ];
    server.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    server
}

/// Each seed twice: whole, and without its signature, which the target then makes itself.
fn write_signed(target: &str, name: &str, der: &[u8]) {
    write(target, &format!("{name}.der"), der);
    write(target, &format!("{name}.content"), issuer::unsigned(der));
}

fn certificates() {
    let with = |extension: Vec<CustomExtension>| {
        let mut params = agent();
        params.custom_extensions = extension;
        params
    };
    let two = permissions(&["tools:search", "resources:file:///docs/*"]);
    let extension = permission_extension(two);
    for (name, params) in [
        ("agent", with(vec![extension.clone()])),
        ("agent-without-permissions", agent()),
        ("agent-with-two-extensions", with(vec![extension.clone(), extension])),
        ("agent-with-junk", with(vec![permission_extension(b"\x04\x00".to_vec())])),
        ("server", server()),
        ("issuing-ca", issuer::ca_params()),
    ] {
        let signed = params.signed_by(&issuer::key(9), &issuer::issuer()).expect("a certificate");
        let is_leaf = Certificate::from_der(signed.der()).is_ok();
        assert_eq!(is_leaf, ["agent", "agent-without-permissions", "server"].contains(&name));
        write_signed("certificate", name, signed.der());
    }
}

fn permission_extensions() {
    let many: Vec<String> = (0..40).map(|nth| format!("tools:t{nth:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (name, texts) in [
        ("none", &[][..]),
        ("everything", &["*:*"]),
        ("two", &["tools:search", "resources:file:///docs/*"]),
        ("not-ascii", &["tools:é", "prompts:\u{65e5}\u{672c}"]),
        ("many", &many),
    ] {
        write("permission_extension", name, &permissions(texts));
    }
    write("permission_extension", "version-1", b"\x30\x05\x02\x01\x01\x30\x00");
    let unsorted = b"\x30\x13\x02\x01\x00\x30\x0e\x0c\x05tools\x0c\x05a:b*c";
    write("permission_extension", "malformed", unsorted);
}

fn requests() {
    let mut everything = CertificateParams::default();
    everything.custom_extensions = vec![permission_extension(permissions(&["*:*"]))];
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut named = CertificateParams::default();
    named.subject_alt_names = vec![san("spiffe://acme.example/admin")];
    for (name, params) in [
        ("plain", CertificateParams::default()),
        ("named", named),
        ("asks-for-authority", authority),
        ("asks-for-permissions", everything),
    ] {
        let request = params.serialize_request(&*issuer::KEY).expect("a request");
        let is_accepted = CertificateRequest::from_der(request.der()).is_ok();
        assert_eq!(is_accepted, !name.starts_with("asks"));
        write_signed("request", name, request.der());
        let pem = request.pem().expect("PEM");
        write("request", &format!("{name}.pem"), pem.as_bytes());
    }
}

fn revocation_lists() {
    let entry = |serial: u64, reason_code| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: day(0),
        reason_code,
        invalidity_date: None,
    };
    let two = vec![entry(0x4101, None), entry(0x4102, Some(RevocationReason::KeyCompromise))];
    for (name, revoked_certs) in [("empty", vec![]), ("two", two)] {
        let list = CertificateRevocationListParams {
            this_update: day(0),
            next_update: day(1),
            crl_number: SerialNumber::from(1000_u64),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&issuer::issuer()).expect("a list");
        assert!(RevocationList::from_der(signed.der(), &issuer::CA).is_ok());
        write_signed("revocation_list", name, signed.der());
    }
}
