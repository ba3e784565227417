//! What a command works with: the home, the clock, the screen.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::UnixTime;
use serde::Serialize;
use vouchsafe_ca::{Authority, Home, Ledger, Rebuilt};
use vouchsafe_certs::{Principal, TrustDomain};

use crate::args::Global;
use crate::exit::Failure;
use crate::output::say;
use crate::passphrase::{Passphrase, PassphraseFile};

/// What a command works with.
pub(crate) struct Context {
    /// Where the CA lives, if that is known; a CA that serves elsewhere can be asked without.
    home: Option<PathBuf>,
    pub(crate) json: bool,
    clock: Arc<dyn TimeProvider>,
    /// What other processes are told while this one has the home.
    command: String,
}

impl Context {
    pub(crate) fn new(global: Global, verb: &str) -> Self {
        Self {
            home: global.home.or_else(default_home),
            json: global.json,
            clock: Arc::new(DefaultTimeProvider),
            command: format!("vouchsafe {verb}"),
        }
    }

    /// Where the CA lives.
    pub(crate) fn home(&self) -> Result<&Path, Failure> {
        self.home.as_deref().ok_or_else(|| {
            Failure::usage(
                "it is not known where the CA lives: neither XDG_DATA_HOME nor HOME is set",
            )
            .hint("say --home DIR, or set VOUCHSAFE_HOME")
        })
    }

    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    pub(crate) fn now(&self) -> Result<UnixTime, Failure> {
        Ok(self.clock.current_time().ok_or(vouchsafe_ca::Error::ClockUnavailable)?)
    }

    /// Opens the home, for a look at its files.
    pub(crate) fn open_home(&self) -> Result<Home, Failure> {
        Ok(Home::open(self.home()?, &self.command, self.now()?)?)
    }

    /// Opens the home and what the CA remembers, for reading. No key is needed.
    pub(crate) fn open(&self) -> Result<(Home, Ledger), Failure> {
        let home = self.open_home()?;
        let ledger = home.open_ledger()?;
        if let Some(rebuilt) = ledger.rebuilt() {
            warn_of(rebuilt);
        }
        let mended = ledger.mended();
        if !mended.is_nothing() {
            say(format_args!(
                "note: the last command was interrupted; {} records were added to the journal, {} to the store, and {} octets of an unfinished line moved to journal.cut\n",
                mended.appended, mended.restored, mended.cut
            ));
        }
        Ok((home, ledger))
    }

    /// Opens the CA to work with it.
    pub(crate) fn open_authority(&self, passphrase: &PassphraseFile) -> Result<Authority, Failure> {
        Ok(self.open_with_passphrase(passphrase)?.0)
    }

    /// Opens the CA to work with it and with its keys.
    pub(crate) fn open_with_passphrase(
        &self,
        passphrase: &PassphraseFile,
    ) -> Result<(Authority, Option<Passphrase>), Failure> {
        let (home, ledger) = self.open()?;
        let passphrase =
            if home.needs_passphrase(&ledger)? { Some(passphrase.obtain()?) } else { None };
        let secret = passphrase.as_ref().map(|passphrase| passphrase.as_slice());
        Ok((self.authority(home, ledger, secret)?, passphrase))
    }

    /// Opens the CA with a passphrase at hand.
    pub(crate) fn authority(
        &self,
        home: Home,
        ledger: Ledger,
        passphrase: Option<&[u8]>,
    ) -> Result<Authority, Failure> {
        Ok(Authority::open(home, ledger, passphrase, Arc::clone(&self.clock))?)
    }

    /// Writes to stdout. That nobody reads on is no failure.
    pub(crate) fn print(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new(format!("cannot write to standard output: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Writes what came of a command to stdout: as JSON if that was asked for, or in words.
    pub(crate) fn show<T: Serialize>(
        &self,
        value: &T,
        in_words: impl FnOnce(&T, UnixTime) -> String,
    ) -> Result<(), Failure> {
        if self.json {
            return self.print_json(value);
        }
        self.print(&in_words(value, self.now()?))
    }

    /// Writes a JSON document to stdout.
    pub(crate) fn print_json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
        self.print(&format!("{text}\n"))
    }
}

/// That the store was damaged must not go unnoticed.
fn warn_of(Rebuilt { damage, set_aside, cut, .. }: &Rebuilt) {
    let damage = damage.as_deref().unwrap_or("the store is missing");
    let kept: String =
        set_aside.iter().map(|path| format!("; before: {}", path.display())).collect();
    let journal = match cut {
        0 => "which holds every record".to_owned(),
        _ => format!("without its last {cut} octets, an unfinished record that nobody was told of"),
    };
    say(format_args!(
        "warning: {damage}. It was built anew from the journal, {journal}{kept}. Check the disk\n"
    ));
}

/// A name in the trust domain, or a whole SPIFFE ID.
pub(crate) fn principal(name: &str, trust_domain: &TrustDomain) -> Result<Principal, Failure> {
    let parsed =
        if name.contains("://") { Principal::parse(name) } else { trust_domain.principal(name) };
    parsed.map_err(|error| Failure::usage(format!("{name} cannot be a principal: {error}")))
}

/// XDG Base Directory Specification: $XDG_DATA_HOME, else $HOME/.local/share; relative paths do not count.
fn default_home() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local").join("share")));
    Some(data?.join("vouchsafe"))
}
