//! The MCP server of the demo: a few notes, read and deleted by tools. It knows nothing of
//! certificates; like any MCP server it speaks on its stdio, and the gateway does the rest.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rmcp::handler::server::wrapper::Parameters;
use rmcp::{ServiceExt, schemars, tool, tool_router};
use serde::Deserialize;

use crate::exit::Failure;
use crate::runtime;

/// Notes by title.
struct Notes(Mutex<BTreeMap<String, String>>);

#[derive(Deserialize, schemars::JsonSchema)]
struct Search {
    /// What to look for.
    text: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Title {
    /// The title of a note.
    title: String,
}

#[tool_router(server_handler)]
impl Notes {
    #[tool(description = "Titles of the notes that hold a text")]
    fn search_notes(&self, Parameters(Search { text }): Parameters<Search>) -> String {
        let notes = self.notes();
        let found =
            notes.iter().filter(|(title, note)| title.contains(&text) || note.contains(&text));
        found.map(|(title, _)| title.as_str()).collect::<Vec<_>>().join(", ")
    }

    #[tool(description = "The text of a note")]
    fn read_note(&self, Parameters(Title { title }): Parameters<Title>) -> String {
        self.notes().get(&title).cloned().unwrap_or_else(|| format!("there is no note {title:?}"))
    }

    #[tool(description = "Delete a note for good")]
    fn delete_note(&self, Parameters(Title { title }): Parameters<Title>) -> String {
        match self.notes().remove(&title) {
            Some(_) => format!("deleted {title:?}"),
            None => format!("there is no note {title:?}"),
        }
    }

    fn notes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves on stdin and stdout until stdin is closed.
pub(crate) fn run() -> Result<(), Failure> {
    let notes = [
        ("launch plan", "We launch on the first of May."),
        ("salaries", "Nobody but the board may read this."),
    ];
    let notes = notes.map(|(title, note)| (title.to_owned(), note.to_owned()));
    let server = Notes(Mutex::new(BTreeMap::from(notes)));
    runtime::small()?.block_on(async {
        let stdio = (tokio::io::stdin(), tokio::io::stdout());
        let running = server.serve(stdio).await.map_err(Failure::new)?;
        running.waiting().await.map_err(Failure::new)?;
        Ok(())
    })
}
