//! `vouchsafe inspect`: what a person wants to know of a certificate, permissions first.

use std::fs;
use std::path::Path;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::Serialize;
use vouchsafe_ca::{CertificateRecord, Refusal, Revocation};
use vouchsafe_certs::{Certificate, Serial};

use super::view::{CertificateView, validity};
use crate::context::Context;
use crate::exit::Failure;
use crate::keyfile::CERTIFICATE;
use crate::output::{Sheet, date, relative};

/// Show a certificate: what it permits, whom it names, whether it counts
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Which: a certificate file, an identity directory, or a serial number of this CA
    #[arg(value_name = "FILE|DIR|SERIAL")]
    what: String,
}

/// What `inspect --json` prints.
#[derive(Serialize)]
struct Inspected {
    /// The certificate.
    #[serde(flatten)]
    certificate: CertificateView,
    /// `this-ca`, `another-ca`, or `unknown` if there is no CA here to ask.
    issued_by: Origin,
}

/// Whether the CA of this home has issued a certificate.
#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Origin {
    ThisCa,
    AnotherCa,
    Unknown,
}

/// A certificate and what is known of it here.
struct Subject {
    inspected: Inspected,
    not_before: UnixTime,
    not_after: UnixTime,
    revoked: Option<Revocation>,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let now = context.now()?;
    let path = Path::new(&args.what);
    let subject = if path.is_dir() {
        from_file(&path.join(CERTIFICATE), context, now)?
    } else if path.exists() {
        from_file(path, context, now)?
    } else if let Ok(serial) = args.what.parse::<Serial>() {
        let (_home, ledger) = context.open()?;
        let record = ledger.certificate(&serial)?;
        of_record(&record.ok_or(Refusal::NoSuchCertificate(serial))?, now)
    } else {
        let message = format!("{} is neither a file, a directory nor a serial number", args.what);
        return Err(Failure::new(message).hint("vouchsafe list shows serial numbers"));
    };
    if context.json {
        return context.print_json(&subject.inspected);
    }
    context.print(&subject.to_text(now))
}

fn from_file(path: &Path, context: &Context, now: UnixTime) -> Result<Subject, Failure> {
    let octets = fs::read(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let der = CertificateDer::from_pem_slice(&octets).map_or(octets, |der| der.to_vec());
    let certificate = Certificate::from_der(&der)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    // Without a CA here a file can still be read; what is wrong with a CA that is here is said.
    if !context.home().join("ca.toml").exists() {
        return Ok(of_certificate(&certificate, Origin::Unknown, now));
    }
    let (_home, ledger) = context.open()?;
    let is_same = |record: &CertificateRecord| record.certificate == der;
    Ok(match ledger.certificate(&certificate.serial)?.filter(is_same) {
        Some(record) => of_record(&record, now),
        None => of_certificate(&certificate, Origin::AnotherCa, now),
    })
}

fn of_record(record: &CertificateRecord, now: UnixTime) -> Subject {
    let certificate = CertificateView::of_record(record, now);
    Subject {
        inspected: Inspected { certificate, issued_by: Origin::ThisCa },
        not_before: record.planned.not_before,
        not_after: record.planned.not_after,
        revoked: record.revoked,
    }
}

fn of_certificate(certificate: &Certificate, issued_by: Origin, now: UnixTime) -> Subject {
    let view = CertificateView::of_certificate(certificate, now);
    Subject {
        inspected: Inspected { certificate: view, issued_by },
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        revoked: None,
    }
}

impl Subject {
    fn to_text(&self, now: UnixTime) -> String {
        let Inspected { certificate, issued_by } = &self.inspected;
        let mut sheet = Sheet::default();
        certificate.describe(&mut sheet);
        sheet.line("valid", &validity(self.not_before, self.not_after, now));
        let status = match (self.revoked, issued_by) {
            (Some(Revocation { at, reason, .. }), _) => {
                format!("REVOKED {} ({}), {reason}", date(at), relative(at, now))
            }
            (None, Origin::ThisCa) => "not revoked".to_owned(),
            (None, Origin::AnotherCa) => {
                "the CA here has not issued it, and cannot tell whether it is revoked".to_owned()
            }
            (None, Origin::Unknown) => {
                "there is no CA here to tell whether it is revoked".to_owned()
            }
        };
        sheet.line("status", &status);
        sheet.line("serial", &certificate.serial);
        if let Some(key_type) = &certificate.key_type {
            sheet.line("key", key_type);
        }
        sheet.line("SHA-256", &certificate.fingerprint);
        let Inspected { certificate: CertificateView { principal, usage, .. }, .. } =
            &self.inspected;
        format!("{principal} ({usage})\n{}", sheet.to_text())
    }
}
