//! Look up one certificate.

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::{Home, Ledger};
use vouchsafe_certs::{Fingerprint, Serial};

use super::view::CertificateView;
use super::{Question, Verb, Work};
use crate::exit::Failure;
use crate::json::as_text_if_any;
use crate::output::{Sheet, date, relative};

/// Look up one certificate.
pub(crate) const INSPECT: Verb<Inspect, Found> = Verb {
    name: "inspect",
    about: "Show one certificate: what it permits, whom it names, whether it counts. \
            Needs ca:inspect:NAME",
    work: Work::Ledger(inspect),
    in_words: Found::in_words,
};

/// Which certificate: by serial number or by fingerprint.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inspect {
    /// Its serial number, hexadecimal.
    #[serde(default, with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    pub(crate) serial: Option<Serial>,
    /// Its SHA-256, hexadecimal.
    #[serde(default, with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// What the CA has on record.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Found {
    /// The certificate; null if the CA knows none like that, or none that the caller may see.
    pub(crate) certificate: Option<CertificateView>,
    /// Whether the caller may see every certificate.
    pub(crate) sees_all: bool,
}

impl Found {
    fn in_words(&self, now: UnixTime) -> String {
        match &self.certificate {
            None if self.sees_all => "This CA knows no such certificate.\n".to_owned(),
            None => "There is no such certificate among those that you may inspect.\n".to_owned(),
            Some(certificate) => {
                let certificate = certificate.clone();
                Inspected { certificate, issued_by: Origin::ThisCa }.in_words(now)
            }
        }
    }
}

/// A certificate and what is known of it: what `inspect --json` prints.
#[derive(Serialize, Debug)]
pub(crate) struct Inspected {
    /// The certificate.
    #[serde(flatten)]
    pub(crate) certificate: CertificateView,
    /// `this-ca`, `another-ca`, `not-shown` if whoever asks may not see every certificate, or `unknown`
    /// if there is no CA to ask.
    pub(crate) issued_by: Origin,
}

/// Whether the CA that was asked has issued a certificate.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    /// It has.
    ThisCa,
    /// It has not.
    AnotherCa,
    /// It has not, or to somebody whom the caller's permissions do not reach.
    NotShown,
    /// Nobody was there to ask.
    Unknown,
}

fn inspect(_: &Home, ledger: &Ledger, question: &Question<'_, Inspect>) -> Result<Found, Failure> {
    let Question { ask, by, now } = question;
    by.may_to_some(INSPECT.name)?;
    let serial = match (ask.serial, ask.fingerprint) {
        (Some(serial), None) => Some(serial),
        (None, Some(fingerprint)) => ledger.serial_of(&fingerprint)?,
        _ => return Err(Failure::usage("say either a serial number or a fingerprint")),
    };
    let record = serial.map(|serial| ledger.certificate(&serial)).transpose()?.flatten();
    let record = record.filter(|record| by.may(INSPECT.name, &record.planned.principal).is_ok());
    let certificate = record.map(|record| CertificateView::of_record(&record, *now));
    Ok(Found { certificate, sees_all: by.may_to_all(INSPECT.name).is_ok() })
}

impl Inspected {
    /// What a person wants to know of it, permissions first.
    pub(crate) fn in_words(&self, now: UnixTime) -> String {
        let Self { certificate, issued_by } = self;
        let mut sheet = Sheet::default();
        certificate.describe(&mut sheet);
        sheet.line("valid", &certificate.validity(now));
        let status = match (certificate.revoked, issued_by) {
            (Some(revoked), _) => {
                let at = revoked.at.0;
                format!("REVOKED {} ({}), {}", date(at), relative(at, now), revoked.reason)
            }
            (None, Origin::ThisCa) => "not revoked".to_owned(),
            (None, Origin::AnotherCa) => {
                "the CA here has not issued it, and cannot tell whether it is revoked".to_owned()
            }
            (None, Origin::NotShown) => {
                "the CA shows you none like it, so it is not known whether it is revoked".to_owned()
            }
            (None, Origin::Unknown) => {
                "there is no CA here to tell whether it is revoked".to_owned()
            }
        };
        sheet.line("status", &status);
        sheet.line("serial", &certificate.serial.to_string());
        if let Some(key_type) = &certificate.key_type {
            sheet.line("key", &key_type.to_string());
        }
        sheet.line("SHA-256", &certificate.fingerprint.to_string());
        let CertificateView { principal, usage, .. } = certificate;
        format!("{principal} ({usage})\n{}", sheet.to_text())
    }
}
