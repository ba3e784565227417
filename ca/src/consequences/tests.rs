//! What the record itself refuses, whoever was let through to it: two requests may have been judged
//! before either was recorded.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use vouchsafe_certs::{
    KeyType, Permission, PermissionSet, Principal, PrivateKey, PublicKey, Serial, TrustDomain,
    Usage,
};

use super::invitations::MAX_INVITATIONS;
use super::{Occurrence, RecordError, consequences};
use crate::invitation::Offer;
use crate::issuer::{Entry, Issuer};
use crate::kind::Kind;
use crate::profile::Planned;
use crate::reason::Reason;
use crate::record::{Event, Origin, Tier};
use crate::refusal::Refusal;
use crate::store::{Change, SledStore, Store};

const NOW: u64 = 1_800_000_000;
const ID: &str = "00112233445566ff";

/// A store, how many events it has seen, the issuing CA, and the root.
struct Memory(SledStore, u64, Issuer, Issuer);

impl Memory {
    fn new() -> Self {
        let trust_domain = TrustDomain::parse("acme.example").unwrap();
        let key = || PrivateKey::generate(KeyType::P256).unwrap();
        let root = Issuer::root(&trust_domain, key(), at(NOW)).unwrap();
        let issuing = root.issuing(&trust_domain, key(), at(NOW)).unwrap();
        let der = |issuer: &Issuer| issuer.certificate().der.to_vec();
        let initialized =
            Event::Initialized { trust_domain, root: der(&root), issuing: der(&issuing) };
        let mut memory = Self(SledStore::temporary().unwrap(), 0, issuing, root);
        memory.take(&initialized).unwrap();
        memory
    }

    fn issuer(&self) -> Serial {
        self.2.certificate().serial
    }

    fn root(&self) -> &Issuer {
        &self.3
    }

    /// Another issuing CA takes the place of the one at work.
    fn rotate(&mut self) {
        let trust_domain = TrustDomain::parse("acme.example").unwrap();
        let key = PrivateKey::generate(KeyType::P256).unwrap();
        self.2 = self.root().issuing(&trust_domain, key, at(NOW)).unwrap();
        let certificate = self.2.certificate().der.to_vec();
        let added = Event::CaAdded { tier: Tier::Issuing, certificate, begins: at(NOW) };
        self.take(&added).unwrap();
    }

    fn take(&mut self, event: &Event) -> Result<(), Refusal> {
        self.take_at(event, NOW)
    }

    fn take_at(&mut self, event: &Event, now: u64) -> Result<(), Refusal> {
        self.1 += 1;
        let occurrence = Occurrence { event, at: at(now), sequence: self.1 };
        match consequences(occurrence, &self.0) {
            Ok(changes) => {
                self.0.replace(&changes).unwrap();
                Ok(())
            }
            Err(RecordError::Refused(refusal)) => Err(refusal),
            Err(RecordError::Store(error)) => panic!("{error}"),
        }
    }

    fn issue(&mut self, planned: &Planned, origin: Origin) -> Result<(), Refusal> {
        let certificate = planned.serial.as_bytes().to_vec();
        let planned = Planned { issuer: self.issuer(), ..planned.clone() };
        self.take(&Event::Issued { planned, certificate, origin })
    }

    fn invite(&mut self, uses: u32) {
        self.try_invite(ID, uses).unwrap();
    }

    fn outstanding(&self) -> u64 {
        let stored = self.0.get("invitations").unwrap().unwrap();
        std::str::from_utf8(&stored).unwrap().parse().unwrap()
    }

    fn set_outstanding(&self, number: u64) {
        let key = "invitations".to_owned();
        let (expected, new) = (self.0.get(&key).unwrap(), number.to_string().into_bytes());
        self.0.replace(&[Change { key, expected, new: Some(new) }]).unwrap();
    }

    fn try_invite(&mut self, id: &str, uses: u32) -> Result<(), Refusal> {
        self.try_invite_at(id, uses, NOW)
    }

    fn try_invite_at(&mut self, id: &str, uses: u32, now: u64) -> Result<(), Refusal> {
        self.try_invite_by(None, id, uses, now)
    }

    fn try_invite_by(
        &mut self,
        inviter: Option<Serial>,
        id: &str,
        uses: u32,
        now: u64,
    ) -> Result<(), Refusal> {
        let offer = Offer {
            principal: principal("a"),
            kind: Kind::Agent,
            permissions: set(&["tools:search"]),
            lifetime: None,
            uses,
            expires_in: "10m".parse().unwrap(),
        };
        let secret_sha256 = String::new();
        self.take_at(&Event::Invited { id: id.into(), secret_sha256, inviter, offer }, now)
    }
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

fn principal(name: &str) -> Principal {
    Principal::parse(&format!("spiffe://acme.example/{name}")).unwrap()
}

fn set(texts: &[&str]) -> PermissionSet {
    texts.iter().map(|text| Permission::parse(text).unwrap()).collect()
}

fn key() -> PublicKey {
    PrivateKey::generate(KeyType::P256).unwrap().public_key().unwrap()
}

fn planned(name: &str, public_key: PublicKey) -> Planned {
    Planned {
        serial: Serial::random().unwrap(),
        issuer: Serial::random().unwrap(),
        principal: principal(name),
        usage: Usage::Agent,
        permissions: set(&["tools:search"]),
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        not_before: at(NOW - 60),
        not_after: at(NOW + 3_600),
        public_key,
    }
}

fn invitation() -> Origin {
    Origin::Invitation(ID.into())
}

#[test]
fn a_use_is_spent_once_however_many_were_let_through() {
    let mut memory = Memory::new();
    memory.invite(2);
    let one = key();
    memory.issue(&planned("a", one.clone()), invitation()).unwrap();
    let again = memory.issue(&planned("a", one), invitation());
    assert_eq!(again, Err(Refusal::AlreadyEnrolled));
    memory.issue(&planned("a", key()), invitation()).unwrap();
    let third = memory.issue(&planned("a", key()), invitation());
    assert_eq!(third, Err(Refusal::InvitationUsed { uses: 2 }));
}

#[test]
fn an_invitation_is_redeemed_for_nothing_but_what_it_promises() {
    let mut memory = Memory::new();
    memory.invite(1);
    let somebody = memory.issue(&planned("b", key()), invitation());
    assert_eq!(somebody, Err(Refusal::OutOfOrder));
    let more = Planned { permissions: set(&["tools:*"]), ..planned("a", key()) };
    assert_eq!(memory.issue(&more, invitation()), Err(Refusal::OutOfOrder));
    let unknown = memory.issue(&planned("a", key()), Origin::Invitation("0".repeat(16)));
    assert_eq!(unknown, Err(Refusal::UnknownInvitation));
    memory.issue(&planned("a", key()), invitation()).unwrap();
}

#[test]
fn a_journal_in_which_an_invitation_outlived_the_ca_of_what_was_shown_is_read_as_it_was_written() {
    let mut memory = Memory::new();
    let (first, shown) = (memory.issuer(), planned("operator", key()));
    memory.issue(&shown, Origin::Order).unwrap();
    memory.try_invite_by(Some(shown.serial), ID, 2, NOW).unwrap();
    memory.rotate();
    let renewed = planned("operator", key());
    memory.issue(&renewed, Origin::Renewal(shown.serial)).unwrap();
    let reason = Reason::KeyCompromise;
    memory.take(&Event::CaRevoked { serial: first, reason }).unwrap();
    memory.issue(&planned("a", key()), invitation()).unwrap();
    // What was asked then is asked still.
    memory.take(&Event::Revoked { serial: renewed.serial, reason }).unwrap();
    let inviter = principal("operator");
    let late = memory.issue(&planned("a", key()), invitation());
    assert_eq!(late, Err(Refusal::InviterRevoked { inviter, reason }));
}

#[test]
fn a_generation_has_one_successor_however_many_were_let_through() {
    let mut memory = Memory::new();
    let first = planned("a", key());
    memory.issue(&first, Origin::Order).unwrap();
    let renewal = || Origin::Renewal(first.serial);
    let foreign = memory.issue(&planned("b", key()), renewal());
    assert_eq!(foreign, Err(Refusal::OutOfOrder));
    let second = planned("a", key());
    memory.issue(&second, renewal()).unwrap();
    let rival = memory.issue(&planned("a", key()), renewal());
    assert_eq!(rival, Err(Refusal::NotNewest(first.serial)));
    memory.issue(&planned("a", key()), Origin::Renewal(second.serial)).unwrap();
}

#[test]
fn a_renewal_that_was_let_through_does_not_outrun_a_revocation() {
    let mut memory = Memory::new();
    let first = planned("a", key());
    memory.issue(&first, Origin::Order).unwrap();
    let reason = Reason::Superseded;
    memory.take(&Event::Revoked { serial: first.serial, reason }).unwrap();
    let late = memory.issue(&planned("a", key()), Origin::Renewal(first.serial));
    assert_eq!(late, Err(Refusal::CertificateRevoked { serial: first.serial, reason }));
}

#[test]
fn theft_is_judged_by_the_newest_generation_or_not_at_all() {
    let mut memory = Memory::new();
    let first = planned("a", key());
    memory.issue(&first, Origin::Order).unwrap();
    let second = planned("a", key());
    memory.issue(&second, Origin::Renewal(first.serial)).unwrap();
    // Whoever saw the first as the newest has judged by what is no longer so.
    let theft = |newest| Event::LineageRevoked {
        lineage: first.serial,
        newest,
        shown: first.serial,
        key_sha256: String::new(),
    };
    let outdated = memory.take(&theft(first.serial));
    assert_eq!(outdated, Err(Refusal::NotNewest(first.serial)));
    memory.take(&theft(second.serial)).unwrap();
}

#[test]
fn what_a_ca_signed_as_it_was_revoked_is_not_recorded() {
    let mut memory = Memory::new();
    let issuer = memory.issuer();
    memory.issue(&planned("a", key()), Origin::Order).unwrap();
    memory.take(&Event::CaRevoked { serial: issuer, reason: Reason::KeyCompromise }).unwrap();
    let late = memory.issue(&planned("a", key()), Origin::Order);
    assert_eq!(late, Err(Refusal::CaGone(issuer)));
    let unknown =
        Event::CaRevoked { serial: Serial::random().unwrap(), reason: Reason::Superseded };
    assert!(matches!(memory.take(&unknown), Err(Refusal::NoSuchCa(_))));
}

#[test]
fn a_ca_does_not_retire_while_a_certificate_of_it_lives_and_signs_nothing_after() {
    let mut memory = Memory::new();
    let issuer = memory.issuer();
    let short = planned("a", key());
    memory.issue(&short, Origin::Order).unwrap();
    let retired = |list: &[u8]| Event::CaRetired { serial: issuer, last_list: list.to_vec() };
    assert_eq!(memory.take_at(&retired(b"list"), NOW + 3_600), Err(Refusal::OutOfOrder));
    // To the hour.
    let hour = (NOW + 3_600).div_ceil(3_600) * 3_600;
    assert_eq!(memory.take_at(&retired(b"list"), hour), Err(Refusal::OutOfOrder));
    assert_eq!(memory.take_at(&retired(b""), hour + 1), Err(Refusal::OutOfOrder));
    memory.take_at(&retired(b"list"), hour + 1).unwrap();
    assert_eq!(memory.take_at(&retired(b"list"), hour + 2), Err(Refusal::OutOfOrder));
    let late = memory.issue(&planned("a", key()), Origin::Order);
    assert_eq!(late, Err(Refusal::CaGone(issuer)));
    let list = Event::ListSigned {
        issuer,
        number: 9,
        this_update: at(NOW),
        next_update: at(NOW + 9),
        sha256: String::new(),
        covers: 0,
        base: None,
    };
    assert_eq!(memory.take(&list), Err(Refusal::CaGone(issuer)));
}

#[test]
fn a_root_does_not_retire_before_those_below_it_or_without_a_word_of_those_it_revoked() {
    let mut memory = Memory::new();
    let (root, issuing) = (memory.root().certificate().serial, memory.issuer());
    let list = |memory: &Memory, entries: &[Entry]| {
        let root = memory.root();
        let until = root.certificate().not_after;
        Event::CaRetired {
            serial: root.certificate().serial,
            last_list: root.sign_list(9, at(NOW), until, entries).unwrap(),
        }
    };
    let named = [Entry::new(issuing, at(NOW), Reason::KeyCompromise)];
    // It still issues.
    let early = memory.take_at(&list(&memory, &[]), NOW + 1);
    assert_eq!(early, Err(Refusal::OutOfOrder));
    let reason = Reason::KeyCompromise;
    memory.take(&Event::CaRevoked { serial: issuing, reason }).unwrap();
    // It is revoked, and its own list is not the last yet.
    let early = memory.take_at(&list(&memory, &named), NOW + 1);
    assert_eq!(early, Err(Refusal::OutOfOrder));
    let retired = Event::CaRetired { serial: issuing, last_list: b"list".to_vec() };
    memory.take_at(&retired, NOW + 1).unwrap();
    let silent = memory.take_at(&list(&memory, &[]), NOW + 2);
    assert_eq!(silent, Err(Refusal::OutOfOrder));
    // Nor is any list that somebody else has signed.
    let strange = Event::CaRetired { serial: root, last_list: b"list".to_vec() };
    assert_eq!(memory.take_at(&strange, NOW + 2), Err(Refusal::OutOfOrder));
    memory.take_at(&list(&memory, &named), NOW + 2).unwrap();
}

#[test]
fn only_invitations_that_can_be_redeemed_are_counted_and_there_is_an_end_to_them() {
    let mut memory = Memory::new();
    let id = |number: u64| format!("{number:016x}");
    for number in 0..4 {
        memory.try_invite(&id(number), 2).unwrap();
    }
    assert_eq!(memory.outstanding(), 4);
    // Taken back, twice; redeemed once and for all.
    for _ in 0..2 {
        memory.take(&Event::Withdrawn { id: id(0) }).unwrap();
    }
    assert_eq!(memory.outstanding(), 3);
    for left in [3, 2] {
        memory.issue(&planned("a", key()), Origin::Invitation(id(1))).unwrap();
        assert_eq!(memory.outstanding(), left);
    }
    memory.take(&Event::Withdrawn { id: id(1) }).unwrap();
    assert_eq!(memory.outstanding(), 2);
    // With the device all of its invitations go.
    let reason = Reason::Unspecified;
    memory.take(&Event::DeviceRevoked { principal: principal("a"), reason }).unwrap();
    assert_eq!(memory.outstanding(), 0);
    memory.take(&Event::Reinstated { principal: principal("a") }).unwrap();
    // What has expired makes room whenever somebody is invited, though it is remembered.
    for number in 4..24 {
        memory.try_invite(&id(number), 1).unwrap();
    }
    memory.set_outstanding(MAX_INVITATIONS);
    let one_more = memory.try_invite(&id(24), 1);
    assert_eq!(one_more, Err(Refusal::TooManyInvitations(MAX_INVITATIONS)));
    memory.try_invite_at(&id(24), 1, NOW + 601).unwrap();
    assert_eq!(memory.outstanding(), MAX_INVITATIONS - 16 + 1);
    // One that was seen to be expired is not counted off twice.
    memory.take_at(&Event::Withdrawn { id: id(4) }, NOW + 602).unwrap();
    assert_eq!(memory.outstanding(), MAX_INVITATIONS - 16 + 1);
}
