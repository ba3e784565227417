//! A bag of certificates: CMS SignedData that signs nothing (RFC 5652 §5.1; RFC 5272 §4.1 calls it
//! certs-only), which is how EST hands out certificates.
//!
//! ```text
//! ContentInfo ::= SEQUENCE { contentType id-signedData, content [0] EXPLICIT SEQUENCE {
//!     version INTEGER (1), digestAlgorithms SET {}, encapContentInfo SEQUENCE { id-data },
//!     certificates [0] IMPLICIT SET OF Certificate, signerInfos SET {} } }
//! ```
//!
//! DER on the way out, and nothing but DER is read. A SET has no order: who needs to know which
//! certificate is whose looks into them.

use der::asn1::{AnyRef, ObjectIdentifier, SetOfVec};
use der::{Decode, Encode, Sequence};
use rustls_pki_types::CertificateDer;

use crate::CertificateError;

/// RFC 5652 §5.1.
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");

/// RFC 5652 §4.
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");

/// RFC 5652 §5.1: the version without attribute certificates and other content.
const VERSION: u8 = 1;

/// Longer is nothing that an honest CA sends: a few certificates of a few kilobytes each.
const MAX_LEN: usize = 256 * 1024;

#[derive(Sequence)]
struct ContentInfo<'a> {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: SignedData<'a>,
}

#[derive(Sequence)]
struct SignedData<'a> {
    version: u8,
    digest_algorithms: SetOfVec<AnyRef<'a>>,
    encapsulated: Encapsulated,
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT", constructed = "true", optional = "true")]
    certificates: Option<SetOfVec<AnyRef<'a>>>,
    signer_infos: SetOfVec<AnyRef<'a>>,
}

#[derive(Sequence)]
struct Encapsulated {
    content_type: ObjectIdentifier,
}

/// Packs certificates.
///
/// # Errors
/// [`CertificateError::Malformed`] if one of them is no DER.
pub fn pack<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> Result<Vec<u8>, CertificateError> {
    let malformed = |_| CertificateError::Malformed;
    let certificates: Vec<AnyRef<'_>> = certificates
        .into_iter()
        .map(|certificate| AnyRef::from_der(certificate))
        .collect::<Result<_, _>>()
        .map_err(malformed)?;
    let content = SignedData {
        version: VERSION,
        digest_algorithms: SetOfVec::new(),
        encapsulated: Encapsulated { content_type: DATA },
        certificates: Some(SetOfVec::try_from(certificates).map_err(malformed)?),
        signer_infos: SetOfVec::new(),
    };
    ContentInfo { content_type: SIGNED_DATA, content }.to_der().map_err(malformed)
}

/// Unpacks certificates, in no order that means anything. They are not looked into.
///
/// # Errors
/// [`CertificateError::Malformed`] if it is no bag of certificates, or longer than 256 KiB.
pub fn unpack(der: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    if der.len() > MAX_LEN {
        return Err(CertificateError::Malformed);
    }
    let info = ContentInfo::from_der(der).map_err(|_| CertificateError::Malformed)?;
    if info.content_type != SIGNED_DATA {
        return Err(CertificateError::Malformed);
    }
    let certificates = info.content.certificates.unwrap_or_default();
    let octets = certificates.iter().map(|certificate| certificate.to_der().map(Into::into));
    octets.collect::<Result<_, _>>().map_err(|_| CertificateError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two things that are DER, shorter and longer.
    fn two() -> [CertificateDer<'static>; 2] {
        [vec![0x30, 0x03, 0x02, 0x01, 0x07].into(), vec![0x30, 0x00].into()]
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let packed = pack(&two()).unwrap();
        let mut unpacked = unpack(&packed).unwrap();
        unpacked.sort_unstable_by_key(|certificate| std::cmp::Reverse(certificate.len()));
        assert_eq!(unpacked, two());
        assert!(unpack(&pack([]).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn nothing_else_is_a_bag_of_certificates() {
        let packed = pack(&two()).unwrap();
        for length in 0..packed.len() {
            assert!(unpack(&packed[..length]).is_err(), "{length}");
        }
        let mut longer = packed.clone();
        longer.push(0);
        assert!(unpack(&longer).is_err());
        // Enveloped data (RFC 5652 §6.1) of the same shape.
        let mut other = packed;
        other[14] = 3;
        assert!(unpack(&other).is_err());
        assert!(unpack(&vec![0x30; MAX_LEN + 1]).is_err());
        assert!(pack([&CertificateDer::from(vec![1])]).is_err());
    }
}
