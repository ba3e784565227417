//! Passphrases: from a file or a terminal, never from the command line, where every process could read them.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::exit::Failure;

const MAX_LEN: usize = 4096;

/// Enough to see that a file holds more than a passphrase and the end of its line.
const LIMIT: u64 = 4096 + 3;

/// Where the passphrase of the CA's keys comes from.
#[derive(clap::Args, Debug)]
pub(crate) struct PassphraseFile {
    /// Read the passphrase of the CA's keys from this file (or /dev/fd/N); without it, a terminal is asked
    #[arg(long, value_name = "FILE", env = "VOUCHSAFE_PASSPHRASE_FILE", hide_env_values = true)]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseFile {
    /// The passphrase in the file, if one was named.
    pub(crate) fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
        let Some(path) = &self.passphrase_file else { return Ok(None) };
        let mut passphrase = Zeroizing::new(Vec::new());
        File::open(path)
            .and_then(|file| file.take(LIMIT).read_to_end(&mut passphrase))
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
        // An editor ends the line; that is not part of the passphrase.
        for end in [b'\n', b'\r'] {
            if passphrase.last() == Some(&end) {
                passphrase.pop();
            }
        }
        if passphrase.is_empty() || passphrase.len() > MAX_LEN {
            let message = format!("{} does not hold a passphrase", path.display());
            return Err(Failure::usage(message).hint("it is one line of up to 4096 octets"));
        }
        Ok(Some(passphrase))
    }

    /// The passphrase in the file, or the one that is typed.
    pub(crate) fn obtain(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match self.read()? {
            Some(passphrase) => Ok(passphrase),
            None => prompt("Passphrase of the CA: "),
        }
    }
}

/// A new passphrase, typed twice.
pub(crate) fn choose() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let first = prompt("New passphrase for the CA's keys: ")?;
    if first.is_empty() {
        return Err(Failure::usage("an empty passphrase protects nothing"));
    }
    if prompt("Once more: ")? != first {
        return Err(Failure::usage("the two passphrases differ"));
    }
    Ok(first)
}

fn prompt(question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if !io::stdin().is_terminal() {
        let message = "a passphrase is needed, and there is no terminal to ask at";
        return Err(Failure::new(message).hint("say --passphrase-file FILE"));
    }
    let typed = rpassword::prompt_password(question)
        .map_err(|error| Failure::new(format!("cannot ask for the passphrase: {error}")))?;
    Ok(Zeroizing::new(typed.into_bytes()))
}
