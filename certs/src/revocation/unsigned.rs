//! A revocation list as it is signed (RFC 5280 §5.1): complete, or what was revoked since a complete one.

use std::time::Duration;

use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, ObjectIdentifier, UintRef, UtcTime};
use der::{Encode, Tag, TagNumber};
use rustls_pki_types::UnixTime;

use crate::{CaCertificate, KeyType, RevocationError, Serial};

const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const DELTA_INDICATOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.27");
const REASON: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");

/// RFC 5758 §3.2, RFC 8410 §3: without parameters.
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// RFC 5280 §5.1.2.1: "this field MUST be present and MUST specify version 2 (the integer value is 1)".
const VERSION_2: u8 = 1;

/// Octets of a list's DER at most. As PEM that fits into what readers take, which is 256 MiB.
pub const MAX_LIST_LEN: usize = 188 * 1024 * 1024;

/// Octets around what is signed and the signature, at most: the algorithm, tags and lengths.
const FRAME_LEN: usize = 64;

/// One entry of a revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a caller must say all of it")]
pub struct ListEntry {
    /// Which certificate.
    pub serial: Serial,
    /// Since when.
    pub revoked_at: UnixTime,
    /// The code of the reason (RFC 5280 §5.3.1); 0 is not said.
    pub reason: u8,
}

/// A revocation list that is still to be signed.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "a caller must say all of it")]
pub struct UnsignedList<'a> {
    /// Whose it is.
    pub issuer: &'a CaCertificate,
    /// RFC 5280 §5.2.3.
    pub number: u64,
    /// RFC 5280 §5.2.4: of a list that says only what was revoked since, the number of the complete
    /// list that it was made for.
    pub base_number: Option<u64>,
    /// When it is made.
    pub this_update: UnixTime,
    /// When it goes stale.
    pub next_update: UnixTime,
    /// What is revoked.
    pub entries: &'a [ListEntry],
}

impl UnsignedList<'_> {
    /// DER of the TBSCertList, which is what the issuer's key signs.
    ///
    /// # Errors
    /// [`RevocationError::Unwritable`] for a time beyond the year 9999.
    pub fn to_be_signed(&self) -> Result<Vec<u8>, RevocationError> {
        self.contents().map_err(|_| RevocationError::Unwritable)
    }

    /// Brings what was signed and the signature together.
    ///
    /// # Errors
    /// [`RevocationError::Unwritable`] if the list is longer than [`MAX_LIST_LEN`].
    pub fn signed(
        &self,
        to_be_signed: &[u8],
        signature: &[u8],
    ) -> Result<Vec<u8>, RevocationError> {
        if to_be_signed.len() > MAX_LIST_LEN.saturating_sub(signature.len() + FRAME_LEN) {
            return Err(RevocationError::Unwritable);
        }
        let signed = || {
            let signature = BitStringRef::from_bytes(signature)?.to_der()?;
            sequence(&[to_be_signed, &self.algorithm()?, &signature])
        };
        signed().map_err(|_: der::Error| RevocationError::Unwritable)
    }

    fn contents(&self) -> der::Result<Vec<u8>> {
        let revoked = match self.entries {
            // RFC 5280 §5.1.2.6: where nothing is revoked, the list MUST be absent.
            [] => Vec::new(),
            entries => revoked(entries)?,
        };
        let extensions = AnyRef::new(CONTEXT_0, &self.extensions()?)?.to_der()?;
        sequence(&[
            &VERSION_2.to_der()?,
            &self.algorithm()?,
            &self.issuer.subject_name,
            &time(self.this_update)?,
            &time(self.next_update)?,
            &revoked,
            &extensions,
        ])
    }

    fn algorithm(&self) -> der::Result<Vec<u8>> {
        let algorithm = match self.issuer.public_key.key_type() {
            Ok(KeyType::P256) => ECDSA_WITH_SHA256,
            Ok(KeyType::P384) => ECDSA_WITH_SHA384,
            Ok(KeyType::Ed25519) => ED25519,
            Err(_) => return Err(Tag::Sequence.value_error().into()),
        };
        sequence(&[&algorithm.to_der()?])
    }

    fn extensions(&self) -> der::Result<Vec<u8>> {
        let key = AnyRef::new(IMPLICIT_0, &self.issuer.key_identifier)?.to_der()?;
        let key = extension(AUTHORITY_KEY_IDENTIFIER, false, &sequence(&[&key])?)?;
        let number = extension(NUMBER, false, &self.number.to_der()?)?;
        // RFC 5280 §5.2.4: critical, so that nobody takes it for a complete list.
        let base = |base: u64| extension(DELTA_INDICATOR, true, &base.to_der()?);
        let base = self.base_number.map(base).transpose()?.unwrap_or_default();
        sequence(&[&key, &number, &base])
    }
}

const CONTEXT_0: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
const IMPLICIT_0: Tag = Tag::ContextSpecific { constructed: false, number: TagNumber(0) };

fn revoked(entries: &[ListEntry]) -> der::Result<Vec<u8>> {
    let mut revoked = Vec::with_capacity(entries.len() * 40);
    for ListEntry { serial, revoked_at, reason } in entries {
        let mut entry = UintRef::new(serial.as_bytes())?.to_der()?;
        entry.extend(time(*revoked_at)?);
        if *reason != 0 {
            let code = AnyRef::new(Tag::Enumerated, &[*reason])?.to_der()?;
            entry.extend(sequence(&[&extension(REASON, false, &code)?])?);
        }
        AnyRef::new(Tag::Sequence, &entry)?.encode_to_vec(&mut revoked)?;
    }
    AnyRef::new(Tag::Sequence, &revoked)?.to_der()
}

fn extension(id: ObjectIdentifier, is_critical: bool, value: &[u8]) -> der::Result<Vec<u8>> {
    // X.690 §11.5: what is the default, false, is not written.
    let critical = if is_critical { true.to_der()? } else { Vec::new() };
    sequence(&[&id.to_der()?, &critical, &AnyRef::new(Tag::OctetString, value)?.to_der()?])
}

/// RFC 5280 §5.1.2.4: UTCTime up to the year 2049, GeneralizedTime from there on.
fn time(at: UnixTime) -> der::Result<Vec<u8>> {
    let since = Duration::from_secs(at.as_secs());
    match UtcTime::from_unix_duration(since) {
        Ok(time) => time.to_der(),
        Err(_) => GeneralizedTime::from_unix_duration(since)?.to_der(),
    }
}

fn sequence(parts: &[&[u8]]) -> der::Result<Vec<u8>> {
    AnyRef::new(Tag::Sequence, &parts.concat())?.to_der()
}
