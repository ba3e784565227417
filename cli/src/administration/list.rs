//! List certificates, a page at a time.

use std::ops::ControlFlow;

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::{CertificateRecord, Home, Ledger, Lifetime};
use vouchsafe_certs::{Permission, PermissionSet, Serial};

use super::view::{CertificateView, Status, status};
use super::{Operator, Question, Verb, Work};
use crate::context::principal;
use crate::exit::Failure;
use crate::json::as_text_if_any;
use crate::output::{Table, relative};

/// Records that one page looks at: a filter that few pass must not hold up the CA.
const LOOKED_AT: usize = 2_000;

/// Octets of certificates on one page, so that its text fits a message with much to spare.
const PAGE_LEN: usize = 128 * 1024;

/// How much of the permissions a line of the table shows.
const SHOWN_PERMISSIONS_LEN: usize = 60;

/// List certificates.
pub(crate) const LIST: Verb<List, Listed> = Verb {
    name: "list",
    about: "List certificates, a page at a time: ask on with `after` while there is a `next`. \
            Shows those of principals for whom the caller holds ca:list:NAME",
    work: Work::Ledger(list),
    in_words: Listed::in_words,
};

/// Which certificates.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Clone, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    /// Only those of this principal: a name or a whole SPIFFE ID.
    #[serde(default)]
    pub(crate) principal: Option<String>,
    /// Only those in this state.
    #[serde(default)]
    pub(crate) state: Option<State>,
    /// Only those that may be used now and end within this time, such as 12h.
    #[serde(default, with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    pub(crate) expiring: Option<Lifetime>,
    /// Only those that may do this, such as tools:search.
    #[serde(default, with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    pub(crate) may: Option<Permission>,
    /// Only those after this serial number: `next` of the page before.
    #[serde(default, with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    pub(crate) after: Option<Serial>,
}

/// What may be asked of a certificate's state.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It may be used now.
    Active,
    /// It was taken back.
    Revoked,
    /// Its time is over.
    Expired,
}

/// A page of certificates, in the order of their serial numbers.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Listed {
    /// The certificates.
    pub(crate) certificates: Vec<CertificateView>,
    /// Where the next page begins; null on the last.
    #[serde(with = "as_text_if_any")]
    #[schemars(with = "Option<String>")]
    pub(crate) next: Option<Serial>,
}

impl Listed {
    fn in_words(&self, now: UnixTime) -> String {
        let more = match self.next {
            Some(next) => format!("There may be more after {next}.\n"),
            None => String::new(),
        };
        format!("{}{more}", in_words(&self.certificates, now))
    }
}

fn list(_: &Home, ledger: &Ledger, question: &Question<'_, List>) -> Result<Listed, Failure> {
    let Question { ask, by, now } = question;
    by.may_to_some(LIST.name)?;
    let trust_domain = ledger.authority()?.trust_domain;
    let of = ask.principal.as_deref();
    let of = of.map(|name| principal(name, &trust_domain)).transpose()?;
    if let Some(principal) = &of {
        by.may(LIST.name, principal)?;
    }
    let mut page = Page::default();
    ledger.each_certificate(of.as_ref(), ask.after.as_ref(), &mut |record| {
        let shown = is_wanted(&record, ask, *now) && is_seen(&record, by);
        page.turn(&record, shown, *now)
    })?;
    Ok(Listed { certificates: page.certificates, next: page.next })
}

fn is_seen(record: &CertificateRecord, by: &Operator) -> bool {
    by.may(LIST.name, &record.planned.principal).is_ok()
}

#[derive(Default)]
struct Page {
    certificates: Vec<CertificateView>,
    looked_at: usize,
    len: usize,
    next: Option<Serial>,
}

impl Page {
    /// Takes one record into account; breaks when the page is full.
    fn turn(&mut self, record: &CertificateRecord, shown: bool, now: UnixTime) -> ControlFlow<()> {
        self.looked_at += 1;
        if shown {
            self.len += record.certificate.len();
            self.certificates.push(CertificateView::of_record(record, now));
        }
        if self.looked_at < LOOKED_AT && self.len < PAGE_LEN {
            return ControlFlow::Continue(());
        }
        self.next = Some(record.planned.serial);
        ControlFlow::Break(())
    }
}

fn is_wanted(record: &CertificateRecord, ask: &List, now: UnixTime) -> bool {
    let status = status(record, now);
    let not_after = record.planned.not_after;
    let in_state = |state| match state {
        State::Active => status == Status::Valid,
        State::Revoked => status == Status::Revoked,
        State::Expired => now > not_after,
    };
    let ends_within = |time: Lifetime| {
        not_after.as_secs() <= now.as_secs().saturating_add(time.as_duration().as_secs())
    };
    let may = |permission: &Permission| {
        let set: PermissionSet = [permission.clone()].into_iter().collect();
        set.is_within(&record.planned.permissions)
    };
    ask.state.is_none_or(in_state)
        && ask.expiring.is_none_or(|time| status == Status::Valid && ends_within(time))
        && ask.may.as_ref().is_none_or(may)
}

/// A table for people.
pub(crate) fn in_words(certificates: &[CertificateView], now: UnixTime) -> String {
    if certificates.is_empty() {
        return "No certificates.\n".to_owned();
    }
    let mut table = Table::default();
    table.row(["NAME", "KIND", "STATUS", "ENDS", "SERIAL", "MAY"]);
    for view in certificates {
        let state = match &view.revoked {
            Some(revoked) => format!("revoked {}", relative(revoked.at.0, now)),
            None => view.status.word().to_owned(),
        };
        table.row([
            view.principal.name(),
            &view.usage.to_string(),
            &state,
            &relative(view.not_after.0, now),
            &view.serial.to_string(),
            &shortened(&view.permissions),
        ]);
    }
    table.to_text()
}

/// As many permissions as fit a line, and how many more there are.
fn shortened(permissions: &[Permission]) -> String {
    if permissions.is_empty() {
        return "nothing".to_owned();
    }
    let mut text = String::new();
    for (nth, permission) in permissions.iter().enumerate() {
        let permission = permission.as_str();
        if nth > 0 && text.len() + permission.len() > SHOWN_PERMISSIONS_LEN {
            text.push_str(&format!(" +{}", permissions.len() - nth));
            break;
        }
        if nth > 0 {
            text.push(' ');
        }
        text.push_str(permission);
    }
    text
}
