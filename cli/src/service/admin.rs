//! Administration as an MCP server: every verb is a tool, and its answer is the tool's result.
//!
//! The gateway before it has let a call pass because the caller holds `tools:<verb>`; whom the verb
//! may concern, the verb itself asks of the caller's certificate ([`Operator`]).

use std::path::Path;
use std::sync::{Arc, LazyLock};

use rmcp::handler::server::tool::{schema_for_input, schema_for_output};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    Implementation, JsonObject, ListToolsResult, PaginatedRequestParams, ServerCapabilities,
    ServerConfig, Tool, ToolAnnotations,
};
use rmcp::schemars::JsonSchema;
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::UnixTime;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::DuplexStream;
use vouchsafe_ca::{Authority, Pending};
use vouchsafe_transport::Peer;

use super::signers::Signers;
use crate::administration::audit::AUDIT;
use crate::administration::crl::CRL;
use crate::administration::inspect::INSPECT;
use crate::administration::invite::{INVITATIONS, INVITE, WITHDRAW};
use crate::administration::issue::ISSUE;
use crate::administration::limit::{LIMIT, SHOW_LIMIT};
use crate::administration::list::LIST;
use crate::administration::revoke::{REINSTATE, REVOKE};
use crate::administration::revoke_before::REVOKE_BEFORE;
use crate::administration::rotate::{CAS, RETIRE, ROTATE};
use crate::administration::{Operator, Question, Refused, Verb};
use crate::exit::Failure;

/// Every verb that the service answers.
static TOOLS: LazyLock<Vec<AdminTool>> = LazyLock::new(|| {
    vec![
        AdminTool::of(&ISSUE),
        AdminTool::of(&INVITE),
        AdminTool::of(&INVITATIONS),
        AdminTool::of(&WITHDRAW),
        AdminTool::of(&REVOKE),
        AdminTool::of(&REVOKE_BEFORE),
        AdminTool::of(&REINSTATE),
        AdminTool::of(&LIMIT),
        AdminTool::of(&SHOW_LIMIT),
        AdminTool::of(&LIST),
        AdminTool::of(&INSPECT),
        AdminTool::of(&AUDIT),
        AdminTool::of(&CRL),
        AdminTool::of(&ROTATE),
        AdminTool::of(&RETIRE),
        AdminTool::of(&CAS),
    ]
});

/// What a tool makes of its arguments.
type Answering = Box<
    dyn Fn(&Authority, &Operator, UnixTime, JsonObject) -> Result<Pending<CallToolResult>, Failure>
        + Send
        + Sync,
>;

/// A verb as MCP knows it.
struct AdminTool {
    tool: Tool,
    never_blocks: bool,
    answer: Answering,
}

impl AdminTool {
    fn of<A, B>(verb: &'static Verb<A, B>) -> Self
    where
        A: DeserializeOwned + JsonSchema + 'static,
        B: Serialize + JsonSchema + 'static,
    {
        let input = schema_for_input::<A>().unwrap_or_default();
        let annotations = ToolAnnotations::new()
            .read_only(verb.changes_nothing())
            .destructive(!verb.changes_nothing())
            .open_world(false);
        let tool = Tool::new(verb.name, verb.about, input)
            .with_raw_output_schema(schema_for_output::<B>())
            .with_annotations(annotations);
        Self {
            tool,
            never_blocks: verb.never_blocks(),
            answer: Box::new(move |ca, by, now, ask| answer(verb, ca, by, now, ask)),
        }
    }
}

/// One question, one answer: in words for models that read text, as JSON for programs.
fn answer<A, B>(
    verb: &Verb<A, B>,
    authority: &Authority,
    by: &Operator,
    now: UnixTime,
    arguments: JsonObject,
) -> Result<Pending<CallToolResult>, Failure>
where
    A: DeserializeOwned,
    B: Serialize,
{
    let ask = serde_json::from_value(Value::Object(arguments))
        .map_err(|error| Failure::usage(format!("the arguments are not understood: {error}")))?;
    let answer = verb.answer(authority, &Question { ask, by, now })?;
    Ok(answer.map(|answer| match to_json(&answer) {
        Ok(json) => {
            let words = (verb.in_words)(&answer, now);
            let mut result = CallToolResult::success(vec![ContentBlock::text(words)]);
            result.structured_content = Some(json);
            result
        }
        Err(failure) => refused(&failure, authority.home().path()),
    }))
}

/// A failure's words without the place where the home is, which concerns whoever has it.
fn abroad(text: &str, home: &Path) -> String {
    let home = home.display().to_string();
    let mut said = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(&home).filter(|_| !home.is_empty()) {
        said.push_str(before);
        // Of a longer path or word it is only a part.
        let begins = !said.ends_with(|c: char| c.is_alphanumeric() || "/._-".contains(c));
        let ends = !after.starts_with(|c: char| c.is_alphanumeric() || "._-".contains(c));
        said.push_str(if begins && ends { "HOME" } else { &home });
        rest = after;
    }
    said + rest
}

fn to_json(value: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(value)
        .map_err(|error| Failure::new(format!("the answer cannot be written: {error}")))
}

fn refused(failure: &Failure, home: &Path) -> CallToolResult {
    let error = abroad(&failure.to_string(), home);
    let hint = failure.what_next().map(|hint| abroad(hint, home));
    let words = match &hint {
        Some(hint) => format!("error: {error}\nhint: {hint}"),
        None => format!("error: {error}"),
    };
    let mut result = CallToolResult::error(vec![ContentBlock::text(words)]);
    result.structured_content = serde_json::to_value(Refused { error, hint }).ok();
    result
}

/// Serves one session of an operator, until its stream ends.
pub(super) async fn serve(
    authority: Arc<Authority>,
    signers: Arc<Signers>,
    peer: Arc<Peer>,
    stream: DuplexStream,
) {
    let operator = Operator::Certified {
        principal: peer.principal.clone(),
        fingerprint: peer.fingerprint,
        permissions: peer.permissions.clone(),
    };
    let admin = Admin { authority, signers, operator: Arc::new(operator) };
    if let Ok(running) = admin.serve(stream).await {
        // However it ends, the session is over, and the gateway has said so.
        drop(running.waiting().await);
    }
}

/// The administration, as one operator may use it.
struct Admin {
    authority: Arc<Authority>,
    signers: Arc<Signers>,
    operator: Arc<Operator>,
}

impl ServerHandler for Admin {
    fn get_info(&self) -> ServerConfig {
        let mut info = ServerConfig::new(ServerCapabilities::builder().enable_tools().build());
        info.server_info = Implementation::new("vouchsafe-ca", env!("CARGO_PKG_VERSION"));
        info
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = TOOLS.iter().map(|known| known.tool.clone()).collect();
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let known = TOOLS.iter().find(|known| known.tool.name == request.name);
        let known =
            known.ok_or_else(|| ErrorData::invalid_params("there is no such tool", None))?;
        let now = DefaultTimeProvider
            .current_time()
            .ok_or_else(|| ErrorData::internal_error("the system clock cannot be read", None))?;
        let (authority, operator) = (Arc::clone(&self.authority), Arc::clone(&self.operator));
        let arguments = request.arguments.unwrap_or_default();
        let work = move || {
            operator.counts(&authority)?;
            (known.answer)(&authority, &operator, now, arguments)
        };
        // Not on this thread, and what has begun ends even if the session does not live to see it.
        let settled = async |begun: Result<Pending<_>, Failure>| Ok(begun?.settled().await?);
        let result = match known.never_blocks {
            true => self.signers.run(async move { settled(work()).await }).await,
            false => match tokio::task::spawn_blocking(work).await {
                Ok(begun) => Some(settled(begun).await),
                Err(_) => None,
            },
        };
        let failed = || ErrorData::internal_error("the CA failed; its log says why", None);
        let result: Result<_, Failure> = result.ok_or_else(failed)?;
        let said = |failure: Failure| refused(&failure, self.authority.home().path());
        Ok(result.unwrap_or_else(said).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_home_is_not_told_and_nothing_else_is_taken_for_it() {
        let tells = |text: &str| abroad(text, Path::new("/ca"));
        assert_eq!(tells("/ca/root.key is not here (/ca)"), "HOME/root.key is not here (HOME)");
        assert_eq!(
            tells("cannot read '/ca/a': cannot read /ca"),
            "cannot read 'HOME/a': cannot read HOME"
        );
        for other in ["spiffe://acme.example/ca is the CA", "/cab/x", "/var/ca/x", "/ca.old", ""] {
            assert_eq!(tells(other), other);
        }
    }

    #[test]
    fn every_tool_says_what_it_takes_and_gives() {
        for AdminTool { tool, .. } in TOOLS.iter() {
            assert!(tool.description.as_ref().is_some_and(|about| about.contains("ca:")));
            assert_eq!(tool.input_schema["type"], "object", "{}", tool.name);
            let output = tool.output_schema.as_ref().unwrap();
            assert_eq!(output["type"], "object", "{}", tool.name);
        }
    }
}
