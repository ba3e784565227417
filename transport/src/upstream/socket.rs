//! A server that speaks lines over a stream: TCP, or a Unix socket.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::UpstreamError;
use crate::acceptor::configure;

/// A server to which there is one connection for each session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketUpstream {
    /// `host:port`.
    Tcp(String),
    /// The path of the socket.
    Unix(PathBuf),
}

impl fmt::Display for SocketUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A connection's two halves; dropping both closes it.
pub(crate) type Halves = (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>);

impl SocketUpstream {
    /// Connects within `deadline`.
    pub(crate) async fn connect(&self, deadline: Duration) -> Result<Halves, UpstreamError> {
        let unreachable = |error| UpstreamError::Unreachable { address: self.to_string(), error };
        let connected = timeout(deadline, self.halves()).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(unreachable)
    }

    async fn halves(&self) -> io::Result<Halves> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                configure(&stream)?;
                let (reader, writer) = stream.into_split();
                (Box::new(reader), Box::new(writer))
            }
            Self::Unix(path) => {
                let (reader, writer) = UnixStream::connect(path).await?.into_split();
                (Box::new(reader), Box::new(writer))
            }
        })
    }
}
