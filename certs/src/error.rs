//! What can be wrong with a noun. One closed enum per noun; every message is a sentence for a person.

use thiserror::Error;

/// Why a text is not a SPIFFE ID this project accepts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PrincipalError {
    /// The text does not begin with `spiffe://`.
    #[error("a principal begins with spiffe://")]
    Scheme,
    /// SPIFFE-ID §2.1: lower-case letters, digits, dot, dash and underscore, 1 to 255 octets.
    #[error("a trust domain is 1 to 255 of a-z, 0-9, '.', '-' and '_'")]
    TrustDomain,
    /// The name is empty.
    #[error("a principal needs a name after its trust domain, such as team-a/build-7")]
    EmptyName,
    /// SPIFFE-ID §2.2: letters, digits, dot, dash and underscore; no empty, `.` or `..` segment.
    #[error(
        "a name is made of segments of letters, digits, '.', '-' and '_', with one '/' between two; '.' and '..' are no segments"
    )]
    Segment,
    /// SPIFFE-ID §2.3: at most 2048 octets.
    #[error("a principal is at most 2048 octets long")]
    TooLong,
}

/// Why a text is not a permission, or an extension not a permission extension.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PermissionError {
    /// No colon.
    #[error("a permission is written kind:pattern, such as tools:search")]
    NoColon,
    /// The kind breaks the grammar.
    #[error("the kind of a permission is 1 to 64 of a-z, 0-9 and '-', and begins with a letter")]
    Kind,
    /// The pattern is empty or longer than 255 octets.
    #[error("the pattern of a permission is 1 to 255 octets long")]
    PatternLength,
    /// The pattern holds a control character.
    #[error("the pattern of a permission holds no control characters")]
    ControlCharacter,
    /// A star before the end.
    #[error("'*' stands only at the end of a pattern")]
    InnerStar,
    /// A star as kind with a pattern other than a star.
    #[error("'*' as kind goes only with '*' as pattern: everything")]
    StarKind,
    /// More permissions than a certificate holds.
    #[error("a certificate holds at most 256 permissions")]
    TooMany,
    /// The extension would exceed its limit.
    #[error("the permission extension is at most 16 KiB long")]
    TooLarge,
    /// Not DER of the shape that the extension has.
    #[error("the permission extension is malformed")]
    Malformed,
    /// A version that this program does not know.
    #[error("the permission extension has version {0}, which this program does not know")]
    Version(u8),
    /// Well-formed, but not the one way to write it.
    #[error("the permission extension is not canonical: permissions must be sorted and differ")]
    NotCanonical,
}

/// Why a serial number is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SerialError {
    /// RFC 5280 §4.1.2.2: the serial number MUST be a positive integer.
    #[error("a serial number is positive")]
    NotPositive,
    /// RFC 5280 §4.1.2.2: at most 20 octets.
    #[error("a serial number is at most 20 octets long")]
    TooLong,
    /// Not hexadecimal.
    #[error("a serial number is written as pairs of hexadecimal digits")]
    NotHexadecimal,
    /// The random source failed.
    #[error("the system's random source failed")]
    Random,
}

/// Why a key cannot be used. Never says anything of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a PKCS#8 PEM file.
    #[error("not a private key in PKCS#8 PEM form")]
    NotPkcs8,
    /// The file is encrypted and no passphrase was given.
    #[error("the private key is protected by a passphrase")]
    PassphraseNeeded,
    /// Decryption failed.
    #[error("the passphrase does not open the private key")]
    WrongPassphrase,
    /// Neither P-256, P-384 nor Ed25519.
    #[error("the key is neither P-256, P-384 nor Ed25519")]
    Unsupported,
    /// A key type name that is not known.
    #[error("a key type is one of p256, p384, ed25519")]
    UnknownName,
    /// Generation failed.
    #[error("the key could not be generated")]
    Generation,
    /// Encryption failed.
    #[error("the key could not be encrypted")]
    Encryption,
}

/// Why a certificate signing request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Larger than any honest request.
    #[error("the request is longer than 16 KiB")]
    TooLong,
    /// Not PKCS#10.
    #[error("not a PKCS#10 certificate signing request")]
    Malformed,
    /// The signature is by another key, or by an algorithm that is not accepted.
    #[error("the request is not signed by the key it names, so possession is not proven")]
    NotProven,
    /// The key is of a type that is not accepted.
    #[error("the request's key is neither P-256, P-384 nor Ed25519")]
    Key,
    /// The key is written in another way than the one by which it would be known again.
    #[error(
        "the request's key is not written as an uncompressed point (RFC 5480 §2.2); write it with openssl ec -conv_form uncompressed, and make the request anew"
    )]
    NotPlain,
    /// It asks to be a CA or to sign certificates.
    #[error("the request asks to become a certificate authority")]
    AsksForAuthority,
    /// It brings a permission extension of its own.
    #[error("the request names permissions; permissions are granted by the CA, never asked for")]
    AsksForPermissions,
}

/// Why a certificate is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not X.509 v3 DER, or bytes after it.
    #[error("not an X.509 v3 certificate")]
    Malformed,
    /// RFC 5280 §4.2: a certificate MUST NOT include more than one instance of an extension.
    #[error("an extension appears twice")]
    DuplicateExtension,
    /// A CA certificate where a leaf was expected.
    #[error("a CA certificate cannot stand for a principal")]
    CaAsLeaf,
    /// A leaf where a CA certificate was expected.
    #[error("not a CA certificate")]
    NotCa,
    /// X.509-SVID §4.3: digitalSignature, and neither keyCertSign nor cRLSign.
    #[error(
        "the key usage does not fit: a leaf needs digitalSignature and must not sign certificates or lists, a CA needs keyCertSign and cRLSign"
    )]
    KeyUsage,
    /// No clientAuth in the extended key usage.
    #[error("the extended key usage does not name clientAuth")]
    ExtendedKeyUsage,
    /// Neither P-256, P-384 nor Ed25519.
    #[error("the key is neither P-256, P-384 nor Ed25519")]
    Key,
    /// X.509-SVID §2: exactly one URI SAN.
    #[error("a leaf names exactly one URI")]
    UriName,
    /// The URI is not a principal.
    #[error("the principal is malformed: {0}")]
    Principal(#[from] PrincipalError),
    /// The serial number breaks RFC 5280.
    #[error("{0}")]
    Serial(#[from] SerialError),
    /// RFC 5280 §4.2.1.1, §4.2.1.2: key identifiers are needed to find the issuer's list.
    #[error("a key identifier is missing")]
    KeyIdentifier,
    /// The dates cannot be read or are in the wrong order.
    #[error("the validity period is malformed")]
    Validity,
    /// The permission extension is wrong.
    #[error("{0}")]
    Permission(#[from] PermissionError),
}

/// Why a revocation list is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// Not an X.509 v2 CRL.
    #[error("not an X.509 v2 revocation list")]
    Malformed,
    /// By a CA that the reader does not know.
    #[error("the revocation list is by a CA that is not trusted here")]
    UnknownIssuer,
    /// The issuer's key did not sign.
    #[error("the revocation list is not signed by the CA it names")]
    Signature,
    /// RFC 5280 §5.2.3: conforming CRL issuers MUST include the CRL number.
    #[error("the revocation list has no number")]
    NoNumber,
    /// RFC 5280 §5.1.2.5: conforming CRL issuers MUST include nextUpdate.
    #[error("the revocation list does not say when the next one comes")]
    NoNextUpdate,
    /// RFC 5280 §5.2.1: the authority key identifier MUST be there.
    #[error("the revocation list does not name its issuer's key")]
    NoKeyIdentifier,
    /// A delta list where a complete one is needed.
    #[error("the revocation list says only what changed, and a complete one is needed")]
    Delta,
    /// RFC 5280 §5.2.4: a delta list without the complete list that it was made for.
    #[error("the revocation list says what changed since a list that is not here")]
    Baseless,
    /// A list that cannot be written.
    #[error("a date or the length of the revocation list is beyond what a list can hold")]
    Unwritable,
    /// A critical extension that this program does not know.
    #[error("the revocation list has a critical extension that this program does not know")]
    CriticalExtension,
    /// An entry's serial number breaks RFC 5280.
    #[error("the revocation list names a malformed serial number")]
    Serial,
}
