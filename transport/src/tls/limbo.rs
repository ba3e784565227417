//! The cases of x509-limbo (C2SP) before our verifiers. What they are and where they come from:
//! `tests/limbo/README.md`.
//!
//! No certificate of theirs is one of ours: none names a principal. So that every case is refused says
//! little, and each is judged in parts: the path by the stock verifiers as they are set here, each
//! certificate by our own readers, lists by our own. What is wrong must be refused by one of these, and
//! not for what all cases have in common; where it is not, the case stands in a table with the reason.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use rustls::client::WebPkiServerVerifier;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use vouchsafe_certs::{Certificate, CertificateError, RevocationList, Serial};
use webpki::EndEntityCert;

use super::{
    CaCertificate, CertificateDer, ClientCertVerifier, ClientVerifier, Error, Role, RootCertStore,
    ServerCertVerifier, ServerName, ServerVerifier, TimeProvider, Trust, UnixTime,
    WebPkiClientVerifier, client_verifier, provider, watch,
};

/// The day of the corpus, for cases that name none.
const TODAY: &str = "2026-05-22T00:00:00Z";

/// A rule of ours that the first refusal hides: readers stop at the first rule that is broken.
const HIDDEN: &str = "refused by a rule of ours that comes after the common ones";
/// RFC 5280 §6.1.1 (d): a trust anchor is a name and a key. Operators choose their roots themselves.
const ROOT: &str = "a root counts for its name and its key";
const MARK: &str = "an extension that is known is obeyed, whether it is marked critical or not";
const COMMON_NAME: &str = "a common name names nobody here, whatever it says";
const OF_ISSUERS: &str = "a rule for what CAs issue, and the path means the same without it";
const POLICIES: &str = "certificate policies are not asked for";

/// What must be refused and is refused for nothing but what all cases have in common, and why that is right.
const REFUSED_WITH_ALL: [(&str, &str); 40] = [
    ("crl::crlnumber-critical", MARK),
    ("rfc5280::aki::critical-aki", MARK),
    ("rfc5280::aki::leaf-missing-aki", HIDDEN),
    ("rfc5280::aki::intermediate-missing-aki", HIDDEN),
    ("rfc5280::aki::cross-signed-root-missing-aki", HIDDEN),
    ("rfc5280::nc::permitted-dns-match-noncritical", MARK),
    ("rfc5280::nc::invalid-dnsname-leading-period", OF_ISSUERS),
    ("rfc5280::nc::not-allowed-in-ee-noncritical", OF_ISSUERS),
    ("rfc5280::nc::not-allowed-in-ee-critical", OF_ISSUERS),
    ("rfc5280::pc::ica-noncritical-pc", POLICIES),
    ("rfc5280::san::noncritical-with-empty-subject", MARK),
    ("rfc5280::san::underscore-dns", OF_ISSUERS),
    ("rfc5280::ski::critical-ski", MARK),
    ("rfc5280::ski::intermediate-missing-ski", HIDDEN),
    // A peer is trusted until the first certificate of its chain expires, the root included.
    ("rfc5280::validity::expired-root", HIDDEN),
    ("rfc5280::unknown-critical-extension-root", ROOT),
    ("rfc5280::root-non-critical-basic-constraints", MARK),
    ("rfc5280::root-inconsistent-ca-extensions", HIDDEN),
    ("rfc5280::leaf-ku-keycertsign", HIDDEN),
    ("webpki::aki::root-with-aki-missing-keyidentifier", ROOT),
    ("webpki::aki::root-with-aki-authoritycertissuer", ROOT),
    ("webpki::aki::root-with-aki-authoritycertserialnumber", ROOT),
    ("webpki::aki::root-with-aki-all-fields", ROOT),
    ("webpki::aki::root-with-aki-ski-mismatch", ROOT),
    ("webpki::cn::ipv4-hex-mismatch", COMMON_NAME),
    ("webpki::cn::ipv4-leading-zeros-mismatch", COMMON_NAME),
    ("webpki::cn::ipv6-uppercase-mismatch", COMMON_NAME),
    ("webpki::cn::ipv6-uncompressed-mismatch", COMMON_NAME),
    ("webpki::cn::ipv6-non-rfc5952-mismatch", COMMON_NAME),
    ("webpki::cn::punycode-not-in-san", COMMON_NAME),
    ("webpki::cn::utf8-vs-punycode-mismatch", COMMON_NAME),
    ("webpki::cn::not-in-san", COMMON_NAME),
    ("webpki::cn::case-mismatch", COMMON_NAME),
    ("webpki::eku::ee-anyeku", HIDDEN),
    ("webpki::eku::ee-critical-eku", MARK),
    ("webpki::eku::ee-without-eku", HIDDEN),
    ("webpki::eku::root-has-eku", ROOT),
    ("webpki::nc::intermediate-permitted-excluded-subtrees-both-null", OF_ISSUERS),
    ("webpki::nc::intermediate-permitted-excluded-subtrees-both-empty-sequences", OF_ISSUERS),
    ("webpki::san::san-critical-with-nonempty-subject", MARK),
];

const NAMES: &str =
    "webpki knows no constraints of this kind of name, and refuses what it does not know";
const SELF_ISSUED: &str = "of CAs with one name webpki tries only so many keys";
const AS_LEAF: &str = "a CA is nobody's identity";
const IDENTIFIERS: &str = "a CA's key identifier is needed to find its list";
const KEYS: &str = "RSA keys are not taken";
const LISTS: &str = "a CA that does not say that it signs lists signs none";

/// What must be accepted and is refused, common grounds apart, and why that is right.
const STRICTER: [(&str, &str); 13] = [
    ("crl::issuer-no-keyusage-extension", LISTS),
    ("cve::cve-2024-0567", IDENTIFIERS),
    ("pathlen::validation-ignores-pathlen-in-leaf", AS_LEAF),
    ("pathlen::self-issued-certs-pathlen", SELF_ISSUED),
    ("rfc5280::nc::permitted-dn-match", NAMES),
    ("rfc5280::nc::permitted-self-issued", SELF_ISSUED),
    ("rfc5280::nc::nc-permits-email-exact", NAMES),
    ("rfc5280::nc::nc-permits-email-domain", NAMES),
    ("rfc5280::nc::nc-permits-email-literal-asterisk-exact-match", NAMES),
    ("rfc5280::nc::nc-permits-email-literal-double-asterisk", NAMES),
    ("rfc5280::nc::nc-permits-email-literal-mid-asterisk", NAMES),
    ("rfc5280::ca-as-leaf", AS_LEAF),
    ("webpki::cryptographydotio-chain", KEYS),
];

#[derive(Deserialize)]
struct Corpus {
    testcases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    #[serde(default)]
    features: Vec<String>,
    validation_kind: String,
    trusted_certs: Vec<String>,
    #[serde(default)]
    untrusted_intermediates: Vec<String>,
    peer_certificate: String,
    validation_time: Option<String>,
    expected_result: String,
    expected_peer_name: Option<Name>,
    #[serde(default)]
    crls: Vec<String>,
}

#[derive(Deserialize)]
struct Name {
    value: String,
}

/// A certificate or list: PEM, or the base64 in it.
fn der(text: &str) -> Vec<u8> {
    let lines = text.lines().filter(|line| !line.starts_with("-----"));
    Base64::decode_vec(&lines.collect::<String>()).unwrap()
}

fn certificates(texts: &[String]) -> Vec<CertificateDer<'static>> {
    texts.iter().map(|text| der(text).into()).collect()
}

#[derive(Debug)]
struct Clock(UnixTime);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// Who refuses a case, and why.
struct Verdict {
    path: Option<Error>,
    /// What our readers say of each certificate, a missing principal apart.
    certificate: Option<CertificateError>,
    /// What the whole says: path, profile, trust.
    whole: Result<(), String>,
    /// A list that is none, or that names the certificate.
    list: Option<String>,
}

impl Verdict {
    fn is_refused(&self) -> bool {
        self.path.is_some() || self.certificate.is_some() || self.list.is_some()
    }
}

impl Case {
    fn must_pass(&self) -> bool {
        self.expected_result == "SUCCESS"
    }

    fn is_client(&self) -> bool {
        self.validation_kind == "CLIENT"
    }

    /// To the second, as certificates have it: a part of a second belongs to the one that has begun.
    fn now(&self) -> UnixTime {
        let text = self.validation_time.as_deref().unwrap_or(TODAY);
        let now = OffsetDateTime::parse(text, &Rfc3339).unwrap().unix_timestamp();
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap()))
    }

    fn judge(&self) -> Verdict {
        let leaf = CertificateDer::from(der(&self.peer_certificate));
        let (roots, between) =
            (certificates(&self.trusted_certs), certificates(&self.untrusted_intermediates));
        Verdict {
            path: self.path(&leaf, &between, &roots).err(),
            certificate: read(&leaf, &between, &roots).err(),
            whole: self.whole(&leaf, &between, &roots),
            list: self.list(&leaf, &between, &roots).err(),
        }
    }

    /// The stock verifiers alone.
    fn path(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        roots: &[CertificateDer<'static>],
    ) -> Result<(), Error> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone())?;
        }
        let store = Arc::new(store);
        if self.is_client() {
            let verifier = WebPkiClientVerifier::builder_with_provider(store, provider());
            let verifier = verifier.build().unwrap();
            return verifier.verify_client_cert(leaf, between, self.now()).map(drop);
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(store, provider());
        let verifier = verifier.build().unwrap();
        verifier.verify_server_cert(leaf, between, &self.name()?, &[], self.now()).map(drop)
    }

    fn name(&self) -> Result<ServerName<'static>, Error> {
        let name = self.expected_peer_name.as_ref().map_or("example.com", |name| &name.value);
        let unfit = |_| Error::InvalidCertificate(rustls::CertificateError::NotValidForName);
        ServerName::try_from(name.to_owned()).map_err(unfit)
    }

    /// What a connection meets.
    fn whole(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        roots: &[CertificateDer<'static>],
    ) -> Result<(), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let roots = roots.iter().map(|root| CaCertificate::from_der(root));
        let roots = roots.collect::<Result<Vec<_>, _>>().map_err(|error| said(&error))?;
        let (_sender, published) = watch::channel(Arc::from(roots));
        let trust = Trust::unchecked(published, Arc::new(Clock(self.now())));
        if self.is_client() {
            let stock = client_verifier(trust.roots()).map_err(|error| said(&error))?;
            let verifier = ClientVerifier { stock, trust, role: Role::Client };
            let verified = verifier.verify_client_cert(leaf, between, self.now());
            return verified.map(drop).map_err(|error| said(&error));
        }
        let verifier = ServerVerifier::of(&trust).map_err(|error| said(&error))?;
        let name = self.name().map_err(|error| said(&error))?;
        let verified = verifier.verify_server_cert(leaf, between, &name, &[], self.now());
        verified.map(drop).map_err(|error| said(&error))
    }

    /// Our own lists, where they are of the CA that issued the leaf.
    fn list(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        roots: &[CertificateDer<'static>],
    ) -> Result<(), String> {
        for list in &self.crls {
            let authorities = roots.iter().map(|root| CaCertificate::from_der(root));
            let authorities: Vec<_> = authorities.filter_map(Result::ok).collect();
            let list = RevocationList::by_one_of(&authorities, &der(list));
            let list = list.map_err(|error| error.to_string())?;
            let mut speaking = authorities.iter().filter(|issuer| issuer.id == list.issuer);
            let is_own = speaking
                .any(|issuer| self.path(leaf, between, std::slice::from_ref(&issuer.der)).is_ok());
            let serial = EndEntityCert::try_from(leaf).unwrap().serial().to_vec();
            if is_own && list.revokes(&Serial::from_der_content(&serial).unwrap()) {
                return Err("revoked".to_owned());
            }
        }
        Ok(())
    }
}

/// What our readers say of each certificate, as far as it is about the certificate. That leaves name no
/// principal, have no purpose of ours, and that CAs may not sign lists is what these all have in common.
fn read(
    leaf: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
) -> Result<(), CertificateError> {
    use CertificateError::{ExtendedKeyUsage, KeyUsage, Principal, UriName};
    let authorities = between.iter().chain(roots).map(|der| CaCertificate::from_der(der).map(drop));
    let mut all = authorities.chain([Certificate::from_der(leaf).map(drop)]);
    let is_common = |error: &CertificateError| {
        matches!(error, ExtendedKeyUsage | KeyUsage | Principal(_) | UriName)
    };
    match all.find_map(|read| read.err().filter(|error| !is_common(error))) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// The cases, and whether they are the whole corpus.
fn corpus() -> (Vec<Case>, bool) {
    let whole = std::env::var_os("VOUCHSAFE_LIMBO").map(PathBuf::from);
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/limbo/cases.json");
    let is_whole = whole.is_some();
    let text = std::fs::read(whole.unwrap_or_else(own)).unwrap();
    let corpus: Corpus = serde_json::from_slice(&text).unwrap();
    (corpus.testcases, is_whole)
}

#[test]
fn what_must_be_refused_is_refused_and_what_is_refused_beyond_that_has_a_reason() {
    let (mut with_all, mut stricter, mut counts) = (Vec::new(), Vec::new(), BTreeMap::new());
    let (cases, is_whole) = corpus();
    // How long a path may be is not ours to set, so those cases are not ours to judge.
    for case in cases.iter().filter(|case| !case.features.iter().any(|it| it == "max-chain-depth"))
    {
        let verdict = case.judge();
        assert!(verdict.whole.is_err(), "{}: no certificate of ours, and accepted", case.id);
        *counts.entry((case.must_pass(), verdict.is_refused())).or_insert(0) += 1;
        match (case.must_pass(), verdict.is_refused()) {
            (false, false) => with_all.push(&*case.id),
            (true, true) => stricter.push(&*case.id),
            _ => {}
        }
    }
    println!("(must pass, is refused): {counts:?}");
    assert_eq!(with_all, REFUSED_WITH_ALL.map(|(id, _)| id));
    if !is_whole {
        assert_eq!(stricter, STRICTER.map(|(id, _)| id));
        assert_eq!(counts[&(false, true)], 94);
        assert_eq!(counts[&(true, false)], 33);
    }
}
