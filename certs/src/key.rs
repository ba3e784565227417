//! Keys. Secrets are cleared on drop and never reach `Debug`.

use std::fmt;
use std::str::FromStr;

use pkcs8::der::pem::LineEnding;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument, pkcs5::pbes2};
use rcgen::{KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize, Zeroizing};

use crate::KeyError;

const PLAIN_LABEL: &str = "PRIVATE KEY";
const ENCRYPTED_LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// What a key is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum KeyType {
    /// ECDSA on NIST P-256 with SHA-256: accepted by every verifier.
    #[default]
    P256,
    /// ECDSA on NIST P-384 with SHA-384.
    P384,
    /// Ed25519 (RFC 8410): the fastest, refused by NSS.
    Ed25519,
}

impl KeyType {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::Ed25519];

    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }

    /// What comes before a key of this type in SubjectPublicKeyInfo, the octet for unused bits included, and
    /// how long the key is: for one type everything but the key is always the same (RFC 5480 §2, RFC 8410 §4).
    /// rcgen would read it all, and write down every algorithm that it knows to find out which one it is.
    fn layout(self) -> (&'static [u8], usize) {
        match self {
            Self::P256 => (
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00",
                65,
            ),
            Self::P384 => (
                b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00",
                97,
            ),
            Self::Ed25519 => (b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00", 32),
        }
    }

    fn of(algorithm: &SignatureAlgorithm) -> Result<Self, KeyError> {
        let known = Self::ALL.into_iter().find(|kind| kind.algorithm() == algorithm);
        known.ok_or(KeyError::Unsupported)
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
        })
    }
}

impl FromStr for KeyType {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let known = Self::ALL.into_iter().find(|kind| kind.to_string() == text);
        known.ok_or(KeyError::UnknownName)
    }
}

/// A public key of a type that is accepted, as SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicKey {
    kind: KeyType,
    /// The whole structure. An EC point has several (RFC 5480 §2.2), of which requests bring one alone.
    der: Box<[u8]>,
    /// How much of it comes before the key itself.
    head_len: usize,
}

impl PublicKey {
    /// Reads DER of SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`KeyError::Unsupported`] for anything but P-256, P-384 and Ed25519.
    pub fn from_der(spki: &[u8]) -> Result<Self, KeyError> {
        for kind in KeyType::ALL {
            let (head, key_len) = kind.layout();
            if spki.strip_prefix(head).is_some_and(|key| key.len() == key_len) {
                return Ok(Self { kind, der: spki.into(), head_len: head.len() });
            }
        }
        Self::from_unusual_der(spki)
    }

    /// Reads what is not written as nearly everybody writes it: compressed points (RFC 5480 §2.2) above all,
    /// of which there may be certificates. Requests for new ones do not bring any.
    fn from_unusual_der(spki: &[u8]) -> Result<Self, KeyError> {
        let key = rcgen::SubjectPublicKeyInfo::from_der(spki).map_err(|_| KeyError::Unsupported)?;
        let kind = KeyType::of(key.algorithm())?;
        let der = key.subject_public_key_info();
        let head_len = der.len().saturating_sub(key.der_bytes().len());
        Ok(Self { kind, der: der.into(), head_len })
    }

    /// DER of SubjectPublicKeyInfo.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        self.der.to_vec()
    }

    /// Whether this is the one way of writing the key by which it is compared with others. RFC 5480 §2.2:
    /// an uncompressed point begins with 04, a compressed one with 02 or 03, and nothing else is allowed.
    pub(crate) fn is_plain(&self) -> bool {
        self.kind == KeyType::Ed25519 || self.der_bytes().first() == Some(&0x04)
    }

    /// What the key is made of.
    ///
    /// # Errors
    /// None for a key that exists.
    pub fn key_type(&self) -> Result<KeyType, KeyError> {
        Ok(self.kind)
    }
}

impl PublicKeyData for PublicKey {
    fn subject_public_key_info(&self) -> Vec<u8> {
        self.to_der()
    }

    fn der_bytes(&self) -> &[u8] {
        self.der.get(self.head_len..).unwrap_or_default()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.kind.algorithm()
    }
}

/// A private key. `Debug` shows its type alone; the key's octets are cleared when it is dropped.
pub struct PrivateKey(KeyPair);

impl PrivateKey {
    /// Makes a new key with the crypto provider's random source.
    ///
    /// # Errors
    /// [`KeyError::Generation`] if the provider fails.
    pub fn generate(kind: KeyType) -> Result<Self, KeyError> {
        KeyPair::generate_for(kind.algorithm()).map(Self).map_err(|_| KeyError::Generation)
    }

    /// Reads a PKCS#8 PEM text that is not encrypted.
    ///
    /// # Errors
    /// [`KeyError::PassphraseNeeded`] if it is encrypted; otherwise what is wrong with it.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let (label, document) = SecretDocument::from_pem(pem).map_err(|_| KeyError::NotPkcs8)?;
        match label {
            PLAIN_LABEL => Self::from_document(&document),
            ENCRYPTED_LABEL => Err(KeyError::PassphraseNeeded),
            _ => Err(KeyError::NotPkcs8),
        }
    }

    /// Reads a PKCS#8 PEM text that a passphrase protects (RFC 5958 §3).
    ///
    /// # Errors
    /// [`KeyError::WrongPassphrase`] if the passphrase does not open it.
    pub fn from_encrypted_pem(pem: &str, passphrase: &[u8]) -> Result<Self, KeyError> {
        let (label, document) = SecretDocument::from_pem(pem).map_err(|_| KeyError::NotPkcs8)?;
        if label != ENCRYPTED_LABEL {
            return Err(KeyError::NotPkcs8);
        }
        let sealed = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes())
            .map_err(|_| KeyError::NotPkcs8)?;
        let opened = sealed.decrypt(passphrase).map_err(|_| KeyError::WrongPassphrase)?;
        Self::from_document(&opened)
    }

    /// Reads a PKCS#8 PEM text; `passphrase` opens it if it is encrypted, and is not asked for if it is not.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem) and [`from_encrypted_pem`](Self::from_encrypted_pem).
    pub fn open_pem(pem: &str, passphrase: Option<&[u8]>) -> Result<Self, KeyError> {
        match (Self::from_pem(pem), passphrase) {
            (Err(KeyError::PassphraseNeeded), Some(passphrase)) => {
                Self::from_encrypted_pem(pem, passphrase)
            }
            (read, _) => read,
        }
    }

    /// PKCS#8 PEM, encrypted if there is a passphrase. The text is cleared when it is dropped.
    ///
    /// # Errors
    /// As [`to_encrypted_pem`](Self::to_encrypted_pem).
    pub fn sealed_pem(&self, passphrase: Option<&[u8]>) -> Result<Zeroizing<String>, KeyError> {
        match passphrase {
            Some(passphrase) => self.to_encrypted_pem(passphrase),
            None => Ok(self.to_pem()),
        }
    }

    fn from_document(document: &SecretDocument) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from(document.as_bytes());
        let pair = KeyPair::try_from(&der).map_err(|_| KeyError::Unsupported)?;
        KeyType::of(pair.algorithm())?;
        Ok(Self(pair))
    }

    /// PKCS#8 PEM without encryption. The text is cleared when it is dropped.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// PKCS#8 PEM, encrypted with scrypt (N = 2¹⁵, r = 8, p = 1) and AES-256-CBC.
    ///
    /// # Errors
    /// [`KeyError::Encryption`] if the random source or the cipher fails.
    pub fn to_encrypted_pem(&self, passphrase: &[u8]) -> Result<Zeroizing<String>, KeyError> {
        let sealed = self.seal(passphrase).ok_or(KeyError::Encryption)?;
        sealed.to_pem(ENCRYPTED_LABEL, LineEnding::LF).map_err(|_| KeyError::Encryption)
    }

    fn seal(&self, passphrase: &[u8]) -> Option<SecretDocument> {
        let (mut salt, mut iv) = ([0; 16], [0; 16]);
        aws_lc_rs::rand::fill(&mut salt).ok()?;
        aws_lc_rs::rand::fill(&mut iv).ok()?;
        let scheme =
            pbes2::Parameters::generate_scrypt_aes256cbc(scrypt_parameters()?, &salt, iv).ok()?;
        let plain = PrivateKeyInfoRef::try_from(self.0.serialized_der()).ok()?;
        plain.encrypt_with_params(scheme, passphrase).ok()
    }

    /// A copy for a TLS configuration.
    #[must_use]
    pub fn to_tls(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialize_der()).into()
    }

    /// The public half.
    ///
    /// # Errors
    /// None for a key that exists.
    pub fn public_key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_der(&self.0.subject_public_key_info())
    }
}

fn scrypt_parameters() -> Option<pkcs8::pkcs5::scrypt::Params> {
    pkcs8::pkcs5::scrypt::Params::new(15, 8, 1).ok()
}

impl PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(pair) = self;
        match KeyType::of(pair.algorithm()) {
            Ok(kind) => write!(f, "PrivateKey({kind}, …)"),
            Err(_) => f.write_str("PrivateKey(…)"),
        }
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "cryptography is C")]
    fn every_type_survives_pem_and_encryption() {
        for kind in KeyType::ALL {
            let key = PrivateKey::generate(kind).unwrap();
            let public = key.public_key().unwrap();
            assert_eq!(public.key_type(), Ok(kind));
            let plain = PrivateKey::from_pem(&key.to_pem()).unwrap();
            assert_eq!(plain.public_key().unwrap(), public);

            let sealed = key.to_encrypted_pem(b"correct horse").unwrap();
            assert_eq!(PrivateKey::from_pem(&sealed).unwrap_err(), KeyError::PassphraseNeeded);
            let wrong = PrivateKey::from_encrypted_pem(&sealed, b"battery staple");
            assert_eq!(wrong.unwrap_err(), KeyError::WrongPassphrase);
            let opened = PrivateKey::open_pem(&sealed, Some(b"correct horse")).unwrap();
            assert_eq!(opened.public_key().unwrap(), public);
            let needless = PrivateKey::open_pem(&key.to_pem(), Some(b"anything")).unwrap();
            assert_eq!(needless.public_key().unwrap(), public);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "cryptography is C")]
    fn public_keys_are_read_as_rcgen_reads_them() {
        for kind in KeyType::ALL {
            let der = PrivateKey::generate(kind).unwrap().0.subject_public_key_info();
            let (quick, whole) =
                (PublicKey::from_der(&der).unwrap(), PublicKey::from_unusual_der(&der).unwrap());
            assert_eq!(quick, whole);
            assert_eq!(quick.to_der(), der);
            let theirs = rcgen::SubjectPublicKeyInfo::from_der(&der).unwrap();
            assert_eq!(quick.der_bytes(), theirs.der_bytes());
            assert_eq!(quick.algorithm(), theirs.algorithm());
            for at in 0..kind.layout().0.len() {
                let mut changed = der.clone();
                changed[at] ^= 1;
                assert_eq!(
                    PublicKey::from_der(&changed).is_ok(),
                    rcgen::SubjectPublicKeyInfo::from_der(&changed)
                        .is_ok_and(|key| KeyType::of(key.algorithm()).is_ok()),
                    "{kind}, octet {at}"
                );
            }
        }
    }

    #[test]
    fn a_compressed_point_can_be_read_and_is_not_the_plain_way_to_write_a_key() {
        let head = b"\x30\x39\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x22\x00";
        let der = [&head[..], b"\x02", &[7; 32]].concat();
        let key = PublicKey::from_der(&der).unwrap();
        assert_eq!((key.key_type(), key.to_der()), (Ok(KeyType::P256), der.clone()));
        assert_eq!(key.der_bytes().len(), 33);
        assert_eq!(PublicKey::from_der(&der[..der.len() - 1]), Err(KeyError::Unsupported));
        assert!(!key.is_plain());
        for kind in KeyType::ALL {
            assert!(PrivateKey::generate(kind).unwrap().public_key().unwrap().is_plain());
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "cryptography is C")]
    fn debug_shows_no_secret() {
        let key = PrivateKey::generate(KeyType::P256).unwrap();
        let shown = format!("{key:?} {key:#?}");
        assert_eq!(shown, "PrivateKey(p256, …) PrivateKey(p256, …)");
    }

    #[test]
    fn other_texts_are_no_keys() {
        for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(PrivateKey::from_pem(text).unwrap_err(), KeyError::NotPkcs8);
        }
    }
}
