//! Who: a SPIFFE ID, `spiffe://<trust-domain>/<name>`.

use std::fmt;
use std::str::FromStr;

use crate::PrincipalError;

const SCHEME: &str = "spiffe://";

/// SPIFFE-ID §2.3: implementations MUST support IDs up to 2048 octets and SHOULD NOT make longer ones.
const MAX_LEN: usize = 2048;

/// SPIFFE-ID §2.3: the trust domain is at most 255 octets.
const MAX_TRUST_DOMAIN_LEN: usize = 255;

/// The part of the world that one CA vouches for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// Reads a trust domain name, such as `acme.example`.
    ///
    /// # Errors
    /// [`PrincipalError::TrustDomain`] where SPIFFE-ID §2.1 is broken.
    pub fn parse(text: &str) -> Result<Self, PrincipalError> {
        let fits = (1..=MAX_TRUST_DOMAIN_LEN).contains(&text.len());
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        if fits && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(PrincipalError::TrustDomain)
        }
    }

    /// The bare name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The principal of this trust domain with the given name.
    ///
    /// # Errors
    /// Whatever is wrong with the name.
    pub fn principal(&self, name: &str) -> Result<Principal, PrincipalError> {
        Principal::parse(&format!("{SCHEME}{self}/{name}"))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TrustDomain {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        Self::parse(text)
    }
}

/// A machine agent or a gateway, named by a SPIFFE ID. One that exists is valid.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal {
    id: Box<str>,
    /// Where the trust domain ends and the `/` of the path stands.
    path: usize,
}

impl Principal {
    /// Reads `spiffe://<trust-domain>/<name>`.
    ///
    /// # Errors
    /// The first rule of SPIFFE-ID §2 that is broken.
    pub fn parse(id: &str) -> Result<Self, PrincipalError> {
        if id.len() > MAX_LEN {
            return Err(PrincipalError::TooLong);
        }
        let rest = id.strip_prefix(SCHEME).ok_or(PrincipalError::Scheme)?;
        let (trust_domain, name) = rest.split_once('/').ok_or(PrincipalError::EmptyName)?;
        TrustDomain::parse(trust_domain)?;
        if name.is_empty() {
            return Err(PrincipalError::EmptyName);
        }
        if !name.split('/').all(is_segment) {
            return Err(PrincipalError::Segment);
        }
        let path = SCHEME.len() + trust_domain.len();
        Ok(Self { id: id.into(), path })
    }

    /// The whole SPIFFE ID.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.id
    }

    /// The name within the trust domain, such as `team-a/build-7`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.id.get(self.path + 1..).unwrap_or_default()
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.id.get(SCHEME.len()..self.path).unwrap_or_default().into())
    }
}

/// SPIFFE-ID §2.2: path segments are not empty, not `.` or `..`, and made of few characters.
fn is_segment(segment: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
}

impl FromStr for Principal {
    type Err = PrincipalError;

    fn from_str(id: &str) -> Result<Self, PrincipalError> {
        Self::parse(id)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_splits_into_trust_domain_and_name() {
        let principal = Principal::parse("spiffe://acme.example/team-a/build-7").unwrap();
        assert_eq!(principal.name(), "team-a/build-7");
        assert_eq!(principal.trust_domain().as_str(), "acme.example");
        assert_eq!(principal.trust_domain().principal("team-a/build-7"), Ok(principal));
    }

    #[test]
    fn what_spiffe_forbids_is_refused() {
        for (id, error) in [
            ("https://acme.example/a", PrincipalError::Scheme),
            ("SPIFFE://acme.example/a", PrincipalError::Scheme),
            ("spiffe:///a", PrincipalError::TrustDomain),
            ("spiffe://Acme.example/a", PrincipalError::TrustDomain),
            ("spiffe://acme.example:80/a", PrincipalError::TrustDomain),
            ("spiffe://user@acme/a", PrincipalError::TrustDomain),
            ("spiffe://acme.example", PrincipalError::EmptyName),
            ("spiffe://acme.example/", PrincipalError::EmptyName),
            ("spiffe://acme.example/a/", PrincipalError::Segment),
            ("spiffe://acme.example//a", PrincipalError::Segment),
            ("spiffe://acme.example/a/../b", PrincipalError::Segment),
            ("spiffe://acme.example/.", PrincipalError::Segment),
            ("spiffe://acme.example/a%20b", PrincipalError::Segment),
            ("spiffe://acme.example/a?b", PrincipalError::Segment),
            ("spiffe://acme.example/é", PrincipalError::Segment),
        ] {
            assert_eq!(Principal::parse(id), Err(error), "{id}");
        }
    }

    #[test]
    fn lengths_are_limited() {
        let domain = "a".repeat(255);
        assert!(TrustDomain::parse(&domain).is_ok());
        assert!(TrustDomain::parse(&format!("{domain}a")).is_err());
        let id = format!("spiffe://a/{}", "b".repeat(2048 - 11));
        assert_eq!(id.len(), 2048);
        assert!(Principal::parse(&id).is_ok());
        assert_eq!(Principal::parse(&format!("{id}b")), Err(PrincipalError::TooLong));
    }
}
