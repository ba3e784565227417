//! The revocation lists in force, and what they say of a peer.

use std::collections::HashMap;
use std::sync::Arc;

use rustls_pki_types::UnixTime;
use thiserror::Error;
use vouchsafe_certs::{
    CaCertificate, CertificateError, IssuerId, RevocationError, RevocationList, Serial,
};

use crate::{Denial, Peer};

/// The current revocation lists, at most one of each issuer.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Revocations {
    /// What each issuer has revoked.
    Lists(Lists),
    /// The source cannot be read: nobody may enter or stay.
    Unreadable,
    /// The operator has decided not to ask.
    Unchecked,
}

/// One list of each issuer that leads to a trusted root.
#[derive(Debug, Clone, Default)]
pub struct Lists(pub(super) HashMap<IssuerId, Listed>);

/// A list, and whose it is.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    pub(super) list: Arc<RevocationList>,
    /// Kept with the list: what is offered next may not bring it again.
    pub(super) issuer: Arc<CaCertificate>,
}

/// Why revocation lists are not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RevocationsError {
    /// No PEM block `X509 CRL`.
    #[error("there is no revocation list in it")]
    Empty,
    /// A list by someone else, or one that breaks a rule.
    #[error("{0}")]
    List(#[from] RevocationError),
    /// A CA's certificate that breaks a rule.
    #[error("a certificate in it is refused: {0}")]
    Certificate(#[from] CertificateError),
    /// More CAs than anybody has.
    #[error("it holds more than 512 certificates or lists")]
    TooMany,
    /// Two lists of one issuer.
    #[error("it holds two lists of one issuer")]
    Twice,
    /// RFC 5280 §5.2.3: a number lower than the one in force is a replay.
    #[error("its number {found} is lower than {current}, the number of the list in force")]
    Older {
        /// Of the list offered.
        found: u64,
        /// Of the list in force.
        current: u64,
    },
    /// The same number with another content, which no honest CA makes.
    #[error("its number {0} is that of the list in force, but its content is another")]
    SameNumber(u64),
    /// An issuer whose list is in force is missing.
    #[error("there is none in it")]
    Missing,
}

impl Revocations {
    /// The lists, if there are any.
    pub fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        self.listed().map(|listed| &*listed.list)
    }

    /// The lists, each with the CA that signed it.
    pub fn by_issuer(&self) -> impl Iterator<Item = (&CaCertificate, &RevocationList)> {
        self.listed().map(|listed| (&*listed.issuer, &*listed.list))
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = &Listed> {
        let lists = if let Self::Lists(lists) = self { Some(lists.0.values()) } else { None };
        lists.into_iter().flatten()
    }

    pub(super) fn list_of(&self, issuer: &IssuerId) -> Option<&Arc<RevocationList>> {
        let Self::Lists(lists) = self else { return None };
        lists.0.get(issuer).map(|listed| &listed.list)
    }

    /// What is known of the peer's certificates.
    pub(super) fn clear(&self, peer: &Peer, now: UnixTime) -> Result<Cleared, Denial> {
        match self {
            Self::Lists(lists) => lists.clear(peer, now),
            Self::Unreadable => Err(Denial::RevocationListUnreadable),
            Self::Unchecked => Ok(Cleared::UntilExpiry),
        }
    }
}

impl Lists {
    fn clear(&self, peer: &Peer, now: UnixTime) -> Result<Cleared, Denial> {
        // A revoked peer is told so even where a list is old or missing: it does not come back.
        if peer.links.iter().any(|(issuer, serial)| self.revokes(issuer, serial)) {
            return Err(Denial::Revoked);
        }
        let mut is_stale = false;
        let mut until = None;
        for (issuer, _) in &peer.links {
            let list = &self.0.get(issuer).ok_or(Denial::NoRevocationList)?.list;
            is_stale |= list.is_stale(now);
            until = Some(until.unwrap_or(list.next_update).min(list.next_update));
        }
        Ok(match until {
            _ if is_stale => Cleared::Stale,
            Some(next_update) => Cleared::Until(next_update),
            None => Cleared::UntilExpiry,
        })
    }

    /// Whether the issuer's list names this certificate.
    pub(super) fn revokes(&self, issuer: &IssuerId, serial: &Serial) -> bool {
        self.0.get(issuer).is_some_and(|listed| listed.list.revokes(serial))
    }
}

/// How long a peer is known not to be revoked.
pub(super) enum Cleared {
    UntilExpiry,
    Until(UnixTime),
    /// No longer: a list of an issuer on its chain is past its nextUpdate.
    Stale,
}
