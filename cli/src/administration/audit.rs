//! Read the journal, a page at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use rmcp::schemars;
use rustls_pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use vouchsafe_ca::file::FileError;
use vouchsafe_ca::{Home, MAX_VALUE_LEN, Record};

use super::sentence::{actor, sentence};
use super::{Question, Verb, Work};
use crate::exit::Failure;
use crate::output::{Table, date};

/// Octets of the journal on one page, unless a single record is longer.
const PAGE_LEN: u64 = 128 * 1024;

/// A line and its break: the store holds every record as well, and nothing longer. The longest is that of
/// a CA that is retired, which holds its last list.
const LONGEST_LINE: usize = MAX_VALUE_LEN + 1;

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
///
/// # Errors
/// [`InvalidData`](io::ErrorKind::InvalidData) if the first of them cannot be read, whenever it is tried.
pub(crate) fn read_page(path: &Path, from: u64) -> io::Result<(String, Option<u64>)> {
    let mut journal = File::open(path)?;
    let len = journal.metadata()?.len();
    journal.seek(SeekFrom::Start(from))?;
    let mut octets = Vec::new();
    journal.by_ref().take(PAGE_LEN).read_to_end(&mut octets)?;
    if !octets.contains(&b'\n') {
        let more = u64::try_from(LONGEST_LINE - octets.len()).unwrap_or_default();
        BufReader::new(journal).take(more).read_until(b'\n', &mut octets)?;
    }
    let end = after_last_break(&octets);
    if end == 0 && octets.len() == LONGEST_LINE {
        return Err(unreadable("a line of it is longer than any record"));
    }
    // A line that is being written has no end yet; it comes with the next page.
    octets.truncate(end);
    let text = readable(octets)?;
    let next = from.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
    let is_more = !text.is_empty() && next < len;
    Ok((text, is_more.then_some(next)))
}

/// Where the line after the one at `from` begins, or where the journal ends.
pub(crate) fn line_after(path: &Path, from: u64) -> io::Result<u64> {
    let mut journal = BufReader::new(File::open(path)?);
    journal.seek(SeekFrom::Start(from))?;
    let skipped = journal.skip_until(b'\n')?;
    Ok(from.saturating_add(u64::try_from(skipped).unwrap_or(u64::MAX)))
}

/// The lines up to the first that is no text.
fn readable(octets: Vec<u8>) -> io::Result<String> {
    String::from_utf8(octets).or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        let mut octets = error.into_bytes();
        octets.truncate(valid);
        octets.truncate(after_last_break(&octets));
        if octets.is_empty() {
            return Err(unreadable("a line of it is no text"));
        }
        String::from_utf8(octets).map_err(io::Error::other)
    })
}

fn after_last_break(octets: &[u8]) -> usize {
    octets.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1)
}

fn unreadable(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::NamedTempFile;

    use super::*;

    /// The pages of a journal with these octets.
    fn pages(octets: &[u8]) -> (Vec<String>, Option<String>) {
        let mut journal = NamedTempFile::new().unwrap();
        journal.write_all(octets).unwrap();
        let (mut pages, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            match read_page(journal.path(), at) {
                Ok((text, next)) => {
                    pages.push(text);
                    from = next;
                }
                Err(error) => return (pages, Some(error.to_string())),
            }
        }
        (pages, None)
    }

    #[test]
    fn a_record_as_long_as_any_stands_on_a_page_of_its_own() {
        let long = format!("{}\n", "a".repeat(MAX_VALUE_LEN));
        let journal = format!("one\n{long}two\nhalf");
        let (read, error) = pages(journal.as_bytes());
        assert_eq!(error, None);
        assert!(read == ["one\n", &*long, "two\n", ""], "{:?}", read.len());
        let (read, error) = pages(format!("one\na{long}two\n").as_bytes());
        assert_eq!(read, ["one\n"]);
        assert_eq!(error.unwrap(), "a line of it is longer than any record");
    }

    #[test]
    fn what_stands_before_a_line_that_is_no_text_is_read() {
        let (read, error) = pages(b"one\ntwo\nthr\xffee\nfour\n");
        assert_eq!(read, ["one\ntwo\n"]);
        assert_eq!(error.unwrap(), "a line of it is no text");
        assert_eq!(pages(b""), (vec![String::new()], None));
    }
}
