//! Where connections come in, also where the system has none left to give.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::acceptor::configure;

/// How long one waits for descriptors to come back before somebody is turned away for want of them.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// A listener that says when it has to turn somebody away, and goes on.
pub(crate) struct Door {
    listener: TcpListener,
    /// Given up for a moment to accept a connection that cannot be served: whoever waits in the queue
    /// for want of a descriptor hears nothing, and waits for as long as it has patience.
    reserve: Option<OwnedFd>,
    /// Since accepting has failed: until when one waits.
    pause: Option<Instant>,
}

impl Door {
    pub(crate) fn new(listener: TcpListener) -> Self {
        Self { reserve: reserve(&listener), listener, pause: None }
    }

    /// The next connection, or why none could be accepted. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<(TcpStream, SocketAddr), String> {
        let waited = self.pause.is_some();
        if let Some(until) = self.pause {
            sleep_until(until).await;
        }
        loop {
            let error = match self.listener.accept().await {
                Ok(accepted) => {
                    self.pause = None;
                    self.restock();
                    // Without these options it works as well, only less promptly.
                    drop(configure(&accepted.0));
                    return Ok(accepted);
                }
                Err(error) if is_of_the_connection(&error) => continue,
                Err(error) => error,
            };
            if waited && self.turn_away(&error).await {
                return Err(format!("{error}: a connection that waited was closed"));
            }
            self.pause = Some(Instant::now() + EXHAUSTED);
            return Err(format!("no connection can be accepted: {error}"));
        }
    }

    /// Closes the connection that has waited longest, so that its client hears of it at once.
    async fn turn_away(&mut self, error: &io::Error) -> bool {
        let errno = Errno::from_io_error(error);
        if !matches!(errno, Some(Errno::MFILE | Errno::NFILE)) || self.reserve.take().is_none() {
            self.restock();
            return false;
        }
        let accepted = poll_fn(|context| Poll::Ready(self.listener.poll_accept(context))).await;
        let is_closed = matches!(accepted, Poll::Ready(Ok(_)));
        drop(accepted);
        self.restock();
        is_closed
    }

    fn restock(&mut self) {
        if self.reserve.is_none() {
            self.reserve = reserve(&self.listener);
        }
    }
}

/// A descriptor that is of no use; to open a file, a confined process might lack the right.
fn reserve(listener: &TcpListener) -> Option<OwnedFd> {
    listener.as_fd().try_clone_to_owned().ok()
}

/// One that died in the queue concerns nobody.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt;

    use super::*;

    #[tokio::test]
    async fn connections_are_prompt_and_notice_a_dead_network() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut door = Door::new(listener);
        let client = TcpStream::connect(address).await.unwrap();
        let (accepted, from) = door.next().await.unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        assert!(sockopt::tcp_nodelay(&accepted).unwrap());
        assert!(sockopt::socket_keepalive(&accepted).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&accepted).unwrap(), Duration::from_secs(60));
    }
}
