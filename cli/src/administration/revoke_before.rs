//! Revoke everything that was issued before a point in time.

use std::time::Duration;

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::{Authority, Reason};
use vouchsafe_certs::Principal;

use super::revoke::REVOKE;
use super::{Question, Verb, Work};
use crate::context::principal;
use crate::exit::Failure;
use crate::json::{Moment, as_text, as_text_if_any};
use crate::output::{Sheet, count, date};

/// Take back by date.
pub(crate) const REVOKE_BEFORE: Verb<RevokeBefore, RevokedBefore> = Verb {
    name: "revoke-before",
    about: "Revoke every certificate issued before a point in time and withdraw every invitation \
            made before it, of one device or of everybody. When this answers, the list that says so \
            is published. Needs ca:revoke:NAME, for everybody ca:revoke:*",
    work: Work::Authority(revoke_before),
    in_words: RevokedBefore::in_words,
};

/// Before when, whose, and why.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeBefore {
    /// A point in time that is past; absent: everything issued so far.
    #[serde(default)]
    pub(crate) issued_before: Option<Moment>,
    /// Only what was issued to this device: a name or a whole SPIFFE ID.
    #[serde(default)]
    pub(crate) principal: Option<String>,
    /// Why: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn.
    #[serde(default, with = "as_text")]
    #[schemars(with = "String")]
    pub(crate) reason: Reason,
}

/// What came of it.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct RevokedBefore {
    /// The device, if it was for one alone.
    #[serde(with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    device: Option<Principal>,
    /// Before when.
    issued_before: Moment,
    /// Why.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    reason: Reason,
    /// How many certificates this revoked that would still count.
    revoked: u64,
    /// How many invitations this withdrew.
    withdrawn: u64,
    /// The number of the revocation list that says so.
    list: u64,
    /// Where the CA publishes it.
    crl: String,
}

fn revoke_before(
    authority: &Authority,
    question: &Question<'_, RevokeBefore>,
) -> Result<RevokedBefore, Failure> {
    let Question { ask, by, now } = question;
    let device = ask.principal.as_deref();
    let trust_domain = &authority.home().config().trust_domain;
    let device = device.map(|name| principal(name, trust_domain)).transpose()?;
    match &device {
        Some(device) => by.may(REVOKE.name, device)?,
        None => by.may_to_all(REVOKE.name)?,
    }
    // What was issued within this second is dated back to its beginning.
    let so_far = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + 1));
    let before = ask.issued_before.map_or(so_far, |moment| moment.0);
    let sweep = authority.revoke_issued_before(&by.actor(), device.as_ref(), before, ask.reason)?;
    Ok(RevokedBefore {
        device,
        issued_before: Moment(before),
        reason: ask.reason,
        revoked: sweep.certificates,
        withdrawn: sweep.invitations,
        list: sweep.list.number,
        crl: by.place(authority.home(), &authority.home().lists_path()),
    })
}

impl RevokedBefore {
    pub(crate) fn in_words(&self, _: UnixTime) -> String {
        let whose = match &self.device {
            Some(device) => format!("of {device} "),
            None => String::new(),
        };
        let headline = format!(
            "Revoked everything {whose}issued before {} ({}): {}, {}",
            date(self.issued_before.0),
            self.reason,
            count(self.revoked, "certificate"),
            count(self.withdrawn, "invitation"),
        );
        let mut sheet = Sheet::default();
        sheet.line("list", &format!("number {} in {}", self.list, self.crl));
        format!("{headline}\n{}", sheet.to_text())
    }
}
