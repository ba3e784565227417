//! How a certificate is shown, by every command alike.

use rustls_pki_types::UnixTime;
use serde::Serialize;
use vouchsafe_ca::{CertificateRecord, Planned};
use vouchsafe_certs::{Certificate, Fingerprint, Permission, PermissionSet};

use crate::output::{Sheet, date, relative, rfc3339};

/// A certificate in JSON. Members are added over time, never renamed or removed.
#[derive(Serialize)]
pub(crate) struct CertificateView {
    /// The SPIFFE ID.
    pub(crate) principal: String,
    /// `agent` or `server`.
    pub(crate) usage: String,
    /// What it may do, `kind:pattern`, sorted.
    pub(crate) permissions: Vec<String>,
    /// DNS names of a server.
    pub(crate) dns_names: Vec<String>,
    /// IP addresses of a server.
    pub(crate) ip_addresses: Vec<String>,
    /// The serial number in hexadecimal.
    pub(crate) serial: String,
    /// SHA-256 of the certificate in hexadecimal.
    pub(crate) fingerprint: String,
    /// `p256`, `p384` or `ed25519`.
    pub(crate) key_type: Option<String>,
    /// RFC 3339.
    pub(crate) not_before: String,
    /// RFC 3339; the last second of validity.
    pub(crate) not_after: String,
    /// `valid`, `not-yet-valid`, `expired` or `revoked`. For a certificate from a file that no CA here
    /// knows, by its dates alone.
    pub(crate) status: Status,
    /// Since when and why it is revoked.
    pub(crate) revoked: Option<RevocationView>,
}

/// Since when and why a certificate is revoked.
#[derive(Serialize)]
pub(crate) struct RevocationView {
    /// RFC 3339.
    pub(crate) at: String,
    /// A reason of RFC 5280 §5.3.1.
    pub(crate) reason: String,
}

/// Whether a certificate counts.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    Valid,
    NotYetValid,
    Expired,
    Revoked,
}

impl Status {
    /// By the dates alone.
    fn by_dates(not_before: UnixTime, not_after: UnixTime, now: UnixTime) -> Self {
        if now > not_after {
            Self::Expired
        } else if now < not_before {
            Self::NotYetValid
        } else {
            Self::Valid
        }
    }

    /// Whether the certificate may be used.
    pub(crate) fn is_active(self) -> bool {
        self == Self::Valid
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::NotYetValid => "not yet valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Whether a certificate on record counts. Revoked stays revoked after the end.
pub(crate) fn status(record: &CertificateRecord, now: UnixTime) -> Status {
    let Planned { not_before, not_after, .. } = record.planned;
    match record.revoked {
        Some(_) => Status::Revoked,
        None => Status::by_dates(not_before, not_after, now),
    }
}

impl CertificateView {
    /// Of a certificate on record.
    pub(crate) fn of_record(record: &CertificateRecord, now: UnixTime) -> Self {
        let planned = &record.planned;
        Self {
            principal: planned.principal.to_string(),
            usage: planned.usage.to_string(),
            permissions: texts(&planned.permissions),
            dns_names: planned.dns_names.clone(),
            ip_addresses: planned.ip_addresses.iter().map(ToString::to_string).collect(),
            serial: planned.serial.to_string(),
            fingerprint: Fingerprint::of(&record.certificate).to_string(),
            key_type: planned.public_key.key_type().ok().map(|kind| kind.to_string()),
            not_before: rfc3339(planned.not_before),
            not_after: rfc3339(planned.not_after),
            status: status(record, now),
            revoked: record.revoked.map(|revoked| RevocationView {
                at: rfc3339(revoked.at),
                reason: revoked.reason.to_string(),
            }),
        }
    }

    /// Of a certificate from a file.
    pub(crate) fn of_certificate(certificate: &Certificate, now: UnixTime) -> Self {
        Self {
            principal: certificate.principal.to_string(),
            usage: certificate.usage.to_string(),
            permissions: texts(&certificate.permissions),
            dns_names: certificate.dns_names.clone(),
            ip_addresses: certificate.ip_addresses.iter().map(ToString::to_string).collect(),
            serial: certificate.serial.to_string(),
            fingerprint: certificate.fingerprint.to_string(),
            key_type: certificate.public_key.key_type().ok().map(|kind| kind.to_string()),
            not_before: rfc3339(certificate.not_before),
            not_after: rfc3339(certificate.not_after),
            status: Status::by_dates(certificate.not_before, certificate.not_after, now),
            revoked: None,
        }
    }

    /// What it may do and is called, permissions first.
    pub(crate) fn describe(&self, sheet: &mut Sheet) {
        if self.permissions.is_empty() {
            sheet.line("may", "nothing");
        }
        sheet.lines("may", self.permissions.iter().cloned());
        let hosts = self.dns_names.iter().chain(&self.ip_addresses).cloned();
        sheet.lines("serves as", hosts);
    }
}

/// `until 2026-11-21 12:00:00 UTC (in 23 hours)`.
pub(crate) fn validity(not_before: UnixTime, not_after: UnixTime, now: UnixTime) -> String {
    match Status::by_dates(not_before, not_after, now) {
        Status::NotYetValid => {
            format!("from {} ({})", date(not_before), relative(not_before, now))
        }
        Status::Expired => format!("ended {} ({})", date(not_after), relative(not_after, now)),
        _ => format!("until {} ({})", date(not_after), relative(not_after, now)),
    }
}

fn texts(permissions: &PermissionSet) -> Vec<String> {
    permissions.iter().map(Permission::to_string).collect()
}
