//! Limit what a device may do, from its next certificate on.

use std::fmt;

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::{Authority, Home, Ledger};
use vouchsafe_certs::{Permission, PermissionSet, Principal};

use super::{Question, Verb, Work};
use crate::context::principal;
use crate::exit::Failure;
use crate::json::{as_text, as_texts};

/// Limit a device.
pub(crate) const LIMIT: Verb<Limit, Limited> = Verb {
    name: "limit",
    about: "Limit what a device may do from its next certificate on: renewals and enrolments are \
            narrowed to it, and nothing beyond it is issued. Without `allow` the limit is lifted. \
            Needs ca:limit:NAME, and every permission of the limit",
    work: Work::Authority(limit),
    in_words: Limited::in_words,
};

/// See a device's limit.
pub(crate) const SHOW_LIMIT: Verb<ShowLimit, Limited> = Verb {
    name: "show-limit",
    about: "Show what a device may do at most. Needs ca:limit:NAME",
    work: Work::Ledger(show_limit),
    in_words: Limited::as_it_is,
};

/// Whose limit to show.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowLimit {
    /// Its name or SPIFFE ID.
    pub(crate) device: String,
}

/// Which device, and what it may do at most.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    /// Its name or SPIFFE ID.
    pub(crate) device: String,
    /// What it may do at most, kind:pattern each; absent: whatever it is granted.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub(crate) allow: Option<Allowed>,
}

/// Permissions as the list of their texts.
#[derive(Serialize, Deserialize, Debug)]
#[serde(transparent)]
pub(crate) struct Allowed(#[serde(with = "as_texts")] pub(crate) Vec<Permission>);

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(Permission::as_str).collect();
        f.write_str(if texts.is_empty() { "nothing" } else { "" })?;
        f.write_str(&texts.join(" "))
    }
}

/// What came of it.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Limited {
    /// The device.
    #[serde(with = "as_text")]
    #[schemars(with = "String")]
    device: Principal,
    /// Whether it was limited otherwise before.
    changed: bool,
    /// What it may do at most; null: whatever it is granted.
    #[schemars(with = "Option<Vec<String>>")]
    allow: Option<Allowed>,
}

fn limit(authority: &Authority, question: &Question<'_, Limit>) -> Result<Limited, Failure> {
    let Question { ask, by, .. } = question;
    let device = principal(&ask.device, &authority.home().config().trust_domain)?;
    by.may(LIMIT.name, &device)?;
    let limit = ask.allow.as_ref();
    let limit: Option<PermissionSet> = limit.map(|allow| allow.0.iter().cloned().collect());
    // A limit is never more than what is granted elsewhere; still, whoever raises one hands on.
    by.may_grant(&limit.clone().unwrap_or_else(everything))?;
    let changed = authority.limit(&by.actor(), &device, limit.clone())?;
    let allow = limit.map(|limit| Allowed(limit.iter().cloned().collect()));
    Ok(Limited { device, changed, allow })
}

fn show_limit(
    home: &Home,
    ledger: &Ledger,
    question: &Question<'_, ShowLimit>,
) -> Result<Limited, Failure> {
    let device = principal(&question.ask.device, &home.config().trust_domain)?;
    question.by.may(LIMIT.name, &device)?;
    let limit = ledger.device(&device)?.and_then(|record| record.limit);
    let allow = limit.map(|limit| Allowed(limit.iter().cloned().collect()));
    Ok(Limited { device, changed: false, allow })
}

/// What a device without a limit may be granted.
fn everything() -> PermissionSet {
    Permission::parse("*:*").into_iter().collect()
}

impl Limited {
    pub(crate) fn as_it_is(&self, _: UnixTime) -> String {
        let device = &self.device;
        match &self.allow {
            None => format!("{device} has no limit: it may do what it is granted\n"),
            Some(allow) => format!("{device} may do at most: {allow}\n"),
        }
    }

    pub(crate) fn in_words(&self, _: UnixTime) -> String {
        let Self { device, changed, allow } = self;
        match (allow, changed) {
            (_, false) => format!("{device} is limited so already; nothing to do\n"),
            (None, true) => {
                format!("Lifted the limit of {device}: its next renewal has what was granted\n")
            }
            (Some(allow), true) => format!(
                "Limited {device} from its next certificate on: {allow}\n\
                 Certificates that it holds stay as they are; to end them: vouchsafe revoke\n"
            ),
        }
    }
}
