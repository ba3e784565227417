//! Alerts of the CA: revocations and thefts, as they come into the journal. There every one of them
//! is, whoever asked for it and on whichever port.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vouchsafe_ca::{Event, Record};
use vouchsafe_certs::{Principal, Serial};

use crate::administration::audit::read_page;
use crate::administration::sentence::{actor, sentence};
use crate::exit::Failure;
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
            // What cannot be read now is read a second later; the CA itself stops where it cannot write.
            while let Ok((text, next)) = read_page(&journal, from) {
                from = from.saturating_add(u64::try_from(text.len()).unwrap_or_default());
                text.lines().for_each(|line| tell(line, &alarm));
                if next.is_none() {
                    break;
                }
            }
        }
    });
    Ok(())
}

fn tell(line: &str, alarm: &Alarm) {
    // Most records are of certificates that were issued, and are not read for that.
    if !line.contains("revoked") {
        return;
    }
    let Some((record, _)) = Record::from_line(line) else { return };
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
