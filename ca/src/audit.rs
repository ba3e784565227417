//! The records: every event as one line of JSON, each line bound to the one before it.
//!
//! A line is a [`Record`] with one member more, `hash`: SHA-256 of the line without that member. The
//! next record repeats it as `previous`. So nothing can be changed, removed or put in between without
//! breaking the chain, except by somebody who writes everything after it anew; comparing the head
//! (sequence number and hash) with a copy kept elsewhere finds that too.

use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};

use crate::consequences;
use crate::record::{Actor, Event};
use crate::store::{Store, StoreError};
use crate::text;

/// What `previous` says in the first record.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// `,"hash":"`, 64 digits, `"}`.
const HASH_MEMBER_LEN: usize = 9 + 64 + 2;

pub(crate) const HEAD: &str = "head";
pub(crate) const BATCH: &str = "batch";
pub(crate) const AUDIT: &str = "audit/";

/// The store's key of a record; the digits keep the order.
pub(crate) fn audit_key(sequence: u64) -> String {
    format!("{AUDIT}{sequence:020}")
}

/// One line of the journal, without its hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// 1, 2, 3 …
    pub sequence: u64,
    /// When it happened.
    #[serde(with = "text::instant")]
    pub at: UnixTime,
    /// The hash of the record before.
    pub previous: String,
    /// Who did it.
    #[serde(with = "text::as_text")]
    pub by: Actor,
    /// What happened.
    pub event: Event,
}

/// The latest record: where the chain goes on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Head {
    /// How many records there are.
    pub sequence: u64,
    /// The hash of the latest.
    pub hash: String,
}

impl Head {
    /// After a record with this number and hash.
    #[must_use]
    pub fn new(sequence: u64, hash: String) -> Self {
        Self { sequence, hash }
    }

    /// Of a journal without records.
    #[must_use]
    pub fn beginning() -> Self {
        Self { sequence: 0, hash: BEGINNING.to_owned() }
    }

    /// Whether a record is the next in the chain.
    pub(crate) fn is_followed_by(&self, record: &Record) -> bool {
        record.sequence == self.sequence + 1 && record.previous == self.hash
    }
}

impl Record {
    /// The line without its line break, and its hash.
    pub(crate) fn to_line(&self) -> Result<(String, String), StoreError> {
        let mut line =
            serde_json::to_string(self).map_err(|error| StoreError::Failed(error.into()))?;
        let hash = text::sha256(line.as_bytes());
        // In place of the closing brace: the hash as the last member.
        line.pop();
        line.push_str(&format!(",\"hash\":\"{hash}\"}}"));
        Ok((line, hash))
    }

    /// Reads a line and checks its hash; `None` if it was not written so.
    #[must_use]
    pub fn from_line(line: &str) -> Option<(Self, String)> {
        let (body, tail) = line.split_at_checked(line.len().checked_sub(HASH_MEMBER_LEN)?)?;
        let hash = tail.strip_prefix(",\"hash\":\"")?.strip_suffix("\"}")?;
        if text::sha256(format!("{body}}}").as_bytes()) != hash {
            return None;
        }
        Some((serde_json::from_str(line).ok()?, hash.to_owned()))
    }
}

/// A record as the store holds it.
pub(crate) fn stored_line(store: &dyn Store, sequence: u64) -> Result<Option<String>, StoreError> {
    let key = audit_key(sequence);
    let value = store.get(&key)?;
    value.map(|value| String::from_utf8(value).map_err(|_| StoreError::Damaged { key })).transpose()
}

/// The store's head.
pub(crate) fn stored_head(store: &dyn Store) -> Result<Option<Head>, StoreError> {
    consequences::read(store, HEAD)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vouchsafe_certs::Principal;

    use super::*;

    fn record() -> Record {
        Record {
            sequence: 7,
            at: UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000)),
            previous: BEGINNING.to_owned(),
            by: Actor::Home,
            event: Event::Reinstated {
                principal: Principal::parse("spiffe://acme.example/a").unwrap(),
            },
        }
    }

    #[test]
    fn a_line_is_the_record_and_its_hash() {
        let (line, hash) = record().to_line().unwrap();
        let body = format!(
            r#"{{"sequence":7,"at":"2027-01-15T08:00:00Z","previous":"{BEGINNING}","by":"home","event":{{"type":"reinstated","principal":"spiffe://acme.example/a"}}"#
        );
        // What anybody can compute with jq and sha256sum.
        assert_eq!(line, format!("{body},\"hash\":\"{hash}\"}}"));
        assert_eq!(hash, text::sha256(format!("{body}}}").as_bytes()));
        assert_eq!(Record::from_line(&line), Some((record(), hash)));
    }

    #[test]
    fn a_line_with_another_octet_is_none() {
        let (line, _) = record().to_line().unwrap();
        for at in 0..line.len() {
            let mut octets = line.clone().into_bytes();
            octets[at] ^= 1;
            let changed = String::from_utf8(octets).unwrap();
            assert_eq!(Record::from_line(&changed), None, "{changed}");
        }
        assert_eq!(Record::from_line(""), None);
        assert_eq!(Record::from_line(&line[1..]), None);
        assert_eq!(Record::from_line(&format!("{line} ")), None);
    }
}
