//! Alerts of the CA: revocations and thefts, as they come into the journal. There every one of them
//! is, whoever asked for it and on whichever port.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vouchsafe_ca::{Event, Record};
use vouchsafe_certs::{Principal, Serial};

use crate::administration::audit::{line_after, read_page};
use crate::administration::sentence::{actor, sentence};
use crate::exit::Failure;
use crate::notice::say;
use crate::watch::alerts::{Alarm, Kind};

/// How often the journal is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Follows the journal from its present end on, from a thread of its own.
pub(super) fn follow(journal: PathBuf, alarm: Arc<Alarm>) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("cannot read {}: {error}", journal.display()));
    let mut from = journal.metadata().map_err(failed)?.len();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(LOOK);
            from = catch_up(&journal, from, |line| tell(line, &alarm), say);
        }
    });
    Ok(())
}

/// Tells of every line that has come since, and where the next will begin. One that cannot be read is
/// passed over: what comes after it matters as much.
fn catch_up(journal: &Path, mut from: u64, mut tell: impl FnMut(&str), warn: impl Fn(&str)) -> u64 {
    loop {
        match read_page(journal, from) {
            Ok((text, next)) => {
                from = from.saturating_add(u64::try_from(text.len()).unwrap_or_default());
                text.lines().for_each(&mut tell);
                if next.is_none() {
                    return from;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let journal_name = journal.display();
                warn(&format!(
                    "WARNING: {journal_name}, octet {from}: {error}; no alert tells of it"
                ));
                match line_after(journal, from) {
                    Ok(next) => from = next,
                    Err(_) => return from,
                }
            }
            // What cannot be read now is read a second later; the CA itself stops where it cannot write.
            Err(_) => return from,
        }
    }
}

fn tell(line: &str, alarm: &Alarm) {
    // Most records are of certificates that were issued, and are not read for that.
    if !line.contains("revoked") {
        return;
    }
    let Some((record, _)) = Record::from_line(line) else {
        return say("WARNING: a line of the journal is not a record; no alert tells of it");
    };
    let Some((kind, whom, reason)) = concern(&record.event) else { return };
    let text = format!("{}: {}", actor(&record.by), sentence(&record.event));
    alarm.raise(kind, whom, reason, None, text);
}

/// Principal and serial number, as far as the event names them.
type Whom = (Option<String>, Option<String>);

fn concern(event: &Event) -> Option<(Kind, Whom, String)> {
    let device = |principal: &Principal| (Some(principal.to_string()), None);
    let certificate = |serial: &Serial| (None, Some(serial.to_string()));
    Some(match event {
        Event::LineageRevoked { shown, .. } => {
            (Kind::LineageRevoked, certificate(shown), "keyCompromise".to_owned())
        }
        Event::DeviceRevoked { principal, reason } => {
            (Kind::Revoked, device(principal), reason.to_string())
        }
        Event::Revoked { serial, reason } | Event::CaRevoked { serial, reason } => {
            (Kind::Revoked, certificate(serial), reason.to_string())
        }
        Event::RevokedIssuedBefore { principal, reason, .. } => {
            let whom = principal.as_ref().map_or((None, None), device);
            (Kind::Revoked, whom, reason.to_string())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Write;

    use rustls_pki_types::UnixTime;
    use tempfile::NamedTempFile;
    use vouchsafe_ca::{MAX_VALUE_LEN, Reason};

    use super::*;

    #[test]
    fn a_line_that_cannot_be_read_keeps_back_none_that_comes_after_it() {
        let mut journal = NamedTempFile::new().unwrap();
        let path = journal.path().to_owned();
        let (told, warned) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let look = |from| {
            let told = |line: &str| told.borrow_mut().push(line.len());
            catch_up(&path, from, told, |text| warned.borrow_mut().push(text.to_owned()))
        };
        // A record as long as any, and one that nobody could have written.
        let long = "a".repeat(MAX_VALUE_LEN);
        write!(journal, "one\n{long}\na{long}\nthree\n").unwrap();
        let from = look(0);
        assert_eq!(told.take(), [3, MAX_VALUE_LEN, 5]);
        let said = warned.take();
        assert!(said.len() == 1 && said[0].contains("longer than any record"), "{said:?}");
        // It is said once; what is still being written is read when it is there.
        journal.write_all(b"\xff\nfour\nfi").unwrap();
        let from = look(from);
        assert_eq!((told.take(), warned.take().len()), (vec![4], 1));
        journal.write_all(b"ve\n").unwrap();
        look(from);
        assert_eq!((told.take(), warned.take().len()), (vec![4], 0));
    }

    #[test]
    fn whatever_is_revoked_is_told_of_whom_and_why() {
        let principal = Principal::parse("spiffe://acme.example/a").unwrap();
        let serial: Serial = "01ab".parse().unwrap();
        let (reason, before) = (Reason::KeyCompromise, UnixTime::since_unix_epoch(LOOK));
        let (name, number) = (Some(principal.to_string()), Some("01ab".to_owned()));
        let all = Event::RevokedIssuedBefore { principal: None, before, reason };
        let some = Event::RevokedIssuedBefore { principal: Some(principal), before, reason };
        for (event, whom) in [
            (Event::Revoked { serial, reason }, (None, number.clone())),
            (Event::CaRevoked { serial, reason }, (None, number)),
            (all, (None, None)),
            (some, (name, None)),
        ] {
            // As it stands in the journal, of which lines without this word are not read.
            assert!(serde_json::to_string(&event).unwrap().contains("revoked"), "{event:?}");
            let concern = concern(&event).unwrap();
            assert_eq!(concern, (Kind::Revoked, whom, "keyCompromise".to_owned()));
        }
    }
}
