//! Whether the arguments of a call are what its tool asks for (`inputSchema`, JSON Schema 2020-12 where
//! it does not say otherwise).
//!
//! The schema is the server's and the arguments are the client's, and neither may cost the gateway more
//! than it bears: nothing is fetched, no reference leaves the schema, patterns match in linear time or
//! are tried so often and no more, and what one check can come to is worked out before the first one.

mod cost;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
use thiserror::Error;

use crate::message::string_end;

/// Octets of one schema; the largest of the public servers has some twenty thousand.
const MAX_LEN: usize = 256 * 1024;

/// Values of one schema.
const MAX_SCHEMA_VALUES: usize = 16 * 1024;

/// Patterns of one schema, and octets of a compiled one and of what it remembers while it matches.
const MAX_PATTERNS: usize = 64;
const MAX_PATTERN_LEN: usize = 256 * 1024;

/// Values of one call's arguments. Each takes up to some hundred octets while it is checked.
const MAX_VALUES: usize = 100_000;

/// What one check may come to: values of the arguments, each as often as the schema may look at it.
const MAX_WORK: usize = 4_000_000;

/// The same for octets, which patterns look at.
const MAX_OCTETS: usize = 256 * 1024 * 1024;

/// The same for patterns that look around them, as those of popular schema makers for mail addresses do.
/// They are matched by trying, so often at most; what cannot be told by then is refused.
const MAX_OCTETS_TRIED: usize = 16 * 1024;
const MAX_TRIES: usize = 2_000;

/// Beyond that work one is told that arguments do not fit, and not where: the library gathers what is
/// wrong with every alternative of a schema, with a copy of each value.
const MAX_TELLING: usize = 50_000;

/// Octets of what a caller is told.
const MAX_TOLD: usize = 500;

/// Schemas that sessions share, and their octets together.
const MAX_SHARED: usize = 1024;
const MAX_SHARED_LEN: usize = 16 * 1024 * 1024;

/// Why arguments do not pass.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Misfit {
    /// They are not what the schema asks for.
    #[error("the arguments do not fit the tool's schema at {rule}")]
    Wrong {
        /// Where in the schema: for the record, which must hold nothing of the arguments.
        rule: String,
        /// Which argument and why, for its sender. Values are not repeated.
        told: String,
    },
    /// It cannot be told whether they are.
    #[error("the arguments cannot be checked: {0}")]
    Unchecked(String),
}

/// The schema of a tool's arguments.
#[derive(Debug)]
pub(super) struct Schema {
    text: Box<str>,
    /// Made when it is first needed.
    compiled: OnceLock<Result<Compiled, String>>,
}

#[derive(Debug)]
struct Compiled {
    validator: Validator,
    /// How often it may look at one value.
    cost: usize,
    /// How many octets it may look at.
    max_octets: usize,
}

impl Schema {
    fn new(text: &str) -> Self {
        Self { text: text.into(), compiled: OnceLock::new() }
    }

    /// Checks arguments, as their JSON text.
    pub(super) fn check(&self, arguments: &str) -> Result<(), Misfit> {
        let compiled = self.compiled.get_or_init(|| compile(&self.text));
        let compiled = compiled
            .as_ref()
            .map_err(|why| Misfit::Unchecked(format!("the tool's schema cannot be used: {why}")))?;
        let too_much = |what: &str| Err(Misfit::Unchecked(format!("they {what}")));
        let values = values(arguments);
        let work = values.saturating_mul(compiled.cost);
        let octets = arguments.len().saturating_mul(compiled.cost);
        if values > MAX_VALUES || work > MAX_WORK || octets > compiled.max_octets {
            return too_much("hold too much for this tool's schema");
        }
        if depth(arguments) > cost::MAX_DEPTH {
            return too_much("are nested too deeply");
        }
        let read = serde_json::from_str(arguments);
        let read = read.map_err(|_| Misfit::Unchecked("they cannot be read".to_owned()))?;
        if compiled.validator.is_valid(&read) {
            return Ok(());
        }
        Err(match work.max(arguments.len()) > MAX_TELLING {
            true => Misfit::Wrong { rule: "/".into(), told: "they do not fit the schema".into() },
            false => misfit(&compiled.validator, &read),
        })
    }
}

fn compile(text: &str) -> Result<Compiled, String> {
    if text.len() > MAX_LEN || values(text) > MAX_SCHEMA_VALUES {
        return Err("it is too long".to_owned());
    }
    let schema = serde_json::from_str(text).map_err(|_| "it cannot be read".to_owned())?;
    let cost = cost::of(&schema).map_err(|error| error.to_string())?;
    if cost::patterns(&schema) > MAX_PATTERNS {
        return Err("it has too many patterns".to_owned());
    }
    let options = || jsonschema::options().offline().should_validate_formats(false);
    let linear = PatternOptions::regex();
    let linear = linear.size_limit(MAX_PATTERN_LEN).dfa_size_limit(MAX_PATTERN_LEN);
    if let Ok(validator) = options().with_pattern_options(linear).build(&schema) {
        return Ok(Compiled { validator, cost, max_octets: MAX_OCTETS });
    }
    let tried = PatternOptions::fancy_regex().backtrack_limit(MAX_TRIES);
    let tried = tried.size_limit(MAX_PATTERN_LEN).dfa_size_limit(MAX_PATTERN_LEN);
    let built = options().with_pattern_options(tried).build(&schema);
    let validator = built
        .map_err(|error| shortened(&format!("{} ({})", error.masked(), error.schema_path())))?;
    Ok(Compiled { validator, cost, max_octets: MAX_OCTETS_TRIED })
}

/// What is wrong, in words: the first thing.
fn misfit(validator: &Validator, arguments: &serde_json::Value) -> Misfit {
    use ValidationErrorKind::{FromUtf8, PropertyNames, UnevaluatedItems};
    let Err(error) = validator.validate(arguments) else {
        return Misfit::Unchecked("the two ways of checking them differ".to_owned());
    };
    let why = match error.kind() {
        // These repeat what was sent.
        PropertyNames { .. } => "the name of a property is not allowed".to_owned(),
        UnevaluatedItems { .. } => "there are items too many".to_owned(),
        FromUtf8 { .. } => "it is not UTF-8".to_owned(),
        _ => error.masked_with("it").to_string(),
    };
    let place = match error.instance_path().as_str() {
        "" => "arguments".to_owned(),
        place => format!("arguments{place}"),
    };
    let rule = shortened(error.schema_path().as_str());
    Misfit::Wrong { rule, told: shortened(&format!("{place}: {why}")) }
}

fn shortened(text: &str) -> String {
    let end = (0..=MAX_TOLD.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// The octets of JSON text outside of its strings.
fn structure(text: &str) -> impl Iterator<Item = u8> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        at = if byte == b'"' { string_end(bytes, at)? } else { at + 1 };
        Some(byte)
    })
}

/// How many values there are in JSON text, at most.
fn values(text: &str) -> usize {
    1 + structure(text).filter(|byte| matches!(byte, b',' | b'[' | b'{')).count()
}

/// How deeply JSON text is nested.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in structure(text) {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// The schemas of one gateway. Its sessions have servers of their own, which mostly say the same.
#[derive(Debug, Default)]
pub(super) struct Schemas(Mutex<HashMap<Box<str>, Arc<Schema>>>);

impl Schemas {
    /// The schema with this text.
    pub(super) fn of(&self, text: &str) -> Arc<Schema> {
        if text.len() > MAX_LEN {
            // It will say so itself, and is not kept.
            return Arc::new(Schema::new("null,"));
        }
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(schema) = shared.get(text) {
            return Arc::clone(schema);
        }
        let len: usize = shared.keys().map(|text| text.len()).sum();
        if shared.len() >= MAX_SHARED || len + text.len() > MAX_SHARED_LEN {
            // Sessions keep what they have.
            shared.clear();
        }
        let schema = Arc::new(Schema::new(text));
        shared.insert(text.into(), Arc::clone(&schema));
        schema
    }
}

#[cfg(test)]
mod tests;
