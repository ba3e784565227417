//! A store that is damaged is not the end: everything in it follows from the journal.
//!
//! Whoever opens a home whose store is damaged gets one that was built anew, if that forgets nothing:
//!
//! - **The journal is whole**: every line is the record that follows on the one before. Only behind the
//!   last there may be the beginning of another, as a crash leaves it. It may be dropped: nobody gets an
//!   answer before both journal and store are synced, so nobody was told of it, whether or not the store
//!   had it; and a list is published after its record, so no list with its number is anywhere. Zeros may
//!   be what a power loss leaves, or records that somebody was told of and the disk has lost with the
//!   store: they are dropped only if somebody asks for it ([`Home::restore`]).
//! - **It is not behind what was published**: it knows every revocation list in `crl.pem`, by its hash.
//!   The next list has a higher number than any that somebody can have seen (RFC 5280 §5.2.3).
//! - **It is this CA's**: the certificates of the CAs in it are those in the home.
//!
//! A store that opens, and tells another story than the journal, is not damaged: one of the two was put
//! there by somebody, and nothing here chooses between them.
//!
//! The new store is built in `store.rebuilding` and synced; then the damaged one is renamed to
//! `store.damaged-<time>`, and the new one takes its place. It is never deleted, and neither is a journal
//! of which something is dropped. Whatever interrupts that, the next who opens the home begins again.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;

use super::{Home, STORE};
use crate::audit::{HEAD, Head, Record, stored_head, stored_line};
use crate::error::Error;
use crate::file::{self, FileError, UNFINISHED, sync_directory};
use crate::journal::{JournalError, Lines};
use crate::ledger::Ledger;
use crate::record::{Actor, Event};
use crate::store::{Store, StoreError, StoreKind};
use crate::text;

const BEING_BUILT: &str = "store.rebuilding";

/// What is said of something that was set aside.
const DAMAGED: &str = "damaged";
const REPLACED: &str = "replaced";

/// Why no store is built from a journal.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// Records are missing, altered or out of order.
    #[error("the journal is not whole: record {after} is not followed by the next one")]
    NotWhole {
        /// The last record before that.
        after: u64,
    },
    /// Behind the last record there is something that may have been several.
    #[error(
        "the journal ends after record {after} with {octets} octets that are not the beginning of another: records may be lost in them"
    )]
    Unreadable {
        /// The last record.
        after: u64,
        /// How much is behind it.
        octets: u64,
    },
    /// A record does not go with those before it.
    #[error("the journal says in record {sequence} what cannot have happened")]
    Impossible {
        /// Which record.
        sequence: u64,
    },
    /// Relying parties know more.
    #[error(
        "{} holds a revocation list that the journal does not know: the journal is an older one, or another CA's",
        lists.display()
    )]
    Behind {
        /// Where the lists are published.
        lists: PathBuf,
    },
    /// The home knows more.
    #[error(
        "the journal lacks record {sequence} as the home has it: it is an older one, or another CA's"
    )]
    Forgets {
        /// Which record.
        sequence: u64,
    },
    /// Nothing need be restored.
    #[error("the store is in order, and goes up to record {records}")]
    InOrder {
        /// How many records it has.
        records: u64,
    },
}

impl RebuildError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::InOrder { .. } => {
                "any other command takes what it lacks from the journal; say --replace if another store shall be built nevertheless, or if the home's journal is what is damaged"
            }
            Self::Unreadable { .. } => {
                "nothing was changed. Find a copy of the journal that has more, then: vouchsafe restore --journal FILE. If there is none, vouchsafe restore goes on without what cannot be read: zeros are also what a power loss leaves of a record that nobody was told of"
            }
            Self::Behind { .. } => {
                "nothing was changed. Find the latest copy of the journal, then: vouchsafe restore --journal FILE --replace. If there is none, nobody knows any more what was issued: move crl.pem away, then vouchsafe rotate issuer --now, and vouchsafe revoke --issuer SERIAL of the old one"
            }
            Self::NotWhole { .. } | Self::Impossible { .. } | Self::Forgets { .. } => {
                "nothing was changed. Find the latest copy of the journal that is whole, then: vouchsafe restore --journal FILE (and --replace, if the store is in order)"
            }
        })
    }
}

/// A store that was built anew.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Rebuilt {
    /// What was wrong with the one before; `None`: nothing, or there was none.
    pub damage: Option<String>,
    /// What was set aside for it: the store before, and a journal that was replaced.
    pub set_aside: Vec<PathBuf>,
    /// Octets behind the journal's last record that are no record, and are not in it any more.
    pub cut: u64,
}

/// What a store is built from.
struct Source {
    /// In place of the home's own journal; `None`: that is as it shall be.
    copy: Option<tempfile::NamedTempFile>,
    /// Octets behind the last record.
    cut: u64,
}

/// What may be behind the last record of a journal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// The beginning of one record.
    Beginning,
    /// Whatever a crash can leave.
    Remains,
}

impl Home {
    /// Opens what the CA remembers. A store that is damaged is built anew first, where nothing is
    /// forgotten by that; [`Ledger::rebuilt`] says so.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Journal`]; [`HomeError::OtherCertificate`](super::HomeError) and
    /// [`ConfigError::TrustDomain`](crate::ConfigError) if the files beside the store are of another CA;
    /// [`Error::NotRebuilt`] if the store is damaged and the journal will not do.
    pub fn open_ledger(&self) -> Result<Ledger, Error> {
        let damage = match self.open_ledger_as_it_is() {
            Err(error) if self.can_be_rebuilt_after(&error) => error,
            opened => return opened,
        };
        let journal = self.journal_path();
        let said = damage.to_string();
        let rebuild = || {
            let source = self.source(&journal, true, Rest::Beginning)?;
            self.build(&source, &Actor::Itself, Some(&said), &|_| Ok(()))?;
            self.put_in_place(source, Some(said))
        };
        let rebuilt = rebuild()
            .map_err(|why| Error::NotRebuilt { damage: Box::new(damage), why: Box::new(why) })?;
        Ok(self.open_ledger_as_it_is()?.after(rebuilt))
    }

    /// Builds the store anew from a journal: the home's own, or a copy that was kept elsewhere, which
    /// takes its place.
    ///
    /// # Errors
    /// [`RebuildError::InOrder`] if nothing is wrong with the store, unless `replace` is asked for. The
    /// others if something would be forgotten, whatever is asked for.
    pub fn restore(&self, journal: &Path, replace: bool) -> Result<Ledger, Error> {
        let (known, damage) = self.look_at_store(replace)?;
        let own = self.journal_path();
        let is_own = own.exists() && same_file(journal, &own)?;
        let source = self.source(journal, is_own, Rest::Remains)?;
        let nothing_is_lost = |built: &dyn Store| {
            let forgets = |sequence| RebuildError::Forgets { sequence };
            if let Some(head) = &known {
                holds(built, head)?.then_some(()).ok_or_else(|| forgets(head.sequence))?;
            }
            if !is_own && own.exists() {
                // What the store vouches for, the home's own journal need not: it may have been rewritten.
                let vouched = known.as_ref().map_or(0, |head| head.sequence);
                holds_all(built, &own, vouched)?
                    .map_or(Ok(()), |sequence| Err(forgets(sequence)))?;
            }
            Ok(())
        };
        self.build(&source, &Actor::Home, damage.as_deref(), &nothing_is_lost)?;
        let rebuilt = self.put_in_place(source, damage)?;
        Ok(self.open_ledger_as_it_is()?.after(rebuilt))
    }

    /// Whether a store built from the journal would do.
    fn can_be_rebuilt_after(&self, error: &Error) -> bool {
        match error {
            // Interrupted between the two renamings.
            Error::Store(StoreError::Missing(_)) => self.has_set_a_store_aside(),
            Error::Store(error) | Error::Journal(JournalError::Store(error)) => error.is_damage(),
            _ => false,
        }
    }

    fn has_set_a_store_aside(&self) -> bool {
        let names = fs::read_dir(&self.path).into_iter().flatten().flatten();
        names.map(|entry| entry.file_name()).any(|name| {
            let name = name.to_string_lossy();
            [DAMAGED, REPLACED].iter().any(|why| name.starts_with(&format!("{STORE}.{why}-")))
        })
    }

    /// Reads all of the store: its head, or what is wrong with it. Whichever backend's it is: the one
    /// that `ca.toml` names now may be another.
    fn look_at_store(&self, replace: bool) -> Result<(Option<Head>, Option<String>), Error> {
        let directory = self.path.join(STORE);
        let kind = StoreKind::found_in(&directory).unwrap_or(self.config.store);
        let head = kind.open(&directory).map_err(Error::from).and_then(|store| {
            store.scan("", &mut |_, _| std::ops::ControlFlow::Continue(()))?;
            Ok(stored_head(&*store)?.ok_or_else(|| StoreError::Damaged { key: HEAD.to_owned() })?)
        });
        match head {
            Ok(Head { sequence, .. }) if !replace => {
                Err(RebuildError::InOrder { records: sequence }.into())
            }
            Ok(head) => Ok((Some(head), None)),
            Err(Error::Store(StoreError::Missing(_))) => Ok((None, None)),
            Err(Error::Store(error)) if error.is_damage() => Ok((None, Some(error.to_string()))),
            Err(error) => Err(error),
        }
    }

    /// A journal that a store can be built from. The home's own is used as it is if nothing of it is to
    /// be dropped. Of another, it is the copy that is judged: somebody may still write to the file.
    fn source(&self, journal: &Path, is_own: bool, rest: Rest) -> Result<Source, Error> {
        if !is_own {
            let copy = self.copy_of(journal)?;
            let cut = self.refuse_unless_whole(copy.path(), rest)?;
            return Ok(Source { copy: Some(copy), cut });
        }
        let cut = self.refuse_unless_whole(journal, rest)?;
        let copy = if cut == 0 { None } else { Some(self.copy_of(journal)?) };
        Ok(Source { copy, cut })
    }

    /// Builds a store from a journal, beside the one that there is.
    fn build(
        &self,
        source: &Source,
        by: &Actor,
        damage: Option<&str>,
        check: &dyn Fn(&dyn Store) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let own = self.journal_path();
        let journal = source.copy.as_ref().map_or(own.as_path(), tempfile::NamedTempFile::path);
        let directory = self.path.join(BEING_BUILT);
        remove(&directory)?;
        let build = || {
            let ledger = Ledger::begin(self.config.store.create(&directory)?, journal)?;
            self.recognise(&ledger)?;
            check(ledger.store())?;
            let cut = (source.cut > 0).then_some(source.cut);
            let event = Event::StoreRebuilt { damage: damage.map(str::to_owned), cut };
            ledger.record(by, &event, self.opened_at)
        };
        build().map_err(|error| {
            // The disk may be full because of it; if it cannot be removed, the next attempt does.
            let _ = remove(&directory);
            match error {
                Error::Journal(JournalError::Disagrees { sequence, .. }) => {
                    RebuildError::Impossible { sequence }.into()
                }
                error => error,
            }
        })
    }

    /// What was built takes the place of the store, and what it was built from that of the journal. Both
    /// are kept.
    fn put_in_place(&self, source: Source, damage: Option<String>) -> Result<Rebuilt, Error> {
        let Source { copy, cut } = source;
        let store = self.path.join(STORE);
        let journal = copy.map(|copy| self.replace_journal(copy)).transpose()?.flatten();
        let mut set_aside = Vec::new();
        if store.exists() {
            let why = if damage.is_some() { DAMAGED } else { REPLACED };
            let aside = self.name_aside(&store, why);
            fs::rename(&store, &aside).map_err(FileError::writing(&aside))?;
            sync_directory(&self.path)?;
            set_aside.push(aside);
        }
        fs::rename(self.path.join(BEING_BUILT), &store).map_err(FileError::writing(&store))?;
        sync_directory(&self.path)?;
        set_aside.extend(journal);
        Ok(Rebuilt { damage, set_aside, cut })
    }

    /// Says where the one before is.
    fn replace_journal(&self, copy: tempfile::NamedTempFile) -> Result<Option<PathBuf>, Error> {
        let own = self.journal_path();
        let aside = own.exists().then(|| self.name_aside(&own, REPLACED));
        if let Some(aside) = &aside {
            fs::hard_link(&own, aside).map_err(FileError::writing(aside))?;
        }
        copy.persist(&own).map_err(|error| FileError::writing(&own)(error.error))?;
        sync_directory(&self.path)?;
        Ok(aside)
    }

    /// A name that is not taken, which says why and when.
    fn name_aside(&self, path: &Path, why: &str) -> PathBuf {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{name}.{why}-{}", text::compact(self.opened_at));
        let mut aside = self.path.join(&name);
        let mut nth = 1_u64;
        while aside.exists() {
            nth += 1;
            aside = self.path.join(format!("{name}-{nth}"));
        }
        aside
    }

    /// A copy in the home that goes when it is dropped.
    fn copy_of(&self, journal: &Path) -> Result<tempfile::NamedTempFile, Error> {
        let mut original = File::open(journal).map_err(FileError::reading(journal))?;
        let mut copy = || {
            // It is private from its first octet on: that is how temporary files are made.
            let mut copy = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.path)?;
            io::copy(&mut original, &mut copy)?;
            copy.as_file().sync_all()?;
            Ok(copy)
        };
        Ok(copy().map_err(FileError::writing(&self.path))?)
    }

    /// Reads the journal, and compares it with what is published. Says how many octets there are behind
    /// the last record.
    fn refuse_unless_whole(&self, journal: &Path, rest: Rest) -> Result<u64, Error> {
        let mut unknown = self.published_lists()?;
        let mut lines = Lines::from(journal, 0)?;
        let (mut head, mut end, mut last) = (Head::beginning(), 0, None);
        while let Some(line) = lines.next()? {
            match line.record() {
                Some((record, hash)) if last.is_none() && head.is_followed_by(&record) => {
                    list_of(&record.event).map(|list| unknown.remove(&list));
                    (head, end) = (Head::new(record.sequence, hash), lines.position);
                }
                None if last.is_none() && line.is_remains_after(head.sequence) => last = Some(line),
                // Also if there is anything behind what a crash may have left: it may not have.
                _ => return Err(RebuildError::NotWhole { after: head.sequence }.into()),
            }
        }
        let after = head.sequence;
        if after == 0 {
            return Err(RebuildError::NotWhole { after }.into());
        }
        let octets = lines.position.saturating_sub(end);
        if rest == Rest::Beginning && last.is_some_and(|last| !last.is_beginning_after(after)) {
            return Err(RebuildError::Unreadable { after, octets }.into());
        }
        if !unknown.is_empty() {
            return Err(RebuildError::Behind { lists: self.lists_path() }.into());
        }
        Ok(octets)
    }

    /// The hashes of the lists that relying parties find. What is no list is known to no journal.
    fn published_lists(&self) -> Result<HashSet<String>, Error> {
        let pem = match file::read(&self.lists_path()) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let hash = |der: Result<CertificateRevocationListDer<'_>, _>| {
            der.map_or_else(|_| String::new(), |der| text::sha256(&der))
        };
        Ok(CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).map(hash).collect())
    }
}

/// The hash of the list that may be published after an event.
fn list_of(event: &Event) -> Option<String> {
    match event {
        Event::ListSigned { sha256, .. } => Some(sha256.clone()),
        Event::CaRetired { last_list, .. } => Some(text::sha256(last_list)),
        _ => None,
    }
}

/// Whether a store has a record.
fn holds(store: &dyn Store, head: &Head) -> Result<bool, Error> {
    let line = stored_line(store, head.sequence)?;
    let record = line.and_then(|line| Record::from_line(&line));
    Ok(record.is_some_and(|(_, hash)| hash == head.hash))
}

/// The first record of a journal, whole or not, after that one that a store lacks or has otherwise.
fn holds_all(store: &dyn Store, journal: &Path, after: u64) -> Result<Option<u64>, Error> {
    let mut lines = Lines::from(journal, 0)?;
    while let Some(line) = lines.next()? {
        if let Some((record, _)) = line.record()
            && record.sequence > after
            && !line.is(stored_line(store, record.sequence)?)
        {
            return Ok(Some(record.sequence));
        }
    }
    Ok(None)
}

fn same_file(one: &Path, other: &Path) -> Result<bool, FileError> {
    let real = |path: &Path| fs::canonicalize(path).map_err(FileError::reading(path));
    Ok(real(one)? == real(other)?)
}

fn remove(directory: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(FileError::writing(directory)),
    }
}
