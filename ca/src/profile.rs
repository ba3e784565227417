//! What certificates of this CA look like. Every limit is checked here, and only here.

use std::net::IpAddr;
use std::time::Duration;

use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use vouchsafe_certs::{
    Certificate, IssuerId, PermissionError, PermissionSet, Principal, PublicKey, Serial,
    TrustDomain, Usage,
};

use crate::config::Lifetimes;
use crate::invitation::Offer;
use crate::kind::{Kind, names};
use crate::lifetime::Lifetime;
use crate::pointers::{Pointers, PublicUrl};
use crate::text;

/// notBefore lies this far back, for clocks that are behind; never earlier.
pub const BACKDATING: Duration = Duration::from_secs(60);

/// What is asked of the CA.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a caller must say all of it")]
pub struct Order {
    /// For whom.
    pub principal: Principal,
    /// What for.
    pub kind: Kind,
    /// What it may do.
    pub permissions: PermissionSet,
    /// How long it lives; `None`: as the profile has it.
    pub lifetime: Option<Lifetime>,
    /// Whose possession has been proven.
    pub public_key: PublicKey,
}

/// What a certificate will say, field by field; also what the records keep of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Planned {
    /// The serial number.
    #[serde(with = "text::as_text")]
    pub serial: Serial,
    /// The serial number of the issuing CA's certificate.
    #[serde(with = "text::as_text")]
    pub issuer: Serial,
    /// The single URI name.
    #[serde(with = "text::as_text")]
    pub principal: Principal,
    /// What it is for.
    #[serde(with = "text::as_text")]
    pub usage: Usage,
    /// What the principal may do.
    #[serde(with = "text::permissions")]
    pub permissions: PermissionSet,
    /// Names of a server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// Addresses of a server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<IpAddr>,
    /// The first second of validity.
    #[serde(with = "text::instant")]
    pub not_before: UnixTime,
    /// The last second of validity.
    #[serde(with = "text::instant")]
    pub not_after: UnixTime,
    /// The principal's key.
    #[serde(with = "text::public_key")]
    pub public_key: PublicKey,
}

impl Planned {
    /// What it is for, as it was ordered.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.usage {
            Usage::Server => Kind::Server {
                dns_names: self.dns_names.clone(),
                ip_addresses: self.ip_addresses.clone(),
            },
            _ => Kind::Agent,
        }
    }

    /// How long it was ordered to live.
    fn lifetime(&self) -> Option<Lifetime> {
        let issued_at = self.not_before.as_secs().saturating_add(BACKDATING.as_secs());
        Lifetime::from_seconds(self.not_after.as_secs().saturating_sub(issued_at))
    }
}

/// Permission to sign one certificate: only [`CertificateProfile::plan`] makes one, only
/// [`Issuer::sign`](crate::Issuer::sign) spends it.
#[derive(Debug)]
pub struct Plan {
    planned: Planned,
    issuer: IssuerId,
    pointers: Option<Pointers>,
}

impl Plan {
    /// What the certificate will say.
    #[must_use]
    pub fn planned(&self) -> &Planned {
        &self.planned
    }

    /// Where it points to. No authority comes of that, so it is not on record.
    pub(crate) fn pointers(&self) -> Option<&Pointers> {
        self.pointers.as_ref()
    }

    /// Whether a certificate says exactly what was planned.
    pub(crate) fn is_kept_by(&self, certificate: &Certificate) -> bool {
        // Destructured without rest, so that a new field forces a decision here.
        let Planned {
            serial,
            issuer: _,
            principal,
            usage,
            permissions,
            dns_names,
            ip_addresses,
            not_before,
            not_after,
            public_key,
        } = &self.planned;
        certificate.serial == *serial
            && certificate.principal == *principal
            && certificate.usage == *usage
            && certificate.permissions == *permissions
            && certificate.dns_names == *dns_names
            && certificate.ip_addresses == *ip_addresses
            && certificate.not_before == *not_before
            && certificate.not_after == *not_after
            && certificate.public_key == *public_key
            && certificate.issuer == self.issuer
    }
}

/// Why a certificate may not be issued.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The principal belongs to somebody else's CA.
    #[error("{principal} is not of trust domain {trust_domain}, the only one this CA vouches for")]
    ForeignTrustDomain {
        /// Who was asked for.
        principal: Principal,
        /// Whose CA this is.
        trust_domain: TrustDomain,
    },
    /// The lifetime exceeds what the CA allows.
    #[error("a lifetime of {asked} is longer than the {longest} that ca.toml allows")]
    TooLong {
        /// What was asked for.
        asked: Lifetime,
        /// What is allowed.
        longest: Lifetime,
    },
    /// The issuing CA's certificate ends earlier.
    #[error("the certificate would outlive the issuing CA's own certificate")]
    OutlivesIssuer,
    /// The clock shows a time before the issuing CA's certificate.
    #[error("the clock shows a time at which the issuing CA's certificate is not yet valid")]
    BeforeIssuer,
    /// No certificate holds these permissions.
    #[error("{0}")]
    Permissions(#[from] PermissionError),
    /// A server that nobody could verify.
    #[error("a server certificate needs at least one DNS name or IP address")]
    NoServerName,
    /// Too many names.
    #[error("a server certificate holds at most 64 DNS names and IP addresses")]
    TooManyServerNames,
    /// Not a host name.
    #[error("{0} is not a DNS host name; wildcards are not issued")]
    DnsName(String),
    /// An address that no host has.
    #[error("{0} is not the address of a host")]
    IpAddress(IpAddr),
}

impl ProfileError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::ForeignTrustDomain { .. } => {
                Some("give the bare name, such as build-7, or ask the CA of that trust domain")
            }
            Self::TooLong { .. } => Some("ask for less, or raise `longest` in ca.toml"),
            Self::OutlivesIssuer => Some("ask for less; a CA near its end must be replaced"),
            Self::BeforeIssuer => Some("set the clock right"),
            Self::NoServerName => {
                Some("say --dns NAME or --ip ADDRESS, as its clients will dial it")
            }
            Self::TooManyServerNames => Some("issue a certificate for each part of the names"),
            Self::Permissions(_) => {
                Some("a pattern such as tools:db-* takes the place of many permissions")
            }
            Self::DnsName(_) | Self::IpAddress(_) => None,
        }
    }
}

/// What certificates of this CA look like.
#[derive(Clone, Debug)]
pub struct CertificateProfile {
    trust_domain: TrustDomain,
    lifetimes: Lifetimes,
    issuer: IssuerId,
    issuer_serial: Serial,
    issuer_not_before: UnixTime,
    issuer_not_after: UnixTime,
    pointers: Option<Pointers>,
}

impl CertificateProfile {
    /// For one issuing CA.
    #[must_use]
    pub fn new(
        trust_domain: TrustDomain,
        lifetimes: Lifetimes,
        issuer: &vouchsafe_certs::CaCertificate,
    ) -> Self {
        Self {
            trust_domain,
            lifetimes,
            issuer: issuer.id,
            issuer_serial: issuer.serial,
            issuer_not_before: issuer.not_before,
            issuer_not_after: issuer.not_after,
            pointers: None,
        }
    }

    /// With pointers to what is served at `url`.
    #[must_use]
    pub fn pointing_to(self, url: Option<&PublicUrl>) -> Self {
        // A URL that exists can be written.
        let pointers = url.and_then(|url| Pointers::new(url, &self.issuer_serial).ok());
        Self { pointers, ..self }
    }

    /// Checks every limit, and settles every field.
    ///
    /// # Errors
    /// The first limit that is exceeded; see [`ProfileError`].
    pub fn plan(&self, order: Order, serial: Serial, now: UnixTime) -> Result<Plan, ProfileError> {
        let Order { principal, kind, permissions, lifetime, public_key } = order;
        self.judge_grant(&principal, &permissions)?;
        let (usage, dns_names, ip_addresses) = names(kind)?;
        let (not_before, not_after) = self.validity(lifetime, now)?;
        let planned = Planned {
            serial,
            issuer: self.issuer_serial,
            principal,
            usage,
            permissions,
            dns_names,
            ip_addresses,
            not_before,
            not_after,
            public_key,
        };
        Ok(Plan { planned, issuer: self.issuer, pointers: self.pointers.clone() })
    }

    /// Checks every limit of what an invitation promises, as far as that can be known today.
    ///
    /// # Errors
    /// The first limit that is exceeded; see [`ProfileError`].
    pub fn judge(&self, offer: &Offer, now: UnixTime) -> Result<(), ProfileError> {
        self.judge_grant(&offer.principal, &offer.permissions)?;
        names(offer.kind.clone())?;
        self.validity(offer.lifetime, now)?;
        Ok(())
    }

    /// What the successor of a certificate is to say: what the first of its lineage said, no more
    /// than `limit` permits, and no longer than certificates may live by now.
    #[must_use]
    pub fn succession(
        &self,
        first: &Planned,
        limit: Option<&PermissionSet>,
        public_key: PublicKey,
    ) -> Order {
        let lifetime = first.lifetime().map(|lifetime| lifetime.min(self.lifetimes.longest));
        Order {
            principal: first.principal.clone(),
            kind: first.kind(),
            permissions: within(&first.permissions, limit),
            lifetime,
            public_key,
        }
    }

    /// Whether somebody may have these permissions at all.
    pub(crate) fn judge_grant(
        &self,
        principal: &Principal,
        permissions: &PermissionSet,
    ) -> Result<(), ProfileError> {
        if principal.trust_domain() != self.trust_domain {
            let (principal, trust_domain) = (principal.clone(), self.trust_domain.clone());
            return Err(ProfileError::ForeignTrustDomain { principal, trust_domain });
        }
        // Whether the set fits into an extension is known once it has been encoded.
        permissions.to_der()?;
        Ok(())
    }

    fn validity(
        &self,
        lifetime: Option<Lifetime>,
        now: UnixTime,
    ) -> Result<(UnixTime, UnixTime), ProfileError> {
        let asked = lifetime.unwrap_or(self.lifetimes.certificate);
        let longest = self.lifetimes.longest;
        if asked > longest {
            return Err(ProfileError::TooLong { asked, longest });
        }
        let now = Duration::from_secs(now.as_secs());
        let not_before = UnixTime::since_unix_epoch(now.saturating_sub(BACKDATING));
        let not_after = UnixTime::since_unix_epoch(now + asked.as_duration());
        if not_after > self.issuer_not_after {
            return Err(ProfileError::OutlivesIssuer);
        }
        if not_before < self.issuer_not_before {
            // The CA's certificate is backdated alike, so this is a clock that was set back.
            return Err(ProfileError::BeforeIssuer);
        }
        Ok((not_before, not_after))
    }
}

/// What of a set of permissions a device's limit leaves.
pub(crate) fn within(permissions: &PermissionSet, limit: Option<&PermissionSet>) -> PermissionSet {
    limit.map_or_else(|| permissions.clone(), |limit| permissions.intersection(limit))
}

#[cfg(test)]
mod tests {
    use vouchsafe_certs::{KeyType, Permission, PrivateKey};

    use super::*;
    use crate::issuer::tests::issuing_ca;

    fn order(name: &str) -> Order {
        Order {
            principal: TrustDomain::parse("acme.example").unwrap().principal(name).unwrap(),
            kind: Kind::Agent,
            permissions: PermissionSet::default(),
            lifetime: None,
            public_key: PrivateKey::generate(KeyType::P256).unwrap().public_key().unwrap(),
        }
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    const NOW: u64 = 1_800_000_000;

    fn plan(order: Order, now: u64) -> Result<Planned, ProfileError> {
        let issuer = issuing_ca(at(NOW));
        let trust_domain = TrustDomain::parse("acme.example").unwrap();
        let profile =
            CertificateProfile::new(trust_domain, Lifetimes::default(), issuer.certificate());
        let plan = profile.plan(order, Serial::random().unwrap(), at(now))?;
        Ok(plan.planned().clone())
    }

    #[test]
    fn dates_are_backdated_by_a_minute_and_end_with_the_lifetime() {
        let planned = plan(order("a"), NOW).unwrap();
        assert_eq!(planned.not_before, at(NOW - 60));
        assert_eq!(planned.not_after, at(NOW + 86_400));
        let short = Order { lifetime: Some("1s".parse().unwrap()), ..order("a") };
        assert_eq!(plan(short, NOW).unwrap().not_after, at(NOW + 1));
    }

    #[test]
    fn lifetimes_are_limited() {
        let longest = Order { lifetime: Some(Lifetime::days(90)), ..order("a") };
        assert!(plan(longest.clone(), NOW).is_ok());
        let longer = Order { lifetime: Some("2160h".parse().unwrap()), ..order("a") };
        assert!(plan(longer, NOW).is_ok());
        let too_long = Order { lifetime: Some("7776001s".parse().unwrap()), ..order("a") };
        assert!(matches!(plan(too_long, NOW), Err(ProfileError::TooLong { .. })));
        let five_years = 5 * 365 * 86_400;
        assert_eq!(plan(longest, NOW + five_years), Err(ProfileError::OutlivesIssuer));
        assert_eq!(plan(order("a"), NOW - 61), Err(ProfileError::BeforeIssuer));
    }

    #[test]
    fn other_trust_domains_are_refused() {
        let foreign = Principal::parse("spiffe://other.example/a").unwrap();
        let order = Order { principal: foreign, ..order("a") };
        assert!(matches!(plan(order, NOW), Err(ProfileError::ForeignTrustDomain { .. })));
    }

    #[test]
    fn more_permissions_than_fit_are_refused() {
        let many = (0..257).map(|n| Permission::parse(&format!("tools:{n}")).unwrap()).collect();
        let order = Order { permissions: many, ..order("a") };
        assert_eq!(plan(order, NOW), Err(PermissionError::TooMany.into()));
    }

    #[test]
    fn server_names_are_checked_sorted_and_lower_case() {
        let server = |dns: &[&str], ips: &[&str]| {
            let dns_names = dns.iter().map(|&name| name.to_owned()).collect();
            let ip_addresses = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            plan(Order { kind: Kind::Server { dns_names, ip_addresses }, ..order("gw") }, NOW)
        };
        let planned =
            server(&["b.example", "LOCALHOST", "localhost"], &["127.0.0.1", "::1"]).unwrap();
        assert_eq!(planned.dns_names, ["b.example", "localhost"]);
        assert_eq!(planned.ip_addresses.len(), 2);
        assert_eq!(planned.usage, Usage::Server);
        assert_eq!(server(&[], &[]), Err(ProfileError::NoServerName));
        let long = format!("{}.example", "a".repeat(64));
        for wrong in [
            "",
            "*.example",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "é.example",
            "a.example.",
            "10.0.0.1",
            &long,
        ] {
            assert_eq!(server(&[wrong], &[]), Err(ProfileError::DnsName(wrong.into())), "{wrong}");
        }
        for wrong in ["0.0.0.0", "::", "224.0.0.1"] {
            assert!(matches!(server(&[], &[wrong]), Err(ProfileError::IpAddress(_))), "{wrong}");
        }
        let many: Vec<String> = (0..65).map(|n| format!("h{n}.example")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(server(&many, &[]), Err(ProfileError::TooManyServerNames));
    }
}
