//! Invite somebody to enrol, see who was invited, and take an invitation back.

use std::ops::ControlFlow;

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::{
    Authority, Grant, Home, InvitationRecord, InvitationState, Ledger, Lifetime, Offer, Refusal,
    Tier,
};
use vouchsafe_certs::{Fingerprint, Permission, Principal};

use super::issue::{ServerNames, granted};
use super::{Question, Verb, Work};
use crate::context::principal;
use crate::exit::Failure;
use crate::invitation::{Invitation, is_address};
use crate::json::{Moment, as_text, as_text_if_any, as_texts};
use crate::output::{Sheet, Table, count, date, relative};

/// Where the public listener of a CA is if nobody says otherwise.
pub(crate) const PUBLIC_PORT: u16 = 8445;

/// Invitations on one page.
const PAGE: usize = 500;

/// Invite.
pub(crate) const INVITE: Verb<Invite, Invited> = Verb {
    name: "invite",
    about: "Invite a device to enrol: the answer holds one line with a secret, to be handed to the \
            device. Needs ca:invite:NAME, for a server ca:dns:HOST or ca:ip:ADDRESS of each of its \
            names, and every permission that is granted",
    work: Work::Authority(invite),
    in_words: Invited::in_words,
};

/// Take an invitation back.
pub(crate) const WITHDRAW: Verb<Withdraw, InvitationView> = Verb {
    name: "withdraw",
    about: "Take an invitation back; certificates it was redeemed for stay as they are. \
            Needs ca:invite:NAME",
    work: Work::Authority(withdraw),
    in_words: InvitationView::in_words,
};

/// See who was invited.
pub(crate) const INVITATIONS: Verb<Invitations, Invitees> = Verb {
    name: "invitations",
    about: "List invitations, a page at a time: ask on with `after` while there is a `next`. \
            Shows those for principals for whom the caller holds ca:invite:NAME",
    work: Work::Ledger(invitations),
    in_words: Invitees::in_words,
};

/// For whom, what for, and for how long.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invite {
    /// For whom: a name such as team-a/build-7, or a whole SPIFFE ID.
    pub(crate) name: String,
    /// What it may do, kind:pattern each, such as tools:search.
    #[serde(default, with = "as_texts")]
    #[schemars(with = "Vec<String>")]
    pub(crate) allow: Vec<Permission>,
    /// Roles of the CA's ca.toml, for everything they allow.
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    /// How long its certificates live, such as 30m, 24h or 7d; if absent, as ca.toml and the roles have it.
    #[serde(default, with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    pub(crate) ttl: Option<Lifetime>,
    /// For a gateway: the names that its clients dial. Absent for an agent.
    #[serde(default)]
    pub(crate) server: Option<ServerNames>,
    /// How many keys may enrol with it.
    pub(crate) uses: u32,
    /// How long it can be redeemed, such as 10m.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    pub(crate) expires: Lifetime,
    /// Where the device finds the CA's public listener, HOST:PORT.
    pub(crate) address: String,
}

/// Which invitation to take back.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Withdraw {
    /// Its id, as `invitations` shows it.
    pub(crate) id: String,
}

/// Which invitations to list.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Clone, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invitations {
    /// Only those after this id: `next` of the page before.
    #[serde(default)]
    pub(crate) after: Option<String>,
}

/// A new invitation.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Invited {
    /// The line to hand to the device. It holds a secret, which nobody can show again.
    pub(crate) invitation: String,
    /// What it promises.
    #[serde(flatten)]
    pub(crate) view: InvitationView,
}

/// An invitation in JSON. Members are added over time, never renamed or removed.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct InvitationView {
    /// Names it; no secret.
    pub(crate) id: String,
    /// For whom.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    pub(crate) principal: Principal,
    /// `agent` or `server`.
    pub(crate) usage: String,
    /// What it may do, `kind:pattern`, sorted.
    #[serde(with = "as_texts")]
    #[schemars(with = "Vec<String>")]
    pub(crate) permissions: Vec<Permission>,
    /// `open`, `used`, `withdrawn`, `expired`, or `void` if whoever made it was revoked since.
    pub(crate) state: String,
    /// How many keys may enrol with it.
    pub(crate) uses: u32,
    /// How many have.
    pub(crate) used: u32,
    /// When it was made.
    pub(crate) invited_at: Moment,
    /// The last second in which it can be redeemed.
    pub(crate) expires_at: Moment,
}

/// A page of invitations, in the order of their ids.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Invitees {
    /// The invitations, those that are over for less than a week included.
    pub(crate) invitations: Vec<InvitationView>,
    /// Where the next page begins; null on the last.
    pub(crate) next: Option<String>,
}

fn invite(authority: &Authority, question: &Question<'_, Invite>) -> Result<Invited, Failure> {
    let Question { ask, by, now } = question;
    let config = authority.home().config();
    let principal = principal(&ask.name, &config.trust_domain)?;
    by.may(INVITE.name, &principal)?;
    let granted = granted(config, principal.name(), &ask.roles, &ask.allow, ask.ttl)?;
    let Grant { permissions, ttl: lifetime, .. } = granted;
    by.may_grant(&permissions)?;
    let kind = ServerNames::kind(ask.server.as_ref());
    by.may_name(&kind)?;
    if !is_address(&ask.address) {
        return Err(Failure::usage(format!("{} is no address: write HOST:PORT", ask.address)));
    }
    let (uses, expires_in) = (ask.uses, ask.expires);
    let offer = Offer { principal, kind, permissions, lifetime, uses, expires_in };
    let invited = authority.invite(&by.inviter(), offer)?;
    let record = authority.look_up(|ledger| ledger.invitation(&invited.id))?;
    let record = record.ok_or_else(|| Refusal::NoSuchInvitation(invited.id.clone()))?;
    let line = Invitation {
        root: Fingerprint::of(&authority.certificate(Tier::Root)?.der),
        address: ask.address.clone(),
        id: invited.id,
        secret: invited.secret.expose().to_owned().into(),
    };
    let invitation = line.to_text().as_str().to_owned();
    Ok(Invited { invitation, view: InvitationView::of(&record, *now) })
}

fn withdraw(
    authority: &Authority,
    question: &Question<'_, Withdraw>,
) -> Result<InvitationView, Failure> {
    let Question { ask: Withdraw { id }, by, now } = question;
    by.may_to_some(INVITE.name)?;
    let found = authority.look_up(|ledger| ledger.invitation(id))?;
    // One that is for somebody else is as if it were not there.
    let found = found.filter(|found| by.may(INVITE.name, &found.offer.principal).is_ok());
    found.ok_or_else(|| Refusal::NoSuchInvitation(id.clone()))?;
    Ok(InvitationView::of(&authority.withdraw(&by.actor(), id)?, *now))
}

fn invitations(
    _: &Home,
    ledger: &Ledger,
    question: &Question<'_, Invitations>,
) -> Result<Invitees, Failure> {
    let Question { ask, by, now } = question;
    by.may_to_some(INVITE.name)?;
    let (mut found, mut looked_at, mut next) = (Vec::new(), 0, None);
    ledger.each_invitation(ask.after.as_deref(), &mut |record| {
        looked_at += 1;
        if by.may(INVITE.name, &record.offer.principal).is_ok() {
            found.push(record.clone());
        }
        if looked_at < PAGE {
            return ControlFlow::Continue(());
        }
        next = Some(record.id);
        ControlFlow::Break(())
    })?;
    let mut invitations = Vec::with_capacity(found.len());
    for record in found {
        let mut view = InvitationView::of(&record, *now);
        if record.state(*now) == InvitationState::Open && ledger.is_void(&record)? {
            view.state = "void".to_owned();
        }
        invitations.push(view);
    }
    Ok(Invitees { invitations, next })
}

impl InvitationView {
    fn of(record: &InvitationRecord, now: UnixTime) -> Self {
        let InvitationRecord { id, offer, invited_at, expires_at, used, .. } = record;
        Self {
            id: id.clone(),
            principal: offer.principal.clone(),
            usage: offer.kind.usage().to_string(),
            permissions: offer.permissions.iter().cloned().collect(),
            state: record.state(now).to_string(),
            uses: offer.uses,
            used: *used,
            invited_at: Moment(*invited_at),
            expires_at: Moment(*expires_at),
        }
    }

    pub(crate) fn in_words(&self, now: UnixTime) -> String {
        let headline = format!("Invitation {} of {} is {}", self.id, self.principal, self.state);
        format!("{headline}\n{}", self.sheet(now).to_text())
    }

    pub(crate) fn sheet(&self, now: UnixTime) -> Sheet {
        let mut sheet = Sheet::default();
        if self.permissions.is_empty() {
            sheet.line("may", "nothing");
        }
        sheet.lines("may", self.permissions.iter().map(ToString::to_string));
        let expires_at = self.expires_at.0;
        let until = format!("{} ({})", date(expires_at), relative(expires_at, now));
        sheet.line("until", &until);
        let uses = format!("{} of {}", self.used, count(u64::from(self.uses), "key"));
        sheet.line("used by", &uses);
        sheet
    }
}

impl Invited {
    fn in_words(&self, now: UnixTime) -> String {
        let headline = format!("Invited {}", self.view.principal);
        format!("{headline}\n{}\n{}\n", self.view.sheet(now).to_text(), self.invitation)
    }
}

impl Invitees {
    fn in_words(&self, now: UnixTime) -> String {
        let more = match &self.next {
            Some(next) => format!("There may be more after {next}.\n"),
            None => String::new(),
        };
        format!("{}{more}", in_words(&self.invitations, now))
    }
}

/// A table of invitations.
pub(crate) fn in_words(invitations: &[InvitationView], now: UnixTime) -> String {
    if invitations.is_empty() {
        return "No invitations.\n".to_owned();
    }
    let mut table = Table::default();
    table.row(["ID", "NAME", "KIND", "STATE", "USED", "ENDS"]);
    for view in invitations {
        table.row([
            &view.id,
            view.principal.name(),
            &view.usage,
            &view.state,
            &format!("{}/{}", view.used, view.uses),
            &relative(view.expires_at.0, now),
        ]);
    }
    table.to_text()
}
