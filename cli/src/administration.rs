//! The CA's administration: the same verbs, whether the CA is in a home on this machine or a service
//! elsewhere, and whether a person asks at a terminal or an agent through MCP.
//!
//! ```text
//!   commands ── Administration ─┬─ Local:  the home's files ──────────┐
//!                               └─ Remote: a session ═ the CA's tools ┴─ Verb: a question, an answer
//! ```
//!
//! A [`Verb`] takes a question and gives an answer, both of which are JSON. It is written once; the
//! commands print the answer, and the tools return it.

pub(crate) mod audit;
pub(crate) mod crl;
pub(crate) mod inspect;
pub(crate) mod invite;
pub(crate) mod issue;
pub(crate) mod limit;
pub(crate) mod list;
mod operator;
mod remote;
pub(crate) mod revoke;
pub(crate) mod revoke_before;
pub(crate) mod rotate;
pub(crate) mod sentence;
pub(crate) mod view;

use std::path::PathBuf;

use rustls_pki_types::UnixTime;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vouchsafe_ca::{Authority, Home, Ledger, Pending};

pub(crate) use operator::Operator;
pub(crate) use remote::{Refused, Remote};

use crate::context::Context;
use crate::exit::Failure;
use crate::passphrase::PassphraseFile;

/// Something that the CA can be asked for: a question of type `A`, an answer of type `B`.
pub(crate) struct Verb<A, B> {
    /// What it is called, as a tool and in permissions.
    pub(crate) name: &'static str,
    /// What it does, for whoever chooses among tools.
    pub(crate) about: &'static str,
    /// What it needs, and how it is answered.
    pub(crate) work: Work<A, B>,
    /// The answer in words.
    pub(crate) in_words: fn(&B, UnixTime) -> String,
}

/// A verb's work, by how much of the CA must be open for it.
pub(crate) enum Work<A, B> {
    /// It looks at the home's files, and changes nothing.
    Home(fn(&Home, &Question<'_, A>) -> Result<B, Failure>),
    /// It looks at what the CA remembers, and changes nothing.
    Ledger(fn(&Home, &Ledger, &Question<'_, A>) -> Result<B, Failure>),
    /// It signs or records.
    Authority(fn(&Authority, &Question<'_, A>) -> Result<B, Failure>),
    /// It issues: there is nothing to wait for but the disk.
    Issuing(fn(&Authority, &Question<'_, A>) -> Result<Pending<B>, Failure>),
}

/// What was asked, by whom, and when.
pub(crate) struct Question<'a, A> {
    pub(crate) ask: A,
    pub(crate) by: &'a Operator,
    pub(crate) now: UnixTime,
}

impl<A, B> Verb<A, B> {
    /// Whether it leaves the CA as it was.
    pub(crate) fn changes_nothing(&self) -> bool {
        matches!(self.work, Work::Home(_) | Work::Ledger(_))
    }

    /// Whether it keeps its thread only for as long as it computes.
    pub(crate) fn never_blocks(&self) -> bool {
        matches!(self.work, Work::Issuing(_))
    }

    /// The answer of a CA that is at work.
    pub(crate) fn answer(
        &self,
        authority: &Authority,
        question: &Question<'_, A>,
    ) -> Result<Pending<B>, Failure> {
        match self.work {
            Work::Home(work) => work(authority.home(), question).map(Pending::from),
            Work::Ledger(work) => authority
                .look_up(|ledger| Ok(work(authority.home(), ledger, question)))?
                .map(Pending::from),
            Work::Authority(work) => work(authority, question).map(Pending::from),
            Work::Issuing(work) => work(authority, question),
        }
    }
}

/// Which CA: the one in the home, or a service.
#[derive(clap::Args, Debug)]
pub(crate) struct AdministrationArgs {
    /// Ask the CA that serves at this address, HOST:PORT, instead of the one in the home
    #[arg(
        long = "ca",
        value_name = "ADDR",
        env = "VOUCHSAFE_CA",
        hide_env_values = true,
        help_heading = "CA"
    )]
    address: Option<String>,
    /// Identity directory of the operator who asks a CA at --ca
    #[arg(
        long,
        value_name = "DIR",
        env = "VOUCHSAFE_IDENTITY",
        hide_env_values = true,
        help_heading = "CA"
    )]
    identity: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseFile,
}

/// The CA that a command works with.
pub(crate) enum Administration<'a> {
    /// In the home, with the passphrase of its keys.
    Local(&'a Context, &'a PassphraseFile),
    /// A service.
    Remote(Box<Remote>),
}

impl AdministrationArgs {
    /// The host of the service, if the CA is one.
    pub(crate) fn host(&self) -> Option<&str> {
        self.address.as_deref()?.rsplit_once(':').map(|(host, _)| host)
    }

    /// For what is done with keys that only the home's owner has.
    pub(crate) fn at_home(&self, option: &str) -> Result<&PassphraseFile, Failure> {
        match self.address {
            None => Ok(&self.passphrase),
            Some(_) => {
                Err(Failure::usage(format!("{option} goes with the CA's home, not with --ca"))
                    .hint("run it where the home is, without --ca and VOUCHSAFE_CA"))
            }
        }
    }

    /// Finds the CA. Nothing is opened or sent yet.
    pub(crate) fn administration<'a>(
        &'a self,
        context: &'a Context,
    ) -> Result<Administration<'a>, Failure> {
        let Some(address) = &self.address else {
            return Ok(Administration::Local(context, &self.passphrase));
        };
        let identity = self.identity.as_deref().ok_or_else(|| {
            Failure::usage("it is not known as whom to ask the CA")
                .hint("say --identity DIR, or set VOUCHSAFE_IDENTITY")
        })?;
        let remote = Remote::new(address, identity, &self.passphrase.of_identity())?;
        Ok(Administration::Remote(Box::new(remote)))
    }
}

impl Administration<'_> {
    /// Whether there is a CA to ask.
    pub(crate) fn is_there(&self) -> bool {
        match self {
            Self::Local(context, _) => {
                context.home().is_ok_and(|home| home.join("ca.toml").exists())
            }
            Self::Remote(_) => true,
        }
    }

    /// Asks for one thing.
    pub(crate) fn ask<A, B>(&self, verb: &Verb<A, B>, ask: A) -> Result<B, Failure>
    where
        A: Serialize,
        B: DeserializeOwned,
    {
        let mut answer = None;
        self.ask_on(verb, ask, |first| {
            answer = Some(first);
            Ok(None)
        })?;
        answer.ok_or_else(|| Failure::new("the CA gave no answer"))
    }

    /// Asks, and asks on for as long as `next` makes a further question of an answer.
    pub(crate) fn ask_on<A, B>(
        &self,
        verb: &Verb<A, B>,
        ask: A,
        mut next: impl FnMut(B) -> Result<Option<A>, Failure>,
    ) -> Result<(), Failure>
    where
        A: Serialize,
        B: DeserializeOwned,
    {
        match self {
            Self::Remote(remote) => remote.ask_on(verb.name, ask, next),
            Self::Local(context, passphrase) => {
                let opened = Opened::open(verb, context, passphrase)?;
                let mut ask = Some(ask);
                while let Some(asked) = ask {
                    let now = context.now()?;
                    let question = Question { ask: asked, by: &Operator::Home, now };
                    ask = next(opened.answer(&question)?)?;
                }
                Ok(())
            }
        }
    }
}

/// As much of the CA in the home as a verb needs: reading takes no key, and so no passphrase.
enum Opened<A, B> {
    Home(Home, fn(&Home, &Question<'_, A>) -> Result<B, Failure>),
    Ledger(Home, Ledger, fn(&Home, &Ledger, &Question<'_, A>) -> Result<B, Failure>),
    Authority(Box<Authority>, fn(&Authority, &Question<'_, A>) -> Result<B, Failure>),
    Issuing(Box<Authority>, fn(&Authority, &Question<'_, A>) -> Result<Pending<B>, Failure>),
}

impl<A, B> Opened<A, B> {
    fn open(
        verb: &Verb<A, B>,
        context: &Context,
        passphrase: &PassphraseFile,
    ) -> Result<Self, Failure> {
        Ok(match verb.work {
            Work::Home(work) => Self::Home(context.open_home()?, work),
            Work::Ledger(work) => {
                let (home, ledger) = context.open()?;
                Self::Ledger(home, ledger, work)
            }
            Work::Authority(work) => {
                Self::Authority(Box::new(context.open_authority(passphrase)?), work)
            }
            Work::Issuing(work) => {
                Self::Issuing(Box::new(context.open_authority(passphrase)?), work)
            }
        })
    }

    fn answer(&self, question: &Question<'_, A>) -> Result<B, Failure> {
        match self {
            Self::Home(home, work) => work(home, question),
            Self::Ledger(home, ledger, work) => work(home, ledger, question),
            Self::Authority(authority, work) => work(authority, question),
            Self::Issuing(authority, work) => Ok(work(authority, question)?.wait()?),
        }
    }
}
