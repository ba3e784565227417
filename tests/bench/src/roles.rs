//! What this program is when it is started by itself: the servers behind and beside those under test.

pub(crate) mod backend;
pub(crate) mod child;
pub(crate) mod floor;
pub(crate) mod inside;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use rustix::net::listen;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::{answer, limits};

/// Connections that may wait to be accepted: crowds come at once.
const BACKLOG: i32 = 4096;

/// One thread for everything: a server has one core.
fn runtime() -> Result<Runtime> {
    limits::open_as_many_files_as_allowed();
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Listens on a free port and says which, as `vouchsafe serve` does.
async fn listener() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    listen(&listener, BACKLOG)?;
    announce(listener.local_addr()?);
    Ok(listener)
}

#[expect(clippy::print_stderr, reason = "whoever started this reads it there")]
fn announce(address: SocketAddr) {
    eprintln!("listening on {address}");
}

/// Answers every line of a stream until it ends.
async fn answer_lines(stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<()> {
    // Small: what this server keeps for a session that waits is not what is measured.
    let mut stream = BufReader::with_capacity(1024, stream);
    let (mut line, mut said) = (String::new(), String::new());
    while stream.read_line(&mut line).await? > 0 {
        answer::to(&line, &mut said);
        stream.write_all(said.as_bytes()).await?;
        stream.flush().await?;
        line.clear();
    }
    Ok(())
}
