//! Asking a CA that serves elsewhere: its verbs are tools, and it answers over MCP.

use std::path::Path;

use rmcp::model::{CallToolRequestParams, CallToolResult, JsonObject};
use rmcp::schemars;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vouchsafe_certs::Principal;
use vouchsafe_transport::{Connector, Limits, Peer};

use crate::assemble::{self, IdentityDirectory};
use crate::client::{Client, in_session};
use crate::est::is_the_ca;
use crate::exit::Failure;
use crate::identity::Present;
use crate::notice::harmless;
use crate::passphrase::KeyPassphraseFile;
use crate::runtime;
use crate::session::Failed;

/// Why a tool of the CA did not do what was asked: the structured content of its error.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Debug)]
pub(crate) struct Refused {
    /// What happened and why.
    pub(crate) error: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl From<Refused> for Failure {
    fn from(Refused { error, hint }: Refused) -> Self {
        let failure = Self::new(harmless(&error));
        match hint {
            Some(hint) => failure.hint(harmless(&hint)),
            None => failure,
        }
    }
}

/// The way to a CA's service.
pub(crate) struct Remote {
    connector: Connector,
    /// Who asks.
    operator: Principal,
}

impl Remote {
    /// To the CA at `address`, as the operator whose identity is in a directory.
    pub(super) fn new(
        address: &str,
        identity: &Path,
        passphrase: &KeyPassphraseFile,
    ) -> Result<Self, Failure> {
        let identity = Present::fixed(IdentityDirectory::open(identity, passphrase)?.read()?);
        // The CA's own certificate lives for a day at most, and it signs the lists itself.
        let trust = assemble::trust_without_list(&identity);
        let limits = Limits::default();
        let connector = assemble::connector(address, None, &identity, trust, &limits)?;
        Ok(Self { connector, operator: identity.now().certificate.principal.clone() })
    }

    /// Calls a tool, in one session for as long as `next` makes a further question of an answer.
    pub(super) fn ask_on<A, B>(
        &self,
        tool: &'static str,
        ask: A,
        mut next: impl FnMut(B) -> Result<Option<A>, Failure>,
    ) -> Result<(), Failure>
    where
        A: Serialize,
        B: DeserializeOwned,
    {
        let asked = async |client: &Client| {
            let mut ask = ask;
            loop {
                let arguments = match arguments(&ask) {
                    Ok(arguments) => arguments,
                    Err(failure) => return Ok(Err(failure)),
                };
                let params = CallToolRequestParams::new(tool).with_arguments(arguments);
                let result = client.call_tool(params).await?;
                match answer(result).and_then(&mut next) {
                    Ok(Some(further)) => ask = further,
                    Ok(None) => return Ok(Ok(())),
                    Err(failure) => return Ok(Err(failure)),
                }
            }
        };
        runtime::small()?.block_on(async {
            let session = self.connector.connect().await.map_err(Failed::from)?;
            must_be_the_ca(session.peer(), &self.operator)?;
            in_session(&self.connector, session, asked).await?
        })
    }
}

/// A gateway may have the host name of the CA in its certificate as well, and whoever asked it to
/// revoke would believe what it answers.
fn must_be_the_ca(peer: &Peer, operator: &Principal) -> Result<(), Failure> {
    if is_the_ca(&peer.principal, Some(operator)) {
        return Ok(());
    }
    Err(Failure::new(format!("the server there is {}, not the CA", peer.principal))
        .hint("see that the address is the CA's, not a gateway's"))
}

fn arguments(ask: &impl Serialize) -> Result<JsonObject, Failure> {
    match serde_json::to_value(ask) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err(Failure::new("the question is no JSON object")),
        Err(error) => Err(Failure::new(format!("the question cannot be written: {error}"))),
    }
}

fn answer<B: DeserializeOwned>(result: CallToolResult) -> Result<B, Failure> {
    let content = result.structured_content.unwrap_or_default();
    if result.is_error == Some(true) {
        return Err(match serde_json::from_value::<Refused>(content) {
            Ok(refused) => refused.into(),
            Err(_) => Failure::new("the CA refused, and did not say why"),
        });
    }
    serde_json::from_value(content).map_err(|error| {
        let error = harmless(&error.to_string());
        Failure::new(format!("the answer is not one of a CA of this version: {error}"))
            .hint("see that the address is the CA's, not a gateway's")
    })
}
