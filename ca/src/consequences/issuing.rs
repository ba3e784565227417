//! A certificate was issued: what must be so, and what is so from then on.

use rustls_pki_types::UnixTime;
use vouchsafe_certs::{Fingerprint, Permission, PermissionSet, Principal, Serial};

use super::{
    Draft, RecordError, certificate_key, compromised_key, device_key, fingerprint_key,
    holder_prefix, invitation_key, lineage_key, parse, read_newest, redeemed_key, revoked_key,
    serial_from,
};
use crate::invitation::{InvitationRecord, InvitationState};
use crate::profile::Planned;
use crate::record::{CertificateRecord, DeviceRecord, Origin, Revocation};
use crate::refusal::Refusal;

/// Where a certificate stands in its lineage.
struct Place {
    lineage: Serial,
    generation: u32,
    succeeds: Option<Serial>,
}

impl Draft<'_> {
    pub(super) fn issued(
        &mut self,
        planned: &Planned,
        certificate: &[u8],
        origin: &Origin,
        at: UnixTime,
    ) -> Result<(), RecordError> {
        let Planned { serial, principal, public_key, .. } = planned;
        self.demand_admission(principal, &planned.permissions)?;
        let compromised = compromised_key(public_key);
        if let Some(by) = self.store.get(&compromised)? {
            let serial = serial_from(&compromised, &by)?;
            return Err(Refusal::KeyCompromised { serial }.into());
        }
        self.demand(compromised, None);
        self.signed_by_ca(planned)?;
        let begins = Place { lineage: *serial, generation: 0, succeeds: None };
        let Place { lineage, generation, succeeds } = match origin {
            Origin::Order => begins,
            Origin::Invitation(id) => {
                self.redeem(id, planned, at)?;
                begins
            }
            Origin::Renewal(of) => self.succeed(of, planned, at)?,
        };
        self.put(format!("{}{serial}", holder_prefix(principal)), None, Vec::new());
        let fingerprint = fingerprint_key(&Fingerprint::of(certificate));
        self.put(fingerprint, None, serial.to_string().into_bytes());
        let record = CertificateRecord {
            planned: planned.clone(),
            issued_at: at,
            certificate: certificate.to_vec(),
            lineage,
            generation,
            succeeds,
            revoked: None,
        };
        self.create(certificate_key(serial), &record)
    }

    /// A device that is revoked gets nothing, one that is limited nothing beyond its limit.
    pub(super) fn demand_admission(
        &mut self,
        principal: &Principal,
        permissions: &PermissionSet,
    ) -> Result<(), RecordError> {
        let key = device_key(principal);
        let stored = self.store.get(&key)?;
        if let Some(stored) = &stored {
            let DeviceRecord { principal, revoked, limit } = parse(&key, stored)?;
            if let Some(revoked) = revoked {
                return Err(Refusal::DeviceRevoked { principal, reason: revoked.reason }.into());
            }
            let lies_beyond = |asked: &&Permission| {
                let asked: PermissionSet = [(*asked).clone()].into_iter().collect();
                limit.as_ref().is_some_and(|limit| !asked.is_within(limit))
            };
            let beyond = permissions.iter().find(lies_beyond);
            if let Some(permission) = beyond.cloned() {
                return Err(Refusal::BeyondLimit { principal, permission }.into());
            }
        }
        self.demand(key, stored);
        Ok(())
    }

    /// Spends one use of an invitation.
    fn redeem(&mut self, id: &str, planned: &Planned, at: UnixTime) -> Result<(), RecordError> {
        let key = invitation_key(id);
        let stored = self.store.get(&key)?.ok_or(Refusal::UnknownInvitation)?;
        let invitation: InvitationRecord = parse(&key, &stored)?;
        let redeemed = redeemed_key(id, &planned.public_key);
        if self.store.get(&redeemed)?.is_some() {
            return Err(Refusal::AlreadyEnrolled.into());
        }
        invitation.demand_open(at)?;
        self.demand_inviter(&invitation)?;
        let offer = &invitation.offer;
        if offer.principal != planned.principal
            || !planned.permissions.is_within(&offer.permissions)
        {
            return Err(Refusal::OutOfOrder.into());
        }
        let used = invitation.used.saturating_add(1);
        if used >= invitation.offer.uses {
            self.close(&invitation)?;
        }
        let spent = InvitationRecord { used, ..invitation };
        self.put(key, Some(stored), super::encode(&spent)?);
        self.put(redeemed, None, planned.serial.to_string().into_bytes());
        Ok(())
    }

    /// Takes the place of the newest certificate of a lineage.
    fn succeed(
        &mut self,
        of: &Serial,
        planned: &Planned,
        at: UnixTime,
    ) -> Result<Place, RecordError> {
        let held = self.certificate(of)?;
        held.demand_renewable(self.ca(&held.planned.issuer)?.revoked, at)?;
        if held.planned.principal != planned.principal {
            return Err(Refusal::OutOfOrder.into());
        }
        let lineage = held.lineage;
        if read_newest(self.store, &lineage)? != *of {
            return Err(Refusal::NotNewest(*of).into());
        }
        self.demand(revoked_key(of), None);
        let key = lineage_key(&lineage);
        let expected = self.store.get(&key)?;
        self.put(key, expected, planned.serial.to_string().into_bytes());
        let generation = held.generation.saturating_add(1);
        Ok(Place { lineage, generation, succeeds: Some(*of) })
    }
}

impl InvitationRecord {
    /// Whether it can be redeemed, and if not, why not.
    pub(crate) fn demand_open(&self, now: UnixTime) -> Result<(), Refusal> {
        match self.state(now) {
            InvitationState::Open => Ok(()),
            InvitationState::Used => Err(Refusal::InvitationUsed { uses: self.offer.uses }),
            InvitationState::Expired => Err(Refusal::InvitationExpired { at: self.expires_at }),
            InvitationState::Withdrawn => {
                let at = self.withdrawn_at.unwrap_or(self.expires_at);
                Err(Refusal::InvitationWithdrawn { at })
            }
        }
    }
}

impl CertificateRecord {
    /// Whether a certificate still counts, so that it can be renewed, and if not, why not. `issuer` is
    /// what is known of a revocation of the issuing CA that signed it.
    pub(crate) fn demand_renewable(
        &self,
        issuer: Option<Revocation>,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let serial = self.planned.serial;
        if let Some(revoked) = self.revoked.or(issuer) {
            return Err(Refusal::CertificateRevoked { serial, reason: revoked.reason });
        }
        if now > self.planned.not_after {
            return Err(Refusal::CertificateExpired { serial, at: self.planned.not_after });
        }
        Ok(())
    }
}
