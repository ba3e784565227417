//! Sign the revocation list anew.

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::{Authority, ListRecord, Tier};

use super::{Question, Verb, Work};
use crate::exit::Failure;
use crate::json::Moment;
use crate::output::{Sheet, count, date, relative};

/// Octets of lists that an answer holds; longer ones are fetched from the public listener.
const MAX_LISTS_LEN: usize = 4 * 1024 * 1024;

/// Sign the revocation list anew, and publish it.
pub(crate) const CRL: Verb<Crl, Published> = Verb {
    name: "crl",
    about: "Sign the revocation list anew, and publish it. It is done by itself on every revocation, \
            and in time before a list goes stale. Needs ca:crl",
    work: Work::Authority(publish),
    in_words: Published::in_words,
};

/// How much to answer.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Crl {
    /// Whether the lists themselves belong into the answer.
    #[serde(default)]
    pub(crate) lists: bool,
}

/// The list that was published.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Published {
    /// RFC 5280 §5.2.3: rises with every list.
    pub(crate) number: u64,
    /// When it was made.
    pub(crate) this_update: Moment,
    /// After this, the list is stale.
    pub(crate) next_update: Moment,
    /// How many certificates it names.
    pub(crate) revoked: usize,
    /// SHA-256 of its DER.
    pub(crate) sha256: String,
    /// Where the CA publishes it, with the root's.
    pub(crate) file: String,
    /// When the root's list goes stale; null if it is lost and the root's key is not at hand.
    pub(crate) root_next_update: Option<Moment>,
    /// The lists, PEM, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lists: Option<String>,
}

fn publish(authority: &Authority, question: &Question<'_, Crl>) -> Result<Published, Failure> {
    let Question { ask, by, .. } = question;
    by.may_at_all(CRL.name)?;
    let list = authority.publish(&by.actor())?;
    let lists = authority.lists();
    let pem = ask.lists.then(|| lists.to_pem());
    if pem.as_ref().is_some_and(|pem| pem.len() > MAX_LISTS_LEN) {
        return Err(Failure::new("the list was published, but is too long for this answer")
            .hint("fetch /crl.pem from the CA's public listener"));
    }
    Ok(Published {
        number: list.number,
        this_update: Moment(list.this_update),
        next_update: Moment(list.next_update),
        revoked: revoked_count(authority)?,
        sha256: list.sha256,
        file: by.place(authority.home(), &authority.home().lists_path()),
        root_next_update: root_list(authority)?.map(|root| Moment(root.next_update)),
        lists: pem,
    })
}

/// The root's list, as far as it is published.
fn root_list(authority: &Authority) -> Result<Option<ListRecord>, Failure> {
    let root = authority.certificate(Tier::Root)?.serial;
    if authority.lists().of(&root).is_none() {
        return Ok(None);
    }
    Ok(authority.look_up(|ledger| ledger.list(&root))?)
}

fn revoked_count(authority: &Authority) -> Result<usize, Failure> {
    let lists = authority.lists();
    let issuer = authority.certificate(Tier::Issuing)?;
    let der = lists.of(&issuer.serial).unwrap_or_default();
    let list = vouchsafe_certs::RevocationList::from_der(der, &issuer)
        .map_err(vouchsafe_ca::Error::from)?;
    Ok(list.serials().len())
}

impl Published {
    pub(crate) fn in_words(&self, now: UnixTime) -> String {
        let mut sheet = Sheet::default();
        let number = u64::try_from(self.revoked).unwrap_or(u64::MAX);
        sheet.line("revoked", &count(number, "certificate"));
        let due = |at| format!("{} ({})", date(at), relative(at, now));
        sheet.line("next update", &due(self.next_update.0));
        if let Some(root) = &self.root_next_update {
            sheet.line("root's list", &format!("next update {}", due(root.0)));
        }
        format!("Revocation list {} is in {}\n{}", self.number, self.file, sheet.to_text())
    }

    /// What is wrong with the root's list: without a current one, relying parties that check
    /// everything refuse everybody.
    pub(crate) fn trouble(&self, now: UnixTime) -> Option<&'static str> {
        match self.root_next_update {
            None => Some("the root's revocation list is lost"),
            Some(at) if now > at.0 => Some("the root's revocation list is stale"),
            Some(_) => None,
        }
    }
}
