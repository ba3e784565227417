//! What a server gives a client to hold, bound to who it was given to.
//!
//! From 2026-07-28 on a server that needs something from its client says `requestState`, and the client
//! sends it back with the next attempt. Many servers write down there what they know, unsigned. So the
//! state leaves the gateway with a mark, and comes back only with the mark of the same principal and the
//! same permissions (MCP 2026-07-28, security best practices: state handles).

use std::fmt;

use aws_lc_rs::hmac;
use vouchsafe_certs::Permission;

use crate::Peer;
use crate::random::{hex, is_same};

/// Octets of a mark.
const MARK_LEN: usize = 16;

/// What comes between a mark and the state.
const END: char = '.';

/// A gateway's own. Another one, after a start for instance, opens nothing that this one has closed.
pub(crate) struct Seal(hmac::Key);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    /// A new one; `None` if the system gives no random octets.
    pub(crate) fn random() -> Option<Self> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        hmac::Key::generate(hmac::HMAC_SHA256, &random).ok().map(Self)
    }

    /// The seal of one principal with these permissions.
    pub(crate) fn of(&self, peer: &Peer) -> OwnSeal {
        self.of_names(peer.principal.as_str(), peer.permissions.iter().map(Permission::as_str))
    }

    pub(super) fn of_names<'a>(
        &self,
        principal: &str,
        permissions: impl Iterator<Item = &'a str>,
    ) -> OwnSeal {
        let mut whose = hmac::Context::with_key(&self.0);
        whose.update(principal.as_bytes());
        for permission in permissions {
            // No name and no pattern holds a control character.
            whose.update(b"\n");
            whose.update(permission.as_bytes());
        }
        OwnSeal(whose.sign())
    }
}

/// What one principal with its permissions opens and closes: the octets of a key, which take a tenth of
/// the room of a key that is ready, and which most sessions never use.
pub(crate) struct OwnSeal(hmac::Tag);

impl fmt::Debug for OwnSeal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnSeal")
    }
}

impl OwnSeal {
    /// The state with its mark.
    pub(super) fn close(&self, state: &str) -> String {
        let mark = self.mark(state);
        format!("{mark}{END}{state}")
    }

    /// The state, if its mark is this one's.
    pub(super) fn open<'s>(&self, closed: &'s str) -> Option<&'s str> {
        let (mark, state) = closed.split_once(END)?;
        is_same(mark, &self.mark(state)).then_some(state)
    }

    fn mark(&self, state: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_ref());
        let tag = hmac::sign(&key, state.as_bytes());
        hex(tag.as_ref().get(..MARK_LEN).unwrap_or_default())
    }
}
