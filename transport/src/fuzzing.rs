//! Ways in for the fuzz targets, past sockets and handshakes. No part of the library: only `cargo fuzz`
//! compiles this (`--cfg fuzzing`), and what it calls is what connections call.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::http::{Server, answer_of};
use crate::{Caller, Front, Handler, HttpLimits};

pub use crate::streamable::client::talk;
pub use crate::streamable::events;

/// One event of a stream: its id, the pause it asks for, its data, and whether MCP does not know its type.
pub type StreamEvent = (Option<Vec<u8>>, Option<Duration>, Vec<u8>, bool);

/// A stranger's connection to the public listener, from the first octet after the handshake.
pub async fn serve_public<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    limits: HttpLimits,
    handler: &Handler,
) {
    let caller = Caller::new(somewhere(), None);
    let (_stop, stopping) = watch::channel(false);
    let answer = answer_of(handler, &caller);
    Server::new(limits, None).serve(stream, &caller, &answer, || (), stopping).await;
}

/// A connection to the front of a bridge. The endpoint behind it is the one that a gateway has.
pub async fn serve_front<S: AsyncRead + AsyncWrite + Unpin>(front: Arc<Front>, stream: S) {
    let (_stop, stopping) = watch::channel(false);
    front.converse(stream, somewhere(), stopping).await;
}

fn somewhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1))
}
