//! An invitation was made or taken back.

use std::ops::ControlFlow;

use rustls_pki_types::UnixTime;
use vouchsafe_certs::Principal;

use super::{
    Draft, INVITATION_COUNT, RecordError, invitation_key, invited_prefix, parse, read, suffixes,
};
use crate::invitation::{InvitationRecord, Offer};
use crate::refusal::Refusal;

/// How many invitations there are at most, those included that are over and not forgotten yet.
const MAX_INVITATIONS: u64 = 100_000;

/// How long an invitation that is over is remembered, in seconds: so long there is an answer that
/// says why it is refused, and the same answer for a device that asks once more.
const REMEMBERED: u64 = 7 * 86_400;

/// How many are forgotten at once. More than come with it, so that they cannot pile up.
const FORGOTTEN_AT_ONCE: usize = 16;

fn expiring_key(invitation: &InvitationRecord) -> String {
    // The digits keep the order.
    format!("{EXPIRING}{:020}/{}", invitation.expires_at.as_secs(), invitation.id)
}

const EXPIRING: &str = "expiring/";

impl Draft<'_> {
    pub(super) fn invited(
        &mut self,
        id: &str,
        secret_sha256: &str,
        offer: &Offer,
        at: UnixTime,
    ) -> Result<(), RecordError> {
        self.demand_admission(&offer.principal, &offer.permissions)?;
        let forgotten = self.forget(at)?;
        let count: u64 = read(self.store, INVITATION_COUNT)?.unwrap_or_default();
        let count = count.saturating_sub(forgotten);
        if count >= MAX_INVITATIONS {
            return Err(Refusal::TooManyInvitations(count).into());
        }
        let invitation = InvitationRecord {
            id: id.to_owned(),
            offer: offer.clone(),
            secret_sha256: secret_sha256.to_owned(),
            invited_at: at,
            expires_at: offer.expires_at(at),
            used: 0,
            withdrawn_at: None,
        };
        self.set(INVITATION_COUNT.to_owned(), &(count + 1))?;
        self.put(format!("{}{id}", invited_prefix(&offer.principal)), None, Vec::new());
        self.put(expiring_key(&invitation), None, Vec::new());
        self.create(invitation_key(id), &invitation)
    }

    /// Forgets some that have been over for long, the oldest first.
    fn forget(&mut self, at: UnixTime) -> Result<u64, RecordError> {
        let mut over = Vec::new();
        self.store.scan(EXPIRING, &mut |key, _| {
            let parts = key.strip_prefix(EXPIRING).and_then(|rest| rest.split_once('/'));
            let parts = parts.and_then(|(seconds, id)| Some((seconds.parse::<u64>().ok()?, id)));
            match parts {
                Some((seconds, id))
                    if over.len() < FORGOTTEN_AT_ONCE
                        && seconds.saturating_add(REMEMBERED) < at.as_secs() =>
                {
                    over.push((key.to_owned(), id.to_owned()));
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Break(()),
            }
        })?;
        let mut forgotten = 0;
        for (key, id) in over {
            let (_, invitation) = self.invitation(&id)?;
            self.remove(key)?;
            self.remove(format!("{}{id}", invited_prefix(&invitation.offer.principal)))?;
            let redeemed = format!("redeemed/{id}/");
            for key in suffixes(self.store, &redeemed)? {
                self.remove(format!("{redeemed}{key}"))?;
            }
            self.remove(invitation_key(&id))?;
            forgotten += 1;
        }
        Ok(forgotten)
    }

    /// Takes an invitation back, if that still means something.
    pub(super) fn withdraw(&mut self, id: &str, at: UnixTime) -> Result<(), RecordError> {
        let (stored, invitation) = self.invitation(id)?;
        if invitation.withdrawn_at.is_some() || invitation.used >= invitation.offer.uses {
            return Ok(());
        }
        let withdrawn = InvitationRecord { withdrawn_at: Some(at), ..invitation };
        self.put(invitation_key(id), Some(stored), super::encode(&withdrawn)?);
        Ok(())
    }

    /// Takes back what was promised to a device.
    pub(super) fn withdraw_all_of(
        &mut self,
        principal: &Principal,
        at: UnixTime,
    ) -> Result<(), RecordError> {
        for id in suffixes(self.store, &invited_prefix(principal))? {
            self.withdraw(&id, at)?;
        }
        Ok(())
    }

    fn invitation(&self, id: &str) -> Result<(Vec<u8>, InvitationRecord), RecordError> {
        let key = invitation_key(id);
        let no_such = || Refusal::NoSuchInvitation(id.to_owned());
        let stored = self.store.get(&key)?.ok_or_else(no_such)?;
        let invitation = parse(&key, &stored)?;
        Ok((stored, invitation))
    }
}
