//! How a command ends: 0 done, 1 refused or failed, 2 wrong usage, 3 nobody there.

use std::fmt::{self, Display};
use std::process::ExitCode;

use vouchsafe_ca::file::FileError;
use vouchsafe_ca::{LockError, Refusal};

use crate::notice;
use crate::output::say;

/// Why a command did not do what was asked: what happened and why, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

/// What the CA's service calls itself in the lock of its home.
const SERVICE: &str = "vouchsafe ca,";

impl Failure {
    /// Refused or failed.
    pub(crate) fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), hint: None, code: FAILED }
    }

    /// Wrong usage.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self { code: WRONG_USAGE, ..Self::new(message) }
    }

    /// The other side cannot be reached; trying again later may help.
    pub(crate) fn unreachable(message: impl Display) -> Self {
        Self { code: UNREACHABLE, ..Self::new(message) }
    }

    /// With what to do next.
    pub(crate) fn hint(self, hint: impl Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }

    /// What to do next, if that was said.
    pub(crate) fn what_next(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Says it on stderr.
    pub(crate) fn report(self) -> ExitCode {
        let words = notice::in_the_end(&self.message, self.hint.as_deref());
        say(format_args!("{words}\n"));
        ExitCode::from(self.code)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<vouchsafe_ca::Error> for Failure {
    fn from(error: vouchsafe_ca::Error) -> Self {
        let failure = Self::new(&error);
        if let vouchsafe_ca::Error::Lock(LockError::Held { holder, .. }) = &error
            && holder.contains(SERVICE)
        {
            return failure.hint("ask the service: say --ca ADDR --identity DIR");
        }
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        vouchsafe_ca::Error::from(refusal).into()
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::new(error)
    }
}
