//! The X.509 extension that carries permissions.
//!
//! ```text
//! Permissions ::= SEQUENCE {
//!     version      INTEGER (0),
//!     permissions  SEQUENCE SIZE (0..256) OF UTF8String }
//! ```
//!
//! DER, sorted octet by octet, without duplicates, at most 16 KiB: one set has exactly one
//! encoding. The extension is non-critical, because stock verifiers refuse a critical one they do not know.

use der::asn1::Utf8StringRef;
use der::{Decode, Encode, Sequence};

use crate::{Permission, PermissionError, PermissionSet};

/// In the registration-free arc for UUIDs, made of 9e2ac5c4-5b50-47fb-b5cc-c2094209b798.
pub const PERMISSION_EXTENSION_OID: &[u64] =
    &[1, 2, 840, 113_556, 1, 8000, 2554, 40490, 50628, 23376, 18427, 46540, 12_716_354, 636_824];

/// How many permissions an extension holds at most.
pub const MAX_PERMISSIONS: usize = 256;

/// How long an extension is at most, in octets of DER.
pub const MAX_EXTENSION_LEN: usize = 16 * 1024;

const VERSION: u8 = 0;

#[derive(Sequence)]
struct Permissions<'a> {
    version: u8,
    permissions: Vec<Utf8StringRef<'a>>,
}

impl PermissionSet {
    /// The extension's value.
    ///
    /// # Errors
    /// [`PermissionError::TooMany`] or [`PermissionError::TooLarge`] if no certificate could hold the set.
    pub fn to_der(&self) -> Result<Vec<u8>, PermissionError> {
        if self.len() > MAX_PERMISSIONS {
            return Err(PermissionError::TooMany);
        }
        let permissions = self
            .iter()
            .map(|permission| Utf8StringRef::new(permission.as_str()))
            .collect::<Result<_, _>>()
            .map_err(|_| PermissionError::TooLarge)?;
        let value = Permissions { version: VERSION, permissions };
        let der = value.to_der().map_err(|_| PermissionError::TooLarge)?;
        if der.len() > MAX_EXTENSION_LEN {
            return Err(PermissionError::TooLarge);
        }
        Ok(der)
    }

    /// Reads the extension's value; only the canonical encoding is accepted.
    ///
    /// # Errors
    /// What is wrong with it; a version other than 0 is named before anything else is read.
    pub fn from_der(der: &[u8]) -> Result<Self, PermissionError> {
        if der.len() > MAX_EXTENSION_LEN {
            return Err(PermissionError::TooLarge);
        }
        let Ok(Permissions { version, permissions }) = Permissions::from_der(der) else {
            // A later version may well have another shape, so its number is looked for alone.
            return Err(unknown_version(der).unwrap_or(PermissionError::Malformed));
        };
        if version != VERSION {
            return Err(PermissionError::Version(version));
        }
        if permissions.len() > MAX_PERMISSIONS {
            return Err(PermissionError::TooMany);
        }
        let set = permissions
            .iter()
            .map(|text| Permission::parse(text.as_str()))
            .collect::<Result<Self, _>>()?;
        if set.to_der()? != der {
            return Err(PermissionError::NotCanonical);
        }
        Ok(set)
    }
}

/// The version of an extension whose shape is not ours.
fn unknown_version(der: &[u8]) -> Option<PermissionError> {
    let content = der::asn1::AnyRef::from_der(der).ok()?;
    let mut reader = der::SliceReader::new(content.value()).ok()?;
    let version = u8::decode(&mut reader).ok()?;
    (version != VERSION).then_some(PermissionError::Version(version))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(texts: &[&str]) -> PermissionSet {
        texts.iter().map(|text| Permission::parse(text).unwrap()).collect()
    }

    fn encode(version: u8, texts: &[&str]) -> Vec<u8> {
        let permissions = texts.iter().map(|text| Utf8StringRef::new(text).unwrap()).collect();
        Permissions { version, permissions }.to_der().unwrap()
    }

    #[test]
    fn the_empty_set_in_octets() {
        assert_eq!(PermissionSet::default().to_der().unwrap(), [0x30, 5, 2, 1, 0, 0x30, 0]);
    }

    #[test]
    fn one_permission_in_octets() {
        let expected = b"\x30\x10\x02\x01\x00\x30\x0b\x0c\x09tools:abc";
        assert_eq!(set(&["tools:abc"]).to_der().unwrap(), expected);
        assert_eq!(PermissionSet::from_der(expected), Ok(set(&["tools:abc"])));
    }

    #[test]
    fn unsorted_repeated_and_short_forms_are_not_canonical() {
        for texts in [&["tools:b", "tools:a"][..], &["tools:a", "tools:a"], &["*"]] {
            assert_eq!(
                PermissionSet::from_der(&encode(0, texts)),
                Err(PermissionError::NotCanonical)
            );
        }
    }

    #[test]
    fn newer_versions_are_refused_whatever_their_shape() {
        assert_eq!(PermissionSet::from_der(&encode(1, &["a:b"])), Err(PermissionError::Version(1)));
        let other_shape = [0x30, 6, 2, 1, 2, 0x04, 1, 0];
        assert_eq!(PermissionSet::from_der(&other_shape), Err(PermissionError::Version(2)));
    }

    #[test]
    fn broken_der_is_malformed() {
        let good = encode(0, &["a:b"]);
        for end in 0..good.len() {
            assert!(PermissionSet::from_der(&good[..end]).is_err());
        }
        let mut trailing = good.clone();
        trailing.push(0);
        assert_eq!(PermissionSet::from_der(&trailing), Err(PermissionError::Malformed));
        // The same content with a length in long form is BER, not DER.
        let ber = [&[0x30, 0x81, good[1]][..], &good[2..]].concat();
        assert_eq!(PermissionSet::from_der(&ber), Err(PermissionError::Malformed));
    }

    #[test]
    fn sizes_are_limited_both_ways() {
        let many: Vec<String> = (0..257).map(|n| format!("tools:{n:03}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(set(&many).to_der(), Err(PermissionError::TooMany));
        assert_eq!(PermissionSet::from_der(&encode(0, &many)), Err(PermissionError::TooMany));
        let wide: Vec<String> = (0..100).map(|n| format!("tools:{n:0250}")).collect();
        let wide: Vec<&str> = wide.iter().map(String::as_str).collect();
        assert_eq!(set(&wide).to_der(), Err(PermissionError::TooLarge));
        assert_eq!(PermissionSet::from_der(&encode(0, &wide)), Err(PermissionError::TooLarge));
    }

    proptest! {
        #[test]
        fn a_set_survives_the_round_trip(texts in prop::collection::vec("[a-z][a-z0-9-]{0,5}:[ -)+-~é]{1,9}\\*?", 0..9)) {
            let set: PermissionSet = texts.iter().map(|text| Permission::parse(text).unwrap()).collect();
            prop_assert_eq!(PermissionSet::from_der(&set.to_der().unwrap()), Ok(set));
        }

        #[test]
        fn what_is_read_is_written_the_same(der in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(set) = PermissionSet::from_der(&der) {
                prop_assert_eq!(set.to_der().unwrap(), der);
            }
        }
    }
}
