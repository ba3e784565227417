//! Tools that say something before their answer: progress, log messages, changes, and in the eras
//! that `initialize` questions to the client.

use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, LoggingLevel,
    LoggingMessageNotificationParam, ProgressNotificationParam, ServerRequest,
};
use rmcp::service::ServiceError;
use rmcp::{ErrorData, Peer, RoleServer};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::answers::{argument, of, string, text};
use crate::changes::Changes;
use crate::fixture::{Answer, Context};
use crate::questions;

/// The suite looks whether messages come apart from each other.
const PAUSE: Duration = Duration::from_millis(50);

/// Whoever waits for so long wants a stream, and to know how it can be resumed.
const LONG: Duration = Duration::from_millis(700);

pub(crate) async fn call(
    call: &CallToolRequestParams,
    changes: &Changes,
    context: &Context,
) -> Answer<Option<CallToolResult>> {
    let said = |name: &str| argument(call, name).and_then(Value::as_str).unwrap_or_default();
    let result = match &*call.name {
        "test_tool_with_progress" => progress(context).await?,
        "test_tool_with_logging" | "test_logging_tool" => logging(context).await?,
        // Over stdio there is no connection to close before the answer, so there is none over HTTP.
        "test_reconnection" => {
            sleep(LONG).await;
            text("still here")
        }
        "test_trigger_tool_change" => {
            changes.of_tools().await;
            text("the list of tools has changed")
        }
        "test_trigger_prompt_change" => {
            changes.of_prompts().await;
            text("the list of prompts has changed")
        }
        "test_missing_capability" => {
            needs_sampling(context)?;
            text("the client can be asked for a completion")
        }
        "test_sampling" => {
            let answer = ask(&context.peer, questions::sampling(said("prompt"), 100)).await?;
            text(format!("LLM response: {}", string(&answer, "/content/text").unwrap_or("none")))
        }
        "test_elicitation" => {
            let properties = json!({
                "username": {"type": "string", "description": "User's response"},
                "email": {"type": "string", "description": "User's email address"},
            });
            let question =
                questions::elicitation(said("message"), &properties, &["username", "email"]);
            text(format!("User response: {}", elicited(context, question).await?))
        }
        "test_elicitation_sep1034_defaults" => text(format!(
            "Elicitation completed: {}",
            elicited(context, questions::defaults()).await?
        )),
        "test_elicitation_sep1330_enums" => text(format!(
            "Elicitation completed: {}",
            elicited(context, questions::choices()).await?
        )),
        _ => return Ok(None),
    };
    Ok(Some(result))
}

async fn progress(context: &Context) -> Answer<CallToolResult> {
    for (step, done) in [0.0, 50.0, 100.0].into_iter().enumerate() {
        if step > 0 {
            sleep(PAUSE).await;
        }
        if let Some(token) = context.meta.get_progress_token() {
            let progress = ProgressNotificationParam::new(token, done).with_total(100.0);
            context.peer.notify_progress(progress).await.map_err(failed)?;
        }
    }
    Ok(text("done, with progress"))
}

/// Since 2026-07-28 a request says itself whether it wants to hear anything.
async fn logging(context: &Context) -> Answer<CallToolResult> {
    let wanted = context.protocol_version().is_none_or(|version| version.as_str() < "2026-07-28")
        || context.meta.log_level().is_some();
    for (step, line) in
        ["Tool execution started", "Tool processing data", "Tool execution completed"]
            .into_iter()
            .enumerate()
    {
        if step > 0 {
            sleep(PAUSE).await;
        }
        if wanted {
            let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, json!(line));
            context.peer.notify_logging_message(message).await.map_err(failed)?;
        }
    }
    Ok(text("done, with a log"))
}

fn needs_sampling(context: &Context) -> Answer<()> {
    if context.client_capabilities().is_some_and(|capable| capable.sampling.is_some()) {
        return Ok(());
    }
    let required = ClientCapabilities::builder().enable_sampling().build();
    Err(ErrorData::missing_required_client_capability(required))
}

async fn elicited(context: &Context, question: Value) -> Answer<String> {
    let answer = ask(&context.peer, question).await?;
    Ok(format!(
        "action={}, content={}",
        string(&answer, "/action").unwrap_or("none"),
        answer.get("content").unwrap_or(&Value::Null)
    ))
}

/// Asks the client, which answers while its own request waits.
async fn ask(peer: &Peer<RoleServer>, question: Value) -> Answer<Value> {
    let answer = peer.send_request(of::<ServerRequest>(question)?).await.map_err(failed)?;
    serde_json::to_value(answer).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn failed(error: ServiceError) -> ErrorData {
    match error {
        ServiceError::McpError(error) => error,
        error => ErrorData::internal_error(error.to_string(), None),
    }
}
