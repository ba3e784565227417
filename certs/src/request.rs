//! A certificate signing request, reduced to the key whose possession it proves.

use rcgen::{CertificateParams, DistinguishedName};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;

use crate::extensions::is_permission_extension;
use crate::{KeyError, PrivateKey, PublicKey, RequestError};

const MAX_LEN: usize = 16 * 1024;

/// What remains of a CSR once nothing its sender wrote is believed: the proven public key.
///
/// Subject, alternative names and dates are dropped; they come from the CA's own record. A request
/// that asks for what only the CA may decide, to sign certificates or to hold permissions, is refused
/// outright, so that nobody believes it was granted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CertificateRequest {
    /// The key that signed the request.
    pub public_key: PublicKey,
}

impl CertificateRequest {
    /// Writes a request (PKCS#10, DER) that proves possession of `key`, and asks for nothing else.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] if the key cannot sign.
    pub fn prove(key: &PrivateKey) -> Result<CertificateSigningRequestDer<'static>, KeyError> {
        let mut nothing = CertificateParams::default();
        nothing.distinguished_name = DistinguishedName::new();
        let request = nothing.serialize_request(key).map_err(|_| KeyError::Unsupported)?;
        Ok(request.der().clone())
    }

    /// Reads PEM (`CERTIFICATE REQUEST`) or DER.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn from_pem_or_der(octets: &[u8]) -> Result<Self, RequestError> {
        match CertificateSigningRequestDer::from_pem_slice(octets) {
            Ok(der) => Self::from_der(&der),
            Err(_) => Self::from_der(octets),
        }
    }

    /// Reads DER of a PKCS#10 request (RFC 2986).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_LEN {
            return Err(RequestError::TooLong);
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| RequestError::Malformed)?;
        if !rest.is_empty() {
            return Err(RequestError::Malformed);
        }
        let info = &request.certification_request_info;
        // The allow-list of key types comes first: it also keeps SHA-1 and short RSA keys away.
        let public_key =
            PublicKey::from_der(info.subject_pki.raw).map_err(|_| RequestError::Key)?;
        // Or whoever has a key that is never certified again would write its point in another way.
        if !public_key.is_plain() {
            return Err(RequestError::NotPlain);
        }
        request.verify_signature().map_err(|_| RequestError::NotProven)?;
        // Every attribute is looked at: a second extension request must not hide behind the first.
        for attribute in info.iter_attributes() {
            if let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() {
                asked.extensions.iter().try_for_each(refuse_presumption)?;
            }
        }
        Ok(Self { public_key })
    }
}

fn refuse_presumption(extension: &X509Extension<'_>) -> Result<(), RequestError> {
    if is_permission_extension(&extension.oid) {
        return Err(RequestError::AsksForPermissions);
    }
    match extension.parsed_extension() {
        ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
            Err(RequestError::AsksForAuthority)
        }
        ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
            Err(RequestError::AsksForAuthority)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, IsCa, KeyPair, PublicKeyData,
        SignatureAlgorithm, SigningKey,
    };

    use super::*;
    use crate::{KeyType, PERMISSION_EXTENSION_OID, PrivateKey};

    fn request(params: CertificateParams, key: &PrivateKey) -> Vec<u8> {
        params.serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn only_the_key_is_taken() {
        for kind in [KeyType::P256, KeyType::P384, KeyType::Ed25519] {
            let key = PrivateKey::generate(kind).unwrap();
            let der = request(CertificateParams::new(vec!["admin.example".into()]).unwrap(), &key);
            let read = CertificateRequest::from_pem_or_der(&der).unwrap();
            assert_eq!(read.public_key, key.public_key().unwrap());
        }
    }

    #[test]
    fn a_request_of_ours_names_nobody_and_proves_its_key() {
        let key = PrivateKey::generate(KeyType::P256).unwrap();
        let der = CertificateRequest::prove(&key).unwrap();
        let read = CertificateRequest::from_der(&der).unwrap();
        assert_eq!(read.public_key, key.public_key().unwrap());
        let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
        assert_eq!(request.certification_request_info.subject.iter().count(), 0);
    }

    #[test]
    fn presumption_is_refused() {
        let key = PrivateKey::generate(KeyType::P256).unwrap();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let refused = CertificateRequest::from_der(&request(authority, &key));
        assert_eq!(refused.unwrap_err(), RequestError::AsksForAuthority);

        let mut everything = CertificateParams::default();
        let content = b"\x30\x0a\x02\x01\x00\x30\x05\x0c\x03*:*".to_vec();
        let extension = CustomExtension::from_oid_content(PERMISSION_EXTENSION_OID, content);
        everything.custom_extensions.push(extension);
        let refused = CertificateRequest::from_der(&request(everything, &key));
        assert_eq!(refused.unwrap_err(), RequestError::AsksForPermissions);
    }

    #[test]
    fn possession_must_be_proven() {
        let key = PrivateKey::generate(KeyType::P256).unwrap();
        let mut der = request(CertificateParams::default(), &key);
        let last = der.len() - 1;
        der[last] ^= 1;
        assert_eq!(CertificateRequest::from_der(&der).unwrap_err(), RequestError::NotProven);
        der.push(0);
        assert_eq!(CertificateRequest::from_der(&der).unwrap_err(), RequestError::Malformed);
    }

    /// A key whose point is written so.
    struct Written<'a>(&'a PrivateKey, Vec<u8>);

    impl PublicKeyData for Written<'_> {
        fn der_bytes(&self) -> &[u8] {
            &self.1
        }

        fn algorithm(&self) -> &'static SignatureAlgorithm {
            self.0.algorithm()
        }
    }

    impl SigningKey for Written<'_> {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            self.0.sign(message)
        }
    }

    #[test]
    fn a_key_is_written_in_one_way_or_refused() {
        for kind in [KeyType::P256, KeyType::P384] {
            let key = PrivateKey::generate(kind).unwrap();
            let both = &key.der_bytes()[1..];
            let (x, y) = both.split_at(both.len() / 2);
            let sign = y[y.len() - 1] & 1;
            let read = |first: u8, rest: &[u8]| {
                let written = Written(&key, [&[first], rest].concat());
                let request = CertificateParams::default().serialize_request(&written).unwrap();
                CertificateRequest::from_der(request.der()).map(|read| read.public_key)
            };
            assert_eq!(read(0x04, both), key.public_key().map_err(|_| RequestError::Key));
            // Compressed, and what X9.62 calls hybrid: keys that verify signatures just as well.
            for (first, rest) in [(0x02, x), (0x06, both)] {
                assert_eq!(read(first | sign, rest), Err(RequestError::NotPlain));
            }
        }
    }

    #[test]
    fn other_curves_and_large_requests_are_refused() {
        let p521 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
        let der = CertificateParams::default().serialize_request(&p521).unwrap();
        assert_eq!(CertificateRequest::from_der(der.der()).unwrap_err(), RequestError::Key);
        assert_eq!(
            CertificateRequest::from_der(&[0x30; MAX_LEN + 1]).unwrap_err(),
            RequestError::TooLong
        );
    }
}
