//! Read the journal, a page at a time.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::file::FileError;
use vouchsafe_ca::{Home, Record};

use super::sentence::{actor, sentence};
use super::{Question, Verb, Work};
use crate::exit::Failure;
use crate::output::{Table, date};

/// Octets of the journal on one page, unless a single record is longer.
const PAGE_LEN: u64 = 128 * 1024;

/// No record is longer: it names a few thousand serial numbers at most.
const LONGEST_RECORD: u64 = 4 * 1024 * 1024;

/// Read the journal.
pub(crate) const AUDIT: Verb<Audit, History> = Verb {
    name: "audit",
    about: "Show what happened at the CA, a page at a time: ask on with `from` while there is a `next`. \
            Needs ca:audit",
    work: Work::Home(audit),
    in_words: History::in_words,
};

/// Which part of the journal.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Audit {
    /// Where to begin: `next` of the page before. Absent: at the beginning.
    #[serde(default)]
    pub(crate) from: u64,
}

/// A page of the journal.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct History {
    /// Records as they stand in the journal, each JSON: every one carries the hash of the one before,
    /// and as its last member its own.
    pub(crate) records: Vec<String>,
    /// Where the next page begins; null if this was all.
    pub(crate) next: Option<u64>,
}

fn audit(home: &Home, question: &Question<'_, Audit>) -> Result<History, Failure> {
    let Question { ask, by, .. } = question;
    by.may_at_all(AUDIT.name)?;
    let path = home.journal_path();
    let reading = FileError::reading(&path);
    let (text, next) = read_page(&path, ask.from).map_err(reading)?;
    let records: Vec<String> = text.lines().map(str::to_owned).collect();
    if records.iter().any(|line| Record::from_line(line).is_none()) {
        return Err(Failure::new("a line of the journal is not a record")
            .hint("vouchsafe audit --verify says more"));
    }
    Ok(History { records, next })
}

/// Whole lines from a place in the journal on, and the place where the next ones begin.
pub(crate) fn read_page(
    path: &std::path::Path,
    from: u64,
) -> std::io::Result<(String, Option<u64>)> {
    let mut journal = File::open(path)?;
    let len = journal.metadata()?.len();
    journal.seek(SeekFrom::Start(from))?;
    let mut octets = Vec::new();
    for limit in [PAGE_LEN, LONGEST_RECORD] {
        let more = limit.saturating_sub(u64::try_from(octets.len()).unwrap_or(limit));
        let read = journal.by_ref().take(more).read_to_end(&mut octets)?;
        // A line that is being written has no end yet; it comes with the next page.
        if let Some(end) = octets.iter().rposition(|octet| *octet == b'\n') {
            octets.truncate(end + 1);
            let text = String::from_utf8(octets).map_err(std::io::Error::other)?;
            let next = from.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
            return Ok((text, (next < len).then_some(next)));
        }
        if u64::try_from(read).is_ok_and(|read| read < more) {
            return Ok((String::new(), None));
        }
    }
    Err(std::io::Error::other("a line of it is longer than any record"))
}

impl History {
    fn in_words(&self, _: UnixTime) -> String {
        let mut table = header();
        for (record, _) in self.records.iter().filter_map(|line| Record::from_line(line)) {
            add(&mut table, &record);
        }
        let more = match self.next {
            Some(next) => format!("There is more from {next}.\n"),
            None => String::new(),
        };
        format!("{}{more}", table.to_text())
    }
}

/// The table of a history, without records yet.
pub(crate) fn header() -> Table {
    let mut table = Table::default();
    table.row(["RECORD", "WHEN", "WHO", "WHAT"]);
    table
}

/// Adds a record to the table.
pub(crate) fn add(table: &mut Table, record: &Record) {
    let Record { sequence, at, by, event, .. } = record;
    table.row([&sequence.to_string(), &date(*at), &actor(by), &sentence(event)]);
}
