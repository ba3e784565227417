//! Where verifiers find what the CA publishes, as certificates say it: the list that would name them
//! (RFC 5280 §4.2.1.13), the OCSP responder and the issuing CA's certificate (§4.2.2.1).

use std::fmt;
use std::str::FromStr;

use der::asn1::{ContextSpecific, Ia5StringRef, ObjectIdentifier};
use der::{Encode, Sequence, TagMode, TagNumber};
use rcgen::{CertificateParams, CrlDistributionPoint, CustomExtension};
use thiserror::Error;
use vouchsafe_certs::Serial;

/// id-pe-authorityInfoAccess.
const INFORMATION_ACCESS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
/// id-ad-ocsp.
const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
/// id-ad-caIssuers.
const CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");

/// uniformResourceIdentifier of GeneralName (RFC 5280 §4.2.1.6).
const URI: TagNumber = TagNumber(6);

/// It stands in every certificate three times.
const MAX_LEN: usize = 200;

/// Where the CA's public listener, or a copy of what it serves, is found: `https://ca.acme.example:8445`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicUrl(String);

/// Why a text is no such URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a public URL begins with http:// or https:// and has at most 200 characters of ASCII without spaces"
)]
#[non_exhaustive]
pub struct PublicUrlError;

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let text = text.trim_end_matches('/');
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        match rest {
            Some(rest) if !rest.is_empty() && is_plain && text.len() <= MAX_LEN => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(PublicUrlError),
        }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Sequence)]
struct AccessDescription<'a> {
    method: ObjectIdentifier,
    location: ContextSpecific<Ia5StringRef<'a>>,
}

/// The pointers in the certificates of one issuing CA.
#[derive(Clone, Debug)]
pub(crate) struct Pointers {
    list: String,
    information_access: Vec<u8>,
}

impl Pointers {
    /// To what is served at `url` for the issuing CA with this serial number.
    pub(crate) fn new(url: &PublicUrl, issuer: &Serial) -> Result<Self, PublicUrlError> {
        let (ocsp, certificate) = (format!("{url}/ocsp"), format!("{url}/issuer/{issuer}.cer"));
        let at = |method, text| {
            let value = Ia5StringRef::new(text).map_err(|_| PublicUrlError)?;
            let (tag_number, tag_mode) = (URI, TagMode::Implicit);
            let location = ContextSpecific { tag_number, tag_mode, value };
            Ok(AccessDescription { method, location })
        };
        let access = vec![at(OCSP, ocsp.as_str())?, at(CA_ISSUERS, certificate.as_str())?];
        let information_access = access.to_der().map_err(|_| PublicUrlError)?;
        Ok(Self { list: format!("{url}/crl/{issuer}.crl"), information_access })
    }

    /// Neither is critical: nobody is refused for not following them.
    pub(crate) fn add_to(&self, params: &mut CertificateParams) {
        let Self { list, information_access } = self;
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![list.clone()] }];
        let access = information_access.clone();
        let mut extension = CustomExtension::from_oid_content(INFORMATION_ACCESS, access);
        extension.set_criticality(false);
        params.custom_extensions.push(extension);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_are_taken() {
        for good in ["https://ca.acme.example:8445", "http://10.0.0.7/", "https://[::1]:8445/ca"] {
            assert!(good.parse::<PublicUrl>().is_ok(), "{good}");
        }
        let long = format!("https://{}", "a".repeat(MAX_LEN));
        for wrong in ["", "ca.example", "https://", "ldap://x", "https://a b", "https://é", &long]
        {
            assert_eq!(wrong.parse::<PublicUrl>(), Err(PublicUrlError), "{wrong}");
        }
    }
}
