//! What `connect`, `call` and `tools` share: the way to a gateway, and how it fails.

use std::path::PathBuf;

use thiserror::Error;
use vouchsafe_transport::{ConnectError, Connector, Limits};

use crate::assemble::{self, IdentityDirectory};
use crate::exit::Failure;
use crate::follow::{CaArgs, Source};
use crate::identity;
use crate::notice::{harmless, say};
use crate::passphrase::KeyPassphraseFile;

/// Which gateway, and as whom.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionArgs {
    /// The gateway: HOST:PORT, or https://HOST:PORT/PATH to speak Streamable HTTP to it
    #[arg(value_name = "ADDR")]
    address: String,
    /// Identity directory of the agent (made by `issue --out DIR`)
    #[arg(long, value_name = "DIR")]
    identity: PathBuf,
    /// Refuse a gateway whose certificate this list revokes; without it and without --ca the certificate's short life is all that bounds a stolen one
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    #[command(flatten)]
    ca: CaArgs,
    /// The name that the gateway's certificate must carry [default: HOST]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    #[command(flatten)]
    passphrase: KeyPassphraseFile,
}

impl SessionArgs {
    /// Prepares the way; nothing is sent yet.
    pub(crate) fn connector(&self, limits: &Limits) -> Result<Connector, Failure> {
        let directory = IdentityDirectory::open(&self.identity, &self.passphrase)?;
        let notice = |text: &str| say(&format!("vouchsafe: {text}"));
        let present = identity::follow(directory, notice)?;
        let source = match &self.crl {
            Some(file) => Some(Source::File(file.clone())),
            None => self.ca.source(&self.identity)?,
        };
        let trust = match source {
            Some(source) => assemble::trust_with_lists(&present, &source.follow(&present, notice)?),
            None => assemble::trust_without_list(&present),
        };
        assemble::connector(&self.address, self.server_name.as_deref(), &present, trust, limits)
    }
}

/// Why a session did not do what it was opened for.
#[derive(Debug, Error)]
pub(crate) enum Failed {
    /// It did not come about.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// It was ended, and this is why.
    #[error("{0}: {1}")]
    Ended(String, Box<ConnectError>),
    /// The server answered with an error.
    #[error("{0}")]
    Answer(String),
    /// No version of MCP was agreed on.
    #[error("the server and this client did not come to terms: {0}")]
    Disagreed(String),
    /// It ended, and nobody said why.
    #[error("{0}")]
    Broken(String),
}

impl Failed {
    /// Whether the gateway could not be reached at all, which trying again later may mend.
    pub(crate) fn is_unreachable(&self) -> bool {
        let cause = match self {
            Self::Connect(cause) => cause,
            Self::Ended(_, cause) => cause,
            Self::Answer(_) | Self::Disagreed(_) | Self::Broken(_) => return false,
        };
        matches!(cause, ConnectError::Unreachable { .. } | ConnectError::TooSlow(_))
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        if failed.is_unreachable() {
            return Self::unreachable(failed)
                .hint("see that the gateway is running and that the address is right");
        }
        let failure = Self::new(harmless(&failed.to_string()));
        match failed {
            Failed::Disagreed(_) => failure.hint(
                "see that an MCP server is at this address; in an https:// URL the path counts, and a gateway's is /mcp",
            ),
            _ => failure,
        }
    }
}
