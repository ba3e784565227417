//! `vouchsafe demo`: the whole story on this machine, in seconds. Every line says what just happened.

mod stage;

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vouchsafe_ca::Reason;
use vouchsafe_transport::Connector;

use self::stage::{Agent, Stage, arguments, ask, took};
use crate::client::with_client;
use crate::context::Context;
use crate::exit::Failure;
use crate::runtime;
use crate::session::Failed;

/// Show the whole story on this machine: issue, connect, enforce, revoke, cut
///
/// Everything is made in a temporary directory and gone afterwards; nothing needs to be installed.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Keep the temporary directory, to look around in it
    #[arg(long)]
    keep: bool,
}

/// Who plays.
const READER: &str = "reader";
const EDITOR: &str = "editor";

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    runtime::large()?.block_on(story(args, context))
}

async fn story(args: &Args, context: &Context) -> Result<(), Failure> {
    let start = Instant::now();
    let mut stage = Stage::set(context, args.keep)?;
    stage.say("Vouchsafe: machine agents reach MCP servers with nothing but a certificate.")?;

    let (made, time) = took(|| stage.found_ca());
    made?;
    stage.step(&format!("A certificate authority for {}", stage::TRUST_DOMAIN), time)?;

    let (issued, time) = took(|| issue_identities(&mut stage));
    let (reader, editor) = issued?;
    stage.step(
        "Certificates for a gateway and for two agents; what an agent may do stands in it",
        time,
    )?;
    stage.detail(READER, &format!("may use {}", reader.permissions()))?;
    stage.detail(EDITOR, &format!("may use {}", editor.permissions()))?;

    let begun = Instant::now();
    let gateway = stage.open_gateway().await?;
    let address = gateway.address;
    stage.step(
        &format!("A gateway on {address}, mutual TLS 1.3, with an MCP server behind it"),
        begun.elapsed(),
    )?;

    let (reader, editor) = (reader.dial(address)?, editor.dial(address)?);
    tools_of_each(&stage, &reader, &editor).await?;
    calls(&stage, &reader).await?;
    strange_ca(&stage, address).await?;
    revocation(&stage, &reader, &editor).await?;

    let events = gateway.events()?;
    stage.step(
        &format!("The gateway's audit holds {events} events of who did what"),
        Duration::ZERO,
    )?;
    gateway.close().await;
    stage.say(&format!(
        "\nThat took {:.1} s. Next: `vouchsafe init --trust-domain NAME` makes a CA of your own.",
        start.elapsed().as_secs_f64()
    ))?;
    stage.strike()
}

fn issue_identities(stage: &mut Stage<'_>) -> Result<(Agent, Agent), Failure> {
    stage.issue_gateway()?;
    let reader = stage.issue(READER, &["tools:search_notes", "tools:read_note"])?;
    let editor = stage.issue(EDITOR, &["tools:*"])?;
    Ok((reader, editor))
}

async fn tools_of_each(
    stage: &Stage<'_>,
    reader: &Connector,
    editor: &Connector,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut seen = Vec::new();
    for (name, connector) in [(READER, reader), (EDITOR, editor)] {
        let tools = with_client(connector, async |client| client.list_all_tools().await).await?;
        let names: Vec<String> = tools.iter().map(|tool| tool.name.to_string()).collect();
        seen.push((name, names.join(", ")));
    }
    stage.step("Each agent asks which tools there are", begun.elapsed())?;
    seen.iter().try_for_each(|(name, tools)| stage.detail(name, &format!("sees {tools}")))
}

async fn calls(stage: &Stage<'_>, reader: &Connector) -> Result<(), Failure> {
    let begun = Instant::now();
    let text = ask(reader, "read_note", arguments("launch plan")).await?;
    stage.step("reader calls read_note, which its certificate permits", begun.elapsed())?;
    stage.detail("answer", &text)?;

    let begun = Instant::now();
    let denied = ask(reader, "delete_note", arguments("launch plan")).await;
    stage.step("reader calls delete_note, which it does not", begun.elapsed())?;
    stage.must_fail("answer", denied)
}

async fn strange_ca(stage: &Stage<'_>, address: std::net::SocketAddr) -> Result<(), Failure> {
    let impostor = stage.impostor(READER)?.dial(address)?;
    let begun = Instant::now();
    let refused = ask(&impostor, "read_note", arguments("salaries")).await;
    stage.step(
        "A strange CA of the same name issues a certificate to \"reader\" for everything",
        begun.elapsed(),
    )?;
    stage.must_fail("answer", refused)
}

async fn revocation(
    stage: &Stage<'_>,
    reader: &Connector,
    editor: &Connector,
) -> Result<(), Failure> {
    let (opened, is_open) = oneshot::channel();
    let live = call_until_cut(reader, opened);
    let (kept, is_kept) = oneshot::channel();
    let other = call_until_cut(editor, kept);
    let story = async {
        if is_open.await.is_err() || is_kept.await.is_err() {
            return Err(Failure::new("the sessions that were to be cut did not come about"));
        }
        let begun = Instant::now();
        stage.revoke(READER, Reason::KeyCompromise)?;
        let acknowledged = Instant::now();
        stage.step(
            "reader's key is stolen: the device is revoked while it is calling",
            acknowledged - begun,
        )?;
        Ok(acknowledged)
    };
    tokio::pin!(other);
    let (acknowledged, (calls, cut)) = tokio::select! {
        biased;
        ended = &mut other => return Err(Failure::new(format!("editor's session ended too, after {} calls", ended.0))),
        both = async { tokio::join!(story, live) } => both,
    };
    let acknowledged = acknowledged?;
    // Acknowledging and cutting happen side by side, so a cut may even come first.
    let lasted = cut.saturating_duration_since(acknowledged);
    stage.detail(
        "its session",
        &format!("was cut {} after that, having made {calls} calls", stage::milliseconds(lasted)),
    )?;
    let begun = Instant::now();
    let refused = ask(reader, "read_note", arguments("launch plan")).await;
    let lasted = begun.elapsed();
    stage.must_fail(&format!("again, {}", stage::milliseconds(lasted)), refused)?;
    let text = ask(editor, "search_notes", stage::search("May")).await?;
    stage.detail("editor", &format!("goes on: search_notes finds {text:?}"))
}

/// Calls without pause, and says how many calls were answered and when the session ended.
async fn call_until_cut(connector: &Connector, opened: oneshot::Sender<()>) -> (u64, Instant) {
    let (mut calls, mut opened) = (0, Some(opened));
    let mut ended = None;
    let outcome: Result<(), Failed> = with_client(connector, async |client| {
        loop {
            if let Err(error) =
                client.call_tool(stage::call("search_notes", stage::search("May"))).await
            {
                ended = Some(Instant::now());
                return Err(error);
            }
            calls += 1;
            if let Some(opened) = opened.take() {
                // Whoever waits for it is there until the end.
                let _ = opened.send(());
            }
        }
    })
    .await;
    drop(outcome);
    (calls, ended.unwrap_or_else(Instant::now))
}

/// Whatever serves in the background.
type Serving = JoinHandle<()>;
