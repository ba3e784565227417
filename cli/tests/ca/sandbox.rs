//! A folder to run commands in, what they say there, and how they end.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a home in it; nothing of the surrounding environment gets in.
pub(crate) struct Sandbox(TempDir);

/// What a command said, and how it ended.
#[must_use = "say how the command should have ended"]
pub(crate) struct Run(pub(crate) Output);

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With a CA in it.
    pub(crate) fn with_ca() -> Self {
        let sandbox = Self::new();
        sandbox.run(&["init", "--trust-domain", "acme.example"]).succeeds();
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vouchsafe"));
        command.current_dir(self.0.path()).env_clear().env("VOUCHSAFE_HOME", self.path("home"));
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run(self.command().args(arguments).output().unwrap())
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["--json"]].concat()).succeeds();
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn issue(&self, arguments: &[&str]) -> Value {
        self.json(&[&["issue"], arguments].concat())
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    /// The same text for every run: what differs is named.
    pub(crate) fn told(&self, text: &str) -> String {
        let text = text.replace(&self.path("home").display().to_string(), "HOME");
        let mut told = String::new();
        let mut rest = text.as_str();
        while let Some(next) = rest.chars().next() {
            let hex = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
            let is_date = rest.get(..20).is_some_and(|date| {
                let shape = date.bytes().map(|b| if b.is_ascii_digit() { b'9' } else { b });
                shape.eq(*b"9999-99-99 99:99:99 ")
            });
            let (word, length) = match hex {
                32 => ("SERIAL", 32),
                64 => ("HASH", 64),
                _ if is_date => ("DATE", 23),
                0 => ("", next.len_utf8()),
                _ => ("", hex),
            };
            told.push_str(if word.is_empty() { &rest[..length] } else { word });
            rest = &rest[length..];
        }
        told
    }
}

impl Run {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    /// It did what was asked, and complained of nothing.
    pub(crate) fn succeeds(self) -> String {
        assert_eq!((self.stderr().as_str(), self.0.status.code()), ("", Some(0)));
        self.stdout()
    }

    /// It did not, and said why on stderr alone.
    pub(crate) fn ends_with(self, code: i32) -> String {
        assert_eq!(self.0.status.code(), Some(code), "{}{}", self.stdout(), self.stderr());
        assert_eq!(self.stdout(), "");
        self.stderr()
    }
}

/// A member of a JSON object that is a text.
pub(crate) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_else(|| panic!("{member} of {value}"))
}

/// A file of the user's own.
pub(crate) fn put(path: &Path, text: &str) {
    fs::File::create_new(path).unwrap().write_all(text.as_bytes()).unwrap();
}
