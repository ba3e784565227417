//! CAs that come and go.

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::{Actor, Authority, CaRecord, Home, Ledger, Rotation, Tier};
use vouchsafe_certs::{CaCertificate, KeyType, PrivateKey, Serial};

use super::{Question, Verb, Work};
use crate::exit::Failure;
use crate::json::{Moment, as_text};
use crate::output::{Table, date, relative};

/// Put a new issuing CA in the place of the one at work.
pub(crate) const ROTATE: Verb<Rotate, Rotated> = Verb {
    name: "rotate",
    about: "Make a new issuing CA, signed by the root whose key is in the CA's home. It issues five \
            minutes later, or `now`; certificates of the one before are accepted until they end. \
            Needs ca:rotate",
    work: Work::Authority(|authority, question| {
        question.by.may_at_all("rotate")?;
        rotate(authority, &question.by.actor(), &question.ask, None)
    }),
    in_words: Rotated::in_words,
};

/// End the time of every CA on which nothing living hangs.
pub(crate) const RETIRE: Verb<Retire, Retired> = Verb {
    name: "retire",
    about: "End the time of every CA that another has taken the place of and on which nothing living \
            hangs: it signs a last list, and its key is removed. Needs ca:retire",
    work: Work::Authority(retire),
    in_words: Retired::in_words,
};

/// See every CA.
pub(crate) const CAS: Verb<Cas, Shown> = Verb {
    name: "cas",
    about: "Show every root and issuing CA, which of them signs, and until when the others are \
            needed. Needs ca:cas",
    work: Work::Ledger(show),
    in_words: Shown::in_words,
};

/// How a new issuing CA comes to be.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotate {
    /// What its key is made of: p256, p384 or ed25519.
    #[serde(default, with = "as_text")]
    #[schemars(with = "String")]
    pub(crate) key_type: KeyType,
    /// Whether it issues at once, though not every gateway may know it yet: after the old key was lost.
    #[serde(default)]
    pub(crate) now: bool,
}

impl Rotate {
    pub(crate) fn rotation(&self) -> Rotation {
        Rotation { key_type: self.key_type, at_once: self.now }
    }
}

/// A CA that has come.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Rotated {
    /// The serial number of its certificate.
    pub(crate) serial: String,
    /// `root` or `issuing`.
    tier: String,
    /// From when on it signs.
    begins: Moment,
    /// When its certificate ends.
    not_after: Moment,
}

impl Rotated {
    pub(crate) fn of(rotated: &vouchsafe_ca::Rotated, tier: Tier) -> Self {
        let certificate = &rotated.certificate;
        Self {
            serial: certificate.serial.to_string(),
            tier: tier.to_string(),
            begins: Moment(rotated.begins),
            not_after: Moment(certificate.not_after),
        }
    }

    pub(crate) fn in_words(&self, now: UnixTime) -> String {
        let Self { serial, tier, begins: Moment(begins), .. } = self;
        let begins = format!("{} ({})", date(*begins), relative(*begins, now));
        if *tier == Tier::Issuing.to_string() {
            return format!(
                "Made issuing CA {serial}\n  it issues from {begins}\n  the one before is accepted until its last certificate ends\n"
            );
        }
        format!(
            "Made root {serial}\n  every new identity trusts it, beside the roots that there are\n  it signs issuing CAs from {begins}, when no certificate lives that was issued before\n"
        )
    }
}

/// Makes a new issuing CA, with the root's key if it was brought.
pub(crate) fn rotate(
    authority: &Authority,
    by: &Actor,
    ask: &Rotate,
    root_key: Option<PrivateKey>,
) -> Result<Rotated, Failure> {
    let rotated = authority.rotate_issuer(by, root_key, ask.rotation())?;
    Ok(Rotated::of(&rotated, Tier::Issuing))
}

/// Nothing else is to be said.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retire {}

/// What retiring came to.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Retired {
    /// The serial numbers of those whose time is over.
    ended: Vec<String>,
    /// Those that are still needed.
    still_needed: Vec<Needed>,
}

/// A CA that another has taken the place of.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Needed {
    /// The serial number of its certificate.
    serial: String,
    /// When the last that hangs on it ends.
    until: Moment,
}

fn retire(authority: &Authority, question: &Question<'_, Retire>) -> Result<Retired, Failure> {
    let by = question.by;
    by.may_at_all(RETIRE.name)?;
    let retired = authority.retire(&by.actor())?;
    let needed = |(serial, until): &(Serial, UnixTime)| Needed {
        serial: serial.to_string(),
        until: Moment(*until),
    };
    Ok(Retired {
        ended: retired.ended.iter().map(ToString::to_string).collect(),
        still_needed: retired.still_needed.iter().map(needed).collect(),
    })
}

impl Retired {
    pub(crate) fn in_words(&self, now: UnixTime) -> String {
        let mut text = String::new();
        for serial in &self.ended {
            let line = "its last list is published, its key is gone";
            text.push_str(&format!("Retired CA {serial}: {line}\n"));
        }
        for Needed { serial, until: Moment(until) } in &self.still_needed {
            let (date, relative) = (date(*until), relative(*until, now));
            text.push_str(&format!("CA {serial} is needed until {date} ({relative})\n"));
        }
        if text.is_empty() { "No CA's time is over\n".to_owned() } else { text }
    }
}

/// Nothing else is to be said.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cas {}

/// Every CA, the newest first.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Shown {
    /// The CAs.
    cas: Vec<CaView>,
}

/// What is known of one CA.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct CaView {
    /// The serial number of its certificate.
    serial: String,
    /// `root` or `issuing`.
    tier: String,
    /// `signs`, `comes`, `replaced`, `revoked` or `retired`.
    state: String,
    /// From when on it signs.
    begins: Moment,
    /// When its certificate ends.
    not_after: Moment,
    /// When the last certificate that it has issued ends, to the hour; null if there is none.
    last_certificate: Option<Moment>,
    /// When its list goes stale; null if there is none.
    list_next_update: Option<Moment>,
    /// Whether its key is in the home.
    key_here: bool,
}

fn show(home: &Home, ledger: &Ledger, question: &Question<'_, Cas>) -> Result<Shown, Failure> {
    question.by.may_at_all(CAS.name)?;
    let mut at_work = Vec::new();
    let mut cas = Vec::new();
    for (serial, record) in ledger.cas()? {
        let certificate = CaCertificate::from_der(&record.certificate)
            .map_err(|error| Failure::new(format!("CA {serial} cannot be read: {error}")))?;
        let list = ledger.list(&serial)?.map(|list| list.next_update);
        let list = if record.is_retired() { Some(certificate.not_after) } else { list };
        cas.push(CaView {
            serial: serial.to_string(),
            tier: record.tier.to_string(),
            state: state(&record, &mut at_work, question.now).to_owned(),
            begins: Moment(record.begins),
            not_after: Moment(certificate.not_after),
            last_certificate: ledger.last_leaf(&serial)?.map(Moment),
            list_next_update: list.map(Moment),
            key_here: home.key_path(&serial, &record).exists(),
        });
    }
    Ok(Shown { cas })
}

/// In a word. The first of a tier that may sign and has begun is the one at work.
fn state(record: &CaRecord, at_work: &mut Vec<Tier>, now: UnixTime) -> &'static str {
    if record.is_retired() {
        return "retired";
    }
    if record.revoked.is_some() {
        return "revoked";
    }
    // One that another has taken the place of before it began never signs.
    if at_work.contains(&record.tier) {
        return "replaced";
    }
    if record.begins > now {
        return "comes";
    }
    at_work.push(record.tier);
    "signs"
}

impl Shown {
    pub(crate) fn in_words(&self, _now: UnixTime) -> String {
        let mut table = Table::default();
        table.row(["CA", "", "", "ENDS", "LAST CERTIFICATE", "LIST UNTIL", "KEY"]);
        let moment =
            |at: &Option<Moment>| at.as_ref().map_or_else(|| "-".to_owned(), |at| date(at.0));
        for ca in &self.cas {
            table.row([
                &ca.serial,
                &ca.tier,
                &ca.state,
                &date(ca.not_after.0),
                &moment(&ca.last_certificate),
                &moment(&ca.list_next_update),
                if ca.key_here { "here" } else { "elsewhere" },
            ]);
        }
        table.to_text()
    }
}
