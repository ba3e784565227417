//! What looks like a key or a token in what a server says is replaced before the client sees it.
//!
//! Only texts within the JSON are changed, and they are looked at as what they mean: an escape in the
//! middle of a key hides nothing, and what comes out is a message as it was one before. How many were
//! replaced is recorded, never what.

mod patterns;
mod walk;

use std::borrow::Cow;
use std::ops::Range;

use regex::{Captures, Regex, RegexBuilder};
use thiserror::Error;

use self::patterns::PATTERNS;
pub(super) use self::walk::Rules as WalkRules;
use self::walk::texts;

/// What stands in a secret's place.
const REDACTED: &str = "[redacted]";

/// Octets of one compiled pattern of an operator's.
const MAX_PATTERN_LEN: usize = 1024 * 1024;

/// How often what is left is looked at again. Nothing is left of a text in which there is more to be found
/// even then: it was made to have it.
const ROUNDS: usize = 4;

/// What counts as a secret.
#[derive(Debug, Clone)]
pub(super) struct Redaction(Vec<Regex>);

/// Why a pattern is not taken.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Not a regular expression, or one without end.
    #[error("{0}")]
    Malformed(regex::Error),
    /// It would be found everywhere.
    #[error("it matches where there is nothing")]
    Empty,
}

/// A text that is replaced: where it stands, the JSON text in its place, and how many secrets it held.
pub(super) struct Replaced {
    pub(super) span: Range<usize>,
    pub(super) text: String,
    pub(super) secrets: usize,
}

impl Redaction {
    /// What is known to be secrets.
    pub(super) fn new() -> Result<Self, PatternError> {
        PATTERNS.iter().map(|pattern| compile(pattern)).collect::<Result<_, _>>().map(Self)
    }

    /// And this.
    pub(super) fn add(&mut self, pattern: &str) -> Result<(), PatternError> {
        let pattern = compile(pattern)?;
        if pattern.is_match("") {
            return Err(PatternError::Empty);
        }
        self.0.push(pattern);
        Ok(())
    }

    /// Every text that is replaced in JSON text that the reader has accepted.
    pub(super) fn of(&self, json: &str, rules: WalkRules) -> Vec<Replaced> {
        let mut replaced = Vec::new();
        texts(json, rules, |span, text| {
            if let Some((text, secrets)) = self.without_secrets(text) {
                let text = serde_json::Value::from(text).to_string();
                replaced.push(Replaced { span, text, secrets });
            }
        });
        replaced
    }

    /// The text without its secrets, and how many there were; `None` if there were none.
    fn without_secrets(&self, text: &str) -> Option<(String, usize)> {
        let mut left = Left { text: Cow::Borrowed(text), secrets: 0 };
        self.0.iter().for_each(|pattern| left.take_out(pattern));
        if left.secrets == 0 {
            return None;
        }
        // What stood around a password may now look like another: `://a:b://c:d@e@f`.
        let known = self.0.get(..PATTERNS.len()).unwrap_or_default();
        for _ in 0..ROUNDS {
            let before = left.secrets;
            known.iter().for_each(|pattern| left.take_out(pattern));
            if left.secrets == before {
                return Some((left.text.into_owned(), left.secrets));
            }
        }
        Some((REDACTED.to_owned(), left.secrets))
    }
}

/// What is left of a text.
struct Left<'t> {
    text: Cow<'t, str>,
    secrets: usize,
}

impl Left<'_> {
    fn take_out(&mut self, pattern: &Regex) {
        let mut count = 0;
        let replaced = pattern.replace_all(&self.text, |_: &Captures<'_>| {
            count += 1;
            REDACTED
        });
        if count > 0 {
            self.text = Cow::Owned(replaced.into_owned());
            self.secrets += count;
        }
    }
}

fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_PATTERN_LEN).build();
    built.map_err(PatternError::Malformed)
}

#[cfg(test)]
mod tests;
