//! `vouchsafe revoke`: take it back, for a certificate or a whole device.

use std::fs;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use vouchsafe_ca::{Actor, Authority, Outcome, Reason, Refusal};
use vouchsafe_certs::{Certificate, Fingerprint, Principal, Serial};

use super::view::CertificateView;
use crate::context::{Context, principal};
use crate::exit::Failure;
use crate::output::{Sheet, count, date, relative};
use crate::passphrase::PassphraseFile;

/// Revoke a certificate, or a device with everything it holds
///
/// A device gets no new certificates until it is reinstated; what was revoked stays revoked.
/// The revocation list is signed anew and published in HOME/crl.pem before this returns.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// What: a device's name or SPIFFE ID, a serial number, a SHA-256 fingerprint, or a certificate file
    #[arg(value_name = "DEVICE|SERIAL|FINGERPRINT|FILE")]
    what: String,

    /// Why: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn
    #[arg(long, default_value_t)]
    reason: Reason,

    /// Let a revoked device have certificates again
    #[arg(long, conflicts_with = "reason")]
    reinstate: bool,

    #[command(flatten)]
    passphrase: PassphraseFile,
}

/// What `revoke --json` prints.
#[derive(Serialize)]
struct Revoked {
    /// The device, if one was revoked or reinstated.
    device: Option<String>,
    /// Whether anything was new; revoking twice is no error.
    changed: bool,
    /// The certificates that this revoked, as `inspect --json` shows them.
    certificates: Vec<CertificateView>,
    /// The number of the revocation list that says so.
    list: u64,
    /// Where it is published.
    crl: String,
}

/// What is to be revoked.
enum Target {
    Certificate(Serial),
    Device(Principal),
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let authority = context.open_authority(&args.passphrase)?;
    let target = find(&args.what, &authority)?;
    let outcome = match (&target, args.reinstate) {
        (Target::Certificate(serial), false) => {
            authority.revoke(&Actor::Home, serial, args.reason)?
        }
        (Target::Device(device), false) => {
            authority.revoke_device(&Actor::Home, device, args.reason)?
        }
        (Target::Device(device), true) => authority.reinstate(&Actor::Home, device)?,
        (Target::Certificate(_), true) => {
            let message = "a certificate stays revoked; only a device can be reinstated";
            return Err(Failure::usage(message).hint("issue a new certificate"));
        }
    };
    let crl = authority.home().lists_path().display().to_string();
    let now = context.now()?;
    if context.json {
        let views =
            outcome.certificates.iter().map(|record| CertificateView::of_record(record, now));
        return context.print_json(&Revoked {
            device: match &target {
                Target::Device(device) => Some(device.to_string()),
                Target::Certificate(_) => None,
            },
            changed: outcome.changed,
            certificates: views.collect(),
            list: outcome.list.number,
            crl,
        });
    }
    let headline = match &target {
        Target::Device(device) if args.reinstate => reinstated(device, outcome.changed),
        Target::Device(device) => device_revoked(device, &outcome, &authority)?,
        Target::Certificate(serial) => certificate_revoked(serial, &outcome, &authority)?,
    };
    let mut sheet = Sheet::default();
    sheet.lines(
        "certificate",
        outcome.certificates.iter().map(|record| {
            let planned = &record.planned;
            format!("{}, would have ended {}", planned.serial, relative(planned.not_after, now))
        }),
    );
    sheet.line("list", &format!("number {} in {crl}", outcome.list.number));
    context.print(&format!("{headline}\n{}", sheet.to_text()))
}

fn reinstated(device: &Principal, changed: bool) -> String {
    if changed {
        format!("Reinstated {device}: it may have certificates again, those it had stay revoked")
    } else {
        format!("{device} is not revoked; nothing to do")
    }
}

fn device_revoked(
    device: &Principal,
    outcome: &Outcome,
    authority: &Authority,
) -> Result<String, Failure> {
    let revoked =
        authority.look_up(|ledger| ledger.device(device))?.and_then(|device| device.revoked);
    let (reason, since) =
        revoked.map_or_else(Default::default, |revoked| (revoked.reason, date(revoked.at)));
    if !outcome.changed {
        return Ok(format!("{device} was revoked already, {since} ({reason}); nothing to do"));
    }
    let number = u64::try_from(outcome.certificates.len()).unwrap_or(u64::MAX);
    let what = count(number, "certificate");
    Ok(format!("Revoked {device} ({reason}): {what}, and it gets no new ones"))
}

fn certificate_revoked(
    serial: &Serial,
    outcome: &Outcome,
    authority: &Authority,
) -> Result<String, Failure> {
    let record = authority.look_up(|ledger| ledger.certificate(serial))?;
    let record = record.ok_or(Refusal::NoSuchCertificate(*serial))?;
    let principal = record.planned.principal;
    let (reason, since) =
        record.revoked.map_or_else(Default::default, |revoked| (revoked.reason, date(revoked.at)));
    if !outcome.changed {
        return Ok(format!(
            "Certificate {serial} of {principal} was revoked already, {since} ({reason}); nothing to do"
        ));
    }
    Ok(format!(
        "Revoked certificate {serial} of {principal} ({reason}); other certificates of this device are untouched"
    ))
}

/// Digits of a serial number as this CA draws them.
const SERIAL_DIGITS: usize = 32;

/// Says which of the things somebody may mean it is; never guesses between two.
fn find(what: &str, authority: &Authority) -> Result<Target, Failure> {
    let trust_domain = &authority.home().config().trust_domain;
    if what.contains("://") {
        return Ok(Target::Device(principal(what, trust_domain)?));
    }
    let mut found = Vec::new();
    let path = Path::new(what);
    if path.is_file() {
        found.push(Target::Certificate(serial_of_file(path, authority)?));
    }
    let digits = what.chars().filter(|c| *c != ':').count();
    if let (SERIAL_DIGITS, Ok(serial)) = (digits, what.parse::<Serial>()) {
        if authority.look_up(|ledger| ledger.certificate(&serial))?.is_some() {
            found.push(Target::Certificate(serial));
        } else if what.contains(':') {
            return Err(Refusal::NoSuchCertificate(serial).into());
        }
    }
    if let Ok(fingerprint) = what.parse::<Fingerprint>() {
        match authority.look_up(|ledger| ledger.serial_of(&fingerprint))? {
            Some(serial) => found.push(Target::Certificate(serial)),
            None if what.contains(':') => {
                return Err(Refusal::NoSuchFingerprint(fingerprint).into());
            }
            None => {}
        }
    }
    if let Ok(device) = trust_domain.principal(what)
        && !authority.look_up(|ledger| ledger.certificates_of(&device))?.is_empty()
    {
        found.push(Target::Device(device));
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(target), None) => Ok(target),
        (Some(_), Some(_)) => Err(Failure::usage(format!("{what} can mean more than one thing"))
            .hint("write a device as spiffe://…, a file with its directory")),
        (None, _) => Err(Failure::new(format!(
            "{what} is neither a device, a certificate's serial number or fingerprint, nor a file"
        ))
        .hint("vouchsafe list shows what there is")),
    }
}

/// The serial number of a certificate in a file, which this CA must have issued.
fn serial_of_file(path: &Path, authority: &Authority) -> Result<Serial, Failure> {
    let octets = fs::read(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let der = CertificateDer::from_pem_slice(&octets).map_or(octets, |der| der.to_vec());
    let refused = |why: &dyn std::fmt::Display| {
        Failure::new(format!("{} cannot be revoked: {why}", path.display()))
    };
    let certificate = Certificate::from_der(&der).map_err(|error| refused(&error))?;
    let ours = authority.look_up(|ledger| ledger.serial_of(&certificate.fingerprint))?;
    ours.ok_or_else(|| refused(&"this CA has not issued it"))
}
