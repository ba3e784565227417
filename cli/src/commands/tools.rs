//! `vouchsafe tools`: what a certificate lets its holder use.

use rmcp::model::Tool;
use vouchsafe_transport::Limits;

use crate::client::with_client;
use crate::context::Context;
use crate::exit::Failure;
use crate::notice::harmless;
use crate::output::Table;
use crate::runtime;
use crate::session::SessionArgs;

/// List the tools that an identity may use
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    session: SessionArgs,
}

/// Prints a table, or the tools as the server describes them.
pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let connector = args.session.connector(&Limits::default())?;
    let listed = with_client(&connector, async |client| client.list_all_tools().await);
    let tools = runtime::small()?.block_on(listed)?;
    if context.json {
        return context.print_json(&tools);
    }
    if tools.is_empty() {
        return context
            .print("no tools: this certificate permits none of those that the server has\n");
    }
    let mut table = Table::default();
    table.row(["TOOL", "DESCRIPTION"]);
    for tool in &tools {
        table.row([&harmless(&tool.name), &summary(tool)]);
    }
    context.print(&table.to_text())
}

/// The first sentence of the description, which is the server's own.
fn summary(tool: &Tool) -> String {
    let description = tool.description.as_deref().unwrap_or_default();
    let line = description.lines().next().unwrap_or_default();
    harmless(line.split(". ").next().unwrap_or_default())
}
