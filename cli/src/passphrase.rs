//! Passphrases: from a file, a descriptor (`/dev/fd/N`), a systemd credential or a terminal; never from
//! the command line, where every process could read them.

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::exit::Failure;

/// A passphrase; cleared when it is dropped.
pub(crate) type Passphrase = Zeroizing<Vec<u8>>;

const MAX_LEN: usize = 4096;

/// Enough to see that a file holds more than a passphrase and the end of its line.
const LIMIT: u64 = 4096 + 3;

/// Whose passphrase is wanted.
pub(crate) struct Wanted {
    /// The flag that names a file with it.
    option: &'static str,
    /// The credential of the systemd unit that holds it.
    credential: &'static str,
    /// What a terminal is asked.
    question: &'static str,
}

const OF_CA: Wanted = Wanted {
    option: "--passphrase-file",
    credential: "vouchsafe.ca-passphrase",
    question: "Passphrase of the CA: ",
};

const OF_IDENTITY: Wanted = Wanted {
    option: "--passphrase-file",
    credential: "vouchsafe.key-passphrase",
    question: "Passphrase of key.pem: ",
};

/// Of a root that is kept elsewhere.
pub(crate) const OF_ROOT: Wanted = Wanted {
    option: "--root-passphrase-file",
    credential: "vouchsafe.root-passphrase",
    question: "Passphrase of the root's key: ",
};

/// Where the passphrase of the CA's keys comes from, or of the operator's who asks a CA elsewhere.
#[derive(clap::Args, Debug)]
pub(crate) struct PassphraseFile {
    /// Read the passphrase of the CA's keys from this file (or /dev/fd/N); without it, the systemd credential vouchsafe.ca-passphrase or a terminal is asked
    #[arg(long, value_name = "FILE", env = "VOUCHSAFE_PASSPHRASE_FILE", hide_env_values = true)]
    passphrase_file: Option<PathBuf>,
}

impl PassphraseFile {
    /// The passphrase in the file or credential, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Passphrase>, Failure> {
        given(self.passphrase_file.as_deref(), OF_CA.credential)
    }

    /// The passphrase in the file or credential, or the one that is typed.
    pub(crate) fn obtain(&self) -> Result<Passphrase, Failure> {
        obtain(self.passphrase_file.as_deref(), &OF_CA)
    }
}

impl PassphraseFile {
    /// The same file, for the key of the operator who asks a CA elsewhere.
    pub(crate) fn of_identity(&self) -> KeyPassphraseFile {
        KeyPassphraseFile { file: self.passphrase_file.clone() }
    }
}

/// Where the passphrase of an identity's key comes from.
#[derive(clap::Args, Debug)]
pub(crate) struct KeyPassphraseFile {
    /// Read the passphrase of the identity's key from this file (or /dev/fd/N); without it, the systemd credential vouchsafe.key-passphrase or a terminal is asked
    #[arg(
        long = "passphrase-file",
        value_name = "FILE",
        env = "VOUCHSAFE_KEY_PASSPHRASE_FILE",
        hide_env_values = true
    )]
    file: Option<PathBuf>,
}

impl KeyPassphraseFile {
    /// The passphrase in the file or credential, or the one that is typed.
    pub(crate) fn obtain(&self) -> Result<Passphrase, Failure> {
        obtain(self.file.as_deref(), &OF_IDENTITY)
    }
}

/// The passphrase in a file that was named, in a credential, or the one that is typed.
pub(crate) fn obtain(file: Option<&Path>, wanted: &Wanted) -> Result<Passphrase, Failure> {
    let Wanted { option, credential, question } = wanted;
    given(file, credential)?.map_or_else(|| prompt(question, option), Ok)
}

/// The passphrase in a file that was named, or else in a credential of the systemd unit
/// (systemd.exec(5), `LoadCredentialEncrypted=`).
fn given(file: Option<&Path>, credential: &str) -> Result<Option<Passphrase>, Failure> {
    if let Some(file) = file {
        return read(file).map(Some);
    }
    let Some(directory) = env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(None) };
    let file = Path::new(&directory).join(credential);
    if file.exists() { read(&file).map(Some) } else { Ok(None) }
}

/// The passphrase in a file: its one line.
pub(crate) fn read(path: &Path) -> Result<Passphrase, Failure> {
    let mut passphrase = Zeroizing::new(Vec::with_capacity(MAX_LEN + 3));
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
    Ok(passphrase)
}

/// A new passphrase, typed twice.
pub(crate) fn choose() -> Result<Passphrase, Failure> {
    let first = prompt("New passphrase for the CA's keys: ", OF_CA.option)?;
    if first.is_empty() {
        return Err(Failure::usage("an empty passphrase protects nothing"));
    }
    if prompt("Once more: ", OF_CA.option)? != first {
        return Err(Failure::usage("the two passphrases differ"));
    }
    Ok(first)
}

fn prompt(question: &str, option: &str) -> Result<Passphrase, Failure> {
    if !io::stdin().is_terminal() {
        let message = "a passphrase is needed, and there is no terminal to ask at";
        return Err(Failure::new(message).hint(format!("say {option} FILE")));
    }
    let typed = rpassword::prompt_password(question)
        .map_err(|error| Failure::new(format!("cannot ask for the passphrase: {error}")))?;
    Ok(Zeroizing::new(typed.into_bytes()))
}
