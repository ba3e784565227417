//! The nouns of Vouchsafe: what stands in a certificate.
//!
//! Everything here is pure. Bytes and a point in time go in, types that cannot be wrong come out;
//! nothing reads a file, a socket or a clock.
//!
//! | type | what it is | from |
//! |---|---|---|
//! | [`Principal`], [`TrustDomain`] | who: a SPIFFE ID | SPIFFE-ID |
//! | [`Permission`], [`PermissionSet`] | what they may do | the permission extension |
//! | [`Serial`], [`IssuerId`] | which certificate | RFC 5280 §4.1.2.2, §5.3 |
//! | [`PrivateKey`], [`PublicKey`], [`KeyType`] | keys; secrets never reach `Debug` | RFC 5958, RFC 5280 §4.1.2.7 |
//! | [`CertificateRequest`] | the one thing a CSR proves: possession of a key | RFC 2986 |
//! | [`Certificate`] | a leaf, strictly read | RFC 5280, X.509-SVID |
//! | [`CaCertificate`] | a root or issuing CA, strictly read | RFC 5280 |
//! | [`certs_only`] | a bag of certificates | RFC 5652, RFC 7030 |
//! | [`ocsp`] | a question after certificates' state, and its answer | RFC 6960 |
//! | [`RevocationList`] | a CRL whose signature was verified | RFC 5280 §5 |
//!
//! ```
//! use vouchsafe_certs::{Permission, PermissionSet};
//!
//! let held: PermissionSet = ["tools:search", "resources:file:///docs/*"]
//!     .into_iter()
//!     .map(Permission::parse)
//!     .collect::<Result<_, _>>()?;
//! assert!(held.allows("tools", "search"));
//! assert!(held.allows("resources", "file:///docs/a.md"));
//! assert!(!held.allows("tools", "delete"));
//! # Ok::<(), vouchsafe_certs::PermissionError>(())
//! ```

mod certificate;
pub mod certs_only;
mod error;
mod extensions;
mod key;
pub mod ocsp;
mod permission;
mod permission_extension;
mod principal;
mod request;
mod revocation;
mod serial;

pub use certificate::{CaCertificate, Certificate, Fingerprint, Usage};
pub use error::{
    CertificateError, KeyError, PermissionError, PrincipalError, RequestError, RevocationError,
    SerialError,
};
pub use key::{KeyType, PrivateKey, PublicKey};
pub use permission::{Permission, PermissionSet};
pub use permission_extension::{MAX_EXTENSION_LEN, MAX_PERMISSIONS, PERMISSION_EXTENSION_OID};
pub use principal::{Principal, TrustDomain};
pub use request::CertificateRequest;
pub use revocation::{
    ListEntry, MAX_LIST_LEN, RevocationDelta, RevocationList, SignedList, UnsignedList,
};
pub use serial::{IssuerId, Serial};
