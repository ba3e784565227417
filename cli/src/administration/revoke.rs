//! Revoke a certificate or a device, and reinstate a device.

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::{Authority, Outcome, Reason, Refusal, Revocation};
use vouchsafe_certs::{Fingerprint, Principal, Serial};

use super::view::CertificateView;
use super::{Operator, Question, Verb, Work};
use crate::context::principal;
use crate::exit::Failure;
use crate::json::{Moment, as_text, as_text_if_any};
use crate::output::{Sheet, count, date, relative};

/// Certificates that an answer names one by one; the record has them all.
const NAMED: usize = 200;

/// Take back.
pub(crate) const REVOKE: Verb<Revoke, Revoked> = Verb {
    name: "revoke",
    about: "Revoke a certificate, or a device with everything it holds: it gets no new certificates \
            until it is reinstated. When this answers, the list that says so is published. \
            Needs ca:revoke:NAME",
    work: Work::Authority(revoke),
    in_words: Revoked::in_words,
};

/// Let a revoked device have certificates again.
pub(crate) const REINSTATE: Verb<Reinstate, Reinstated> = Verb {
    name: "reinstate",
    about: "Let a revoked device have certificates again; what was revoked stays revoked. \
            Needs ca:reinstate:NAME",
    work: Work::Authority(reinstate),
    in_words: Reinstated::in_words,
};

/// What to revoke, and why.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    /// A device's name or SPIFFE ID, a certificate's serial number, or its SHA-256 fingerprint.
    pub(crate) what: String,
    /// The SHA-256 of the certificate in a file that `what` names, if it names one.
    #[serde(default, with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    pub(crate) file: Option<Fingerprint>,
    /// Why: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn.
    #[serde(default, with = "as_text")]
    #[schemars(with = "String")]
    pub(crate) reason: Reason,
}

/// Which device to reinstate.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reinstate {
    /// Its name or SPIFFE ID.
    pub(crate) device: String,
}

/// What a revocation came to.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Revoked {
    /// The device, if one was revoked.
    #[serde(with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    device: Option<Principal>,
    /// The certificate, if one was revoked alone.
    #[serde(with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    serial: Option<Serial>,
    /// Whose it was.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    principal: Principal,
    /// Whether anything was new; revoking twice is no error.
    changed: bool,
    /// Since when it is revoked.
    since: Moment,
    /// Why it is revoked.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    reason: Reason,
    /// The certificates that this revoked and that would still count; the first 200 of them.
    certificates: Vec<CertificateView>,
    /// How many there are.
    revoked: u64,
    /// The number of the revocation list that says so.
    list: u64,
    /// Where the CA publishes it.
    crl: String,
}

/// What a reinstatement came to.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Reinstated {
    /// The device.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    device: Principal,
    /// Whether it was revoked.
    changed: bool,
    /// The number of the latest revocation list.
    list: u64,
    /// Where the CA publishes it.
    crl: String,
}

/// What is to be revoked.
enum Target {
    Certificate(Serial),
    Device(Principal),
}

fn revoke(authority: &Authority, question: &Question<'_, Revoke>) -> Result<Revoked, Failure> {
    let Question { ask, by, now } = question;
    by.may_to_some(REVOKE.name)?;
    let target = find(&ask.what, ask.file.as_ref(), by, authority)?;
    let principal = whose(&target, authority)?;
    by.may(REVOKE.name, &principal)?;
    let outcome = match &target {
        Target::Certificate(serial) => authority.revoke(&by.actor(), serial, ask.reason)?,
        Target::Device(device) => authority.revoke_device(&by.actor(), device, ask.reason)?,
    };
    let Revocation { at, reason, .. } = on_record(&target, authority)?;
    let Outcome { changed, certificates, list, .. } = outcome;
    let (device, serial) = match target {
        Target::Device(device) => (Some(device), None),
        Target::Certificate(serial) => (None, Some(serial)),
    };
    Ok(Revoked {
        device,
        serial,
        principal,
        changed,
        since: Moment(at),
        reason,
        revoked: u64::try_from(certificates.len()).unwrap_or(u64::MAX),
        certificates: certificates
            .iter()
            .take(NAMED)
            .map(|record| CertificateView::of_record(record, *now))
            .collect(),
        list: list.number,
        crl: by.place(authority.home(), &authority.home().lists_path()),
    })
}

fn reinstate(
    authority: &Authority,
    question: &Question<'_, Reinstate>,
) -> Result<Reinstated, Failure> {
    let Question { ask, by, .. } = question;
    let device = principal(&ask.device, &authority.home().config().trust_domain)?;
    by.may(REINSTATE.name, &device)?;
    let outcome = authority.reinstate(&by.actor(), &device)?;
    Ok(Reinstated {
        device,
        changed: outcome.changed,
        list: outcome.list.number,
        crl: by.place(authority.home(), &authority.home().lists_path()),
    })
}

impl Revoked {
    pub(crate) fn in_words(&self, now: UnixTime) -> String {
        let mut sheet = Sheet::default();
        sheet.lines(
            "certificate",
            self.certificates.iter().map(|view| {
                format!("{}, would have ended {}", view.serial, relative(view.not_after.0, now))
            }),
        );
        let named = u64::try_from(self.certificates.len()).unwrap_or(u64::MAX);
        if self.revoked > named {
            sheet.line("", &format!("and {} more", self.revoked - named));
        }
        sheet.line("list", &format!("number {} in {}", self.list, self.crl));
        format!("{}\n{}", self.headline(), sheet.to_text())
    }

    fn headline(&self) -> String {
        let Self { principal, reason, .. } = self;
        let since = date(self.since.0);
        match (self.serial, self.changed) {
            (None, true) => {
                let what = count(self.revoked, "certificate");
                format!("Revoked {principal} ({reason}): {what}, and it gets no new ones")
            }
            (None, false) => {
                format!("{principal} was revoked already, {since} ({reason}); nothing to do")
            }
            (Some(serial), true) => format!(
                "Revoked certificate {serial} of {principal} ({reason}); other certificates of this device are untouched"
            ),
            (Some(serial), false) => format!(
                "Certificate {serial} of {principal} was revoked already, {since} ({reason}); nothing to do"
            ),
        }
    }
}

impl Reinstated {
    pub(crate) fn in_words(&self, _: UnixTime) -> String {
        let device = &self.device;
        let headline = match self.changed {
            true => format!(
                "Reinstated {device}: it may have certificates again, those it had stay revoked"
            ),
            false => format!("{device} is not revoked; nothing to do"),
        };
        let mut sheet = Sheet::default();
        sheet.line("list", &format!("number {} in {}", self.list, self.crl));
        format!("{headline}\n{}", sheet.to_text())
    }
}

fn whose(target: &Target, authority: &Authority) -> Result<Principal, Failure> {
    match target {
        Target::Device(device) => Ok(device.clone()),
        Target::Certificate(serial) => {
            let record = authority.look_up(|ledger| ledger.certificate(serial))?;
            Ok(record.ok_or(Refusal::NoSuchCertificate(*serial))?.planned.principal)
        }
    }
}

/// Since when and why it is revoked; by now it is.
fn on_record(target: &Target, authority: &Authority) -> Result<Revocation, Failure> {
    let revocation = authority.look_up(|ledger| {
        Ok(match target {
            Target::Device(device) => ledger.device(device)?.and_then(|device| device.revoked),
            Target::Certificate(serial) => {
                ledger.certificate(serial)?.and_then(|record| record.revoked)
            }
        })
    })?;
    revocation.ok_or_else(|| Failure::new("the revocation was taken back in the meantime"))
}

/// Digits of a serial number as this CA draws them.
const SERIAL_DIGITS: usize = 32;

/// Says which of the things somebody may mean it is; never guesses between two. What lies beyond the
/// operator's scope is as if it were not there, so nobody learns of names and numbers that are not theirs.
fn find(
    what: &str,
    file: Option<&Fingerprint>,
    by: &Operator,
    authority: &Authority,
) -> Result<Target, Failure> {
    let trust_domain = &authority.home().config().trust_domain;
    if what.contains("://") {
        let device = principal(what, trust_domain)?;
        by.may(REVOKE.name, &device)?;
        return Ok(Target::Device(device));
    }
    let with_fingerprint = |fingerprint: &Fingerprint| {
        let serial = authority.look_up(|ledger| ledger.serial_of(fingerprint))?;
        serial.map_or(Ok(None), |serial| certificate(serial, by, authority))
    };
    let mut found = Vec::new();
    if let Some(fingerprint) = file {
        let refused =
            || Failure::new(format!("{what} cannot be revoked: this CA has not issued it"));
        found.push(with_fingerprint(fingerprint)?.ok_or_else(refused)?);
    }
    let digits = what.chars().filter(|c| *c != ':').count();
    let serial = what.parse::<Serial>().ok().filter(|_| digits == SERIAL_DIGITS);
    if let Some(serial) = serial {
        match certificate(serial, by, authority)? {
            None if what.contains(':') => return Err(Refusal::NoSuchCertificate(serial).into()),
            target => found.extend(target),
        }
    }
    let fingerprint = what.parse::<Fingerprint>().ok();
    if let Some(fingerprint) = fingerprint {
        match with_fingerprint(&fingerprint)? {
            None if what.contains(':') => {
                return Err(Refusal::NoSuchFingerprint(fingerprint).into());
            }
            target => found.extend(target),
        }
    }
    let is_number = serial.is_some() || fingerprint.is_some() || file.is_some();
    if let Ok(device) = trust_domain.principal(what) {
        match by.may(REVOKE.name, &device) {
            Ok(()) if authority.look_up(|ledger| ledger.knows(&device))? => {
                found.push(Target::Device(device));
            }
            Err(lacks) if !is_number => return Err(lacks),
            Ok(()) | Err(_) => {}
        }
    }
    the_one(found, what)
}

/// The certificate with a serial number, if there is one and the operator may revoke it.
fn certificate(
    serial: Serial,
    by: &Operator,
    authority: &Authority,
) -> Result<Option<Target>, Failure> {
    let record = authority.look_up(|ledger| ledger.certificate(&serial))?;
    let record = record.filter(|record| by.may(REVOKE.name, &record.planned.principal).is_ok());
    Ok(record.map(|_| Target::Certificate(serial)))
}

fn the_one(found: Vec<Target>, what: &str) -> Result<Target, Failure> {
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
