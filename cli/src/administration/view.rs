//! How a certificate is shown, by every command and tool alike.

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::{CertificateRecord, Planned, Reason};
use vouchsafe_certs::{
    Certificate, Fingerprint, KeyType, Permission, PermissionSet, Principal, Serial, Usage,
};

use crate::json::{Moment, as_text, as_text_if_any, as_texts};
use crate::output::{Sheet, date, relative};

/// A certificate in JSON. Members are added over time, never renamed or removed.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug)]
pub(crate) struct CertificateView {
    /// The SPIFFE ID.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    pub(crate) principal: Principal,
    /// `agent` or `server`.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    pub(crate) usage: Usage,
    /// What it may do, `kind:pattern`, sorted.
    #[serde(with = "as_texts")]
    #[schemars(with = "Vec<String>")]
    pub(crate) permissions: Vec<Permission>,
    /// DNS names of a server.
    pub(crate) dns_names: Vec<String>,
    /// IP addresses of a server.
    pub(crate) ip_addresses: Vec<std::net::IpAddr>,
    /// The serial number in hexadecimal.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    pub(crate) serial: Serial,
    /// SHA-256 of the certificate in hexadecimal.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    pub(crate) fingerprint: Fingerprint,
    /// `p256`, `p384` or `ed25519`.
    #[serde(with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    pub(crate) key_type: Option<KeyType>,
    /// The first second of validity.
    pub(crate) not_before: Moment,
    /// The last second of validity.
    pub(crate) not_after: Moment,
    /// Whether it counts. For a certificate from a file that no CA here knows, by its dates alone.
    pub(crate) status: Status,
    /// Since when and why it is revoked.
    pub(crate) revoked: Option<RevocationView>,
}

/// Since when and why a certificate is revoked.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug)]
pub(crate) struct RevocationView {
    /// Since when.
    pub(crate) at: Moment,
    /// A reason of RFC 5280 §5.3.1.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    pub(crate) reason: Reason,
}

/// Whether a certificate counts.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// It may be used.
    Valid,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// It was taken back.
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
    if record.revoked.is_some() {
        return Status::Revoked;
    }
    Status::by_dates(not_before, not_after, now)
}

impl CertificateView {
    /// Of a certificate on record.
    pub(crate) fn of_record(record: &CertificateRecord, now: UnixTime) -> Self {
        let planned = &record.planned;
        Self {
            principal: planned.principal.clone(),
            usage: planned.usage,
            permissions: listed(&planned.permissions),
            dns_names: planned.dns_names.clone(),
            ip_addresses: planned.ip_addresses.clone(),
            serial: planned.serial,
            fingerprint: Fingerprint::of(&record.certificate),
            key_type: planned.public_key.key_type().ok(),
            not_before: Moment(planned.not_before),
            not_after: Moment(planned.not_after),
            status: status(record, now),
            revoked: record
                .revoked
                .map(|revoked| RevocationView { at: Moment(revoked.at), reason: revoked.reason }),
        }
    }

    /// Of a certificate from a file.
    pub(crate) fn of_certificate(certificate: &Certificate, now: UnixTime) -> Self {
        Self {
            principal: certificate.principal.clone(),
            usage: certificate.usage,
            permissions: listed(&certificate.permissions),
            dns_names: certificate.dns_names.clone(),
            ip_addresses: certificate.ip_addresses.clone(),
            serial: certificate.serial,
            fingerprint: certificate.fingerprint,
            key_type: certificate.public_key.key_type().ok(),
            not_before: Moment(certificate.not_before),
            not_after: Moment(certificate.not_after),
            status: Status::by_dates(certificate.not_before, certificate.not_after, now),
            revoked: None,
        }
    }

    /// What it may do and is called, permissions first.
    pub(crate) fn describe(&self, sheet: &mut Sheet) {
        if self.permissions.is_empty() {
            sheet.line("may", "nothing");
        }
        sheet.lines("may", self.permissions.iter().map(ToString::to_string));
        let addresses = self.ip_addresses.iter().map(ToString::to_string);
        sheet.lines("serves as", self.dns_names.iter().cloned().chain(addresses));
    }

    /// `until 2026-11-21 12:00:00 UTC (in 23 hours)`.
    pub(crate) fn validity(&self, now: UnixTime) -> String {
        let (Moment(not_before), Moment(not_after)) = (self.not_before, self.not_after);
        match Status::by_dates(not_before, not_after, now) {
            Status::NotYetValid => {
                format!("from {} ({})", date(not_before), relative(not_before, now))
            }
            Status::Expired => format!("ended {} ({})", date(not_after), relative(not_after, now)),
            _ => format!("until {} ({})", date(not_after), relative(not_after, now)),
        }
    }
}

fn listed(permissions: &PermissionSet) -> Vec<Permission> {
    permissions.iter().cloned().collect()
}
