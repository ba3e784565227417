//! An MCP server that speaks mutual TLS itself, and knows in every handler who is calling:
//!
//! ```sh
//! vouchsafe issue notes --server --dns localhost --out notes
//! notes-server notes ~/.local/share/vouchsafe/crl.pem 127.0.0.1:8443
//! ```
//!
//! The gateway before it is the one of `vouchsafe serve`: it lets a call pass to whoever holds
//! `tools:<name>`, filters lists, writes the audit, and ends the session the moment its client is
//! revoked. What is left to the server is its own: here, that a note belongs to who wrote it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::stderr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};
use rmcp::handler::server::common::Extension;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{RoleServer, ServiceExt, schemars, tool, tool_router};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use vouchsafe_examples::{identity, trust};
use vouchsafe_transport::{
    DefaultTimeProvider, EventLog, Gateway, GatewayConfig, Output, Peer, Principal, Service,
    Upstream,
};

/// Notes by title, each with its author, shared by all sessions.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<BTreeMap<String, (Principal, String)>>>);

#[derive(Deserialize, schemars::JsonSchema)]
struct Note {
    /// The title of the note.
    title: String,
    /// What it says.
    text: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
struct Title {
    /// The title of a note.
    title: String,
}

#[tool_router(server_handler)]
impl Notes {
    #[tool(description = "Who the server takes you for")]
    fn whoami(&self, Extension(peer): Extension<Arc<Peer>>) -> String {
        format!("{} with {}", peer.principal, peer.permissions)
    }

    #[tool(description = "Write a note, or one of yours anew")]
    fn write_note(
        &self,
        Parameters(Note { title, text }): Parameters<Note>,
        Extension(peer): Extension<Arc<Peer>>,
    ) -> String {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match notes.get(&title) {
            Some((author, _)) if *author != peer.principal => format!("{title:?} is by {author}"),
            _ => {
                notes.insert(title.clone(), (peer.principal.clone(), text));
                format!("wrote {title:?}")
            }
        }
    }

    #[tool(description = "The text of a note")]
    fn read_note(&self, Parameters(Title { title }): Parameters<Title>) -> String {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.get(&title).map_or_else(|| format!("no note {title:?}"), |(_, text)| text.clone())
    }
}

/// Puts the peer of the session beside every message that arrives, where handlers find it.
struct OfPeer<T> {
    transport: T,
    peer: Arc<Peer>,
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for OfPeer<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.transport.send(message)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        let mut message = self.transport.receive().await?;
        message.insert_extension(Arc::clone(&self.peer));
        Some(message)
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.transport.close().await
    }
}

/// One session: it ends when the client has said everything, or is dropped when trust in it is lost.
async fn serve(
    notes: Notes,
    peer: Arc<Peer>,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
) {
    let (from_client, to_client) = tokio::io::split(stream);
    let transport = AsyncRwTransport::new_server(from_client, to_client);
    if let Ok(running) = notes.serve(OfPeer { transport, peer }).await {
        drop(running.waiting().await);
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, lists, address] = arguments.as_slice() else {
        bail!("usage: notes-server IDENTITY-DIR REVOCATION-LISTS HOST:PORT");
    };
    let identity = identity(Path::new(directory))?;
    let notes = Notes::default();
    let audit = Output::new(File::from(stderr().as_fd().try_clone_to_owned()?));
    let service = Service::new(move |peer, stream| serve(notes.clone(), peer, stream));
    let gateway = Gateway::new(GatewayConfig::new(
        // A renewed one would be sent into the other end of this.
        watch::channel(Arc::clone(&identity)).1,
        trust(&identity, lists.into())?,
        Upstream::Service(service),
        EventLog::new(Arc::new(audit), Arc::new(DefaultTimeProvider)),
    ))?;
    let listener = TcpListener::bind(address).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    Arc::new(gateway).serve(listener, stop).await;
    Ok(())
}
