//! `vouchsafe call`: one call of one tool, for scripts.

use rmcp::model::{CallToolRequestParams, CallToolResult, ContentBlock, JsonObject};
use vouchsafe_transport::Limits;

use crate::client::with_client;
use crate::context::Context;
use crate::exit::Failure;
use crate::runtime;
use crate::session::{Failed, SessionArgs};

/// Call one tool and print what it returns
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    session: SessionArgs,
    /// The tool
    #[arg(value_name = "TOOL")]
    tool: String,
    /// Its arguments, a JSON object
    #[arg(value_name = "JSON", default_value = "{}")]
    arguments: String,
}

/// Prints the text of the result, or the whole result.
pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let arguments: JsonObject = serde_json::from_str(&args.arguments)
        .map_err(|_| Failure::usage(format!("{} is not a JSON object", args.arguments)))?;
    let connector = args.session.connector(&Limits::default())?;
    let params = CallToolRequestParams::new(args.tool).with_arguments(arguments);
    let called = with_client(&connector, async |client| client.call_tool(params).await);
    let result = runtime::small()?.block_on(called)?;
    if context.json {
        context.print_json(&result)?;
    } else {
        context.print(&format!("{}\n", text_of(&result)))?;
    }
    match result.is_error {
        Some(true) => Err(Failed::Answer("the tool reports an error".into()).into()),
        _ => Ok(()),
    }
}

/// Text as it is; anything else as JSON.
fn in_words(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

/// All the text of a result.
pub(crate) fn text_of(result: &CallToolResult) -> String {
    result.content.iter().map(in_words).collect::<Vec<_>>().join("\n")
}
