//! What people ask of a CA, in any order, and what they were answered.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use vouchsafe_ca::{Actor, Authority, Error, Inviter, Issued, Outcome, Reason, Refusal};
use vouchsafe_certs::{Certificate, Principal};

use crate::check::Acknowledged;
use crate::enrolment::{offer, redeem, request};
use crate::world::{World, principal, reason};

/// Something that somebody asks of the CA.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Issue(u8),
    RevokeLast(u8),
    RevokeDevice(u8),
    Reinstate(u8),
    /// Invite, and redeem at once.
    Enroll(u8),
    /// Renew the latest certificate that was handed out.
    RenewLast,
    /// The same, and once more by somebody with a copy.
    StealLast,
    RevokeEverything(u8),
    Publish,
    Wait(u8),
}

/// One of everything, in an order in which each has something to do.
pub(crate) const STORY: [Act; 13] = [
    Act::Issue(0),
    Act::Enroll(1),
    Act::RenewLast,
    Act::RevokeLast(4),
    Act::Enroll(2),
    Act::Publish,
    Act::Wait(13),
    Act::StealLast,
    Act::Issue(0),
    Act::RevokeDevice(0),
    Act::Reinstate(0),
    Act::Issue(0),
    Act::RevokeEverything(3),
];

/// Does it, and notes what was acknowledged.
pub(crate) fn perform(act: Act, authority: &Authority, world: &World) -> Result<(), Error> {
    match act {
        Act::Issue(nth) => {
            let order = world.order(&format!("device-{nth}"));
            handed_out(world, &authority.issue(&Actor::Home, order)?);
        }
        Act::Enroll(nth) => {
            let invited = authority.invite(&Inviter::Home, offer(&format!("device-{nth}")))?;
            handed_out(world, &redeem(authority, &invited, &request())?);
        }
        Act::RenewLast => {
            renew(authority, world)?;
        }
        Act::StealLast => steal(authority, world)?,
        Act::RevokeEverything(nth) => {
            let soon = Duration::from_secs(world.clock.now().as_secs() + 1);
            let soon = UnixTime::since_unix_epoch(soon);
            let sweep = authority.revoke_issued_before(&Actor::Home, None, soon, tame(nth))?;
            world.note(|noted| {
                // Whatever was issued by a clock that ran ahead is not meant.
                let swept = authority.look_up(|ledger| ledger.certificates())?;
                let swept = swept.iter().filter(|record| record.revoked.is_some());
                noted.revoked.extend(swept.map(|record| record.planned.serial));
                noted.told(sweep.list.number);
                Ok::<(), Error>(())
            })?;
        }
        Act::RevokeLast(nth) => {
            let last = world.note(|noted| noted.issued.last().map(|(serial, _)| *serial));
            let Some(serial) = last else { return Ok(()) };
            let outcome = authority.revoke(&Actor::Home, &serial, tame(nth))?;
            world.note(|noted| noted.revoked.push(serial));
            revoked(world, &outcome);
        }
        Act::RevokeDevice(nth) => {
            let outcome = authority.revoke_device(&Actor::Home, &device(nth), tame(nth))?;
            revoked(world, &outcome);
        }
        Act::Reinstate(nth) => revoked(world, &authority.reinstate(&Actor::Home, &device(nth))?),
        Act::Publish => {
            let number = authority.publish(&Actor::Home)?.number;
            world.note(|noted| noted.told(number));
        }
        Act::Wait(hours) => world.clock.advance(u64::from(hours) * 3_600),
    }
    Ok(())
}

fn handed_out(world: &World, issued: &Issued) {
    let leaf = (issued.certificate.serial, issued.chain[0].to_vec());
    world.note(|noted| noted.issued.push(leaf));
}

fn revoked(world: &World, outcome: &Outcome) {
    world.note(|noted| {
        let revoked = outcome.certificates.iter().filter(|record| record.revoked.is_some());
        noted.revoked.extend(revoked.map(|record| record.planned.serial));
        noted.told(outcome.list.number);
    });
}

/// The latest certificate that was handed out.
fn last(world: &World) -> Option<Certificate> {
    let last = world.note(|noted: &mut Acknowledged| noted.issued.last().cloned());
    last.map(|(_, der)| Certificate::from_der(&der).unwrap())
}

/// Renews it, for another key.
fn renew(authority: &Authority, world: &World) -> Result<Option<Issued>, Error> {
    let Some(last) = last(world) else { return Ok(None) };
    let renewed = authority.renew(&last, &request())?;
    handed_out(world, &renewed);
    Ok(Some(renewed))
}

fn steal(authority: &Authority, world: &World) -> Result<(), Error> {
    let Some(copied) = last(world) else { return Ok(()) };
    let Some(renewed) = renew(authority, world)? else { return Ok(()) };
    let caught = authority.renew(&copied, &request()).unwrap_err();
    if matches!(caught, Error::Refused(Refusal::Stolen { .. })) {
        world.note(|noted| noted.revoked.extend([copied.serial, renewed.certificate.serial]));
        return Ok(());
    }
    Err(caught)
}

fn device(nth: u8) -> Principal {
    principal(&format!("device-{nth}"))
}

/// All devices here share one key, which must stay usable.
fn tame(nth: u8) -> Reason {
    match reason(usize::from(nth)) {
        Reason::KeyCompromise => Reason::Superseded,
        reason => reason,
    }
}
