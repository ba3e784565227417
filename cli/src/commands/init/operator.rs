//! The first operator: somebody must be able to ask the CA's service for the others.

use vouchsafe_ca::{Actor, Authority, Kind, Order};
use vouchsafe_certs::{Certificate, KeyType, Permission, PrivateKey};

use crate::exit::Failure;
use crate::keyfile::{Destination, Papers};

/// The first operator's name in the trust domain.
const NAME: &str = "operator";

/// Issues the first operator's certificate, for everything and for as long as `ca.toml` allows, and
/// writes the identity. The passphrase that protects the CA's keys protects this one too.
pub(super) fn issue(
    authority: &Authority,
    destination: &Destination,
    key_type: KeyType,
    passphrase: Option<&[u8]>,
) -> Result<Certificate, Failure> {
    let key = PrivateKey::generate(key_type).map_err(vouchsafe_ca::Error::from)?;
    let config = authority.home().config();
    let order = Order {
        principal: config.trust_domain.principal(NAME).map_err(Failure::new)?,
        kind: Kind::Agent,
        permissions: Permission::parse("*:*").into_iter().collect(),
        lifetime: Some(config.lifetimes.longest),
        public_key: key.public_key().map_err(vouchsafe_ca::Error::from)?,
    };
    let issued = authority.issue(&Actor::Home, order)?;
    destination.write_sealed(&Papers::of(&issued), &key, passphrase)?;
    Ok(issued.certificate)
}
