//! The bridge: stdio on one side, sessions to a gateway on the other, one after the other as far as
//! it takes. A client does not notice that a connection was lost or a certificate renewed, save that
//! what was in flight must be asked again.

mod carry;
mod conversation;
mod news;
mod refused;
mod reopen;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::frame::{LineReader, LineWriter};
use crate::{Backoff, ConnectError, Connector, Identity, Limits, Session, Stream};
use conversation::Conversation;
pub use news::{BridgeEnd, BridgeNews};
use refused::Refused;

/// A session that lasted for so long does not count as one more failure.
const STEADY: Duration = Duration::from_secs(30);

/// From one attempt to the next.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// A session, and what was shown to open it.
struct Opened {
    session: Session<Stream>,
    shown: Arc<Identity>,
    /// What is said once the server speaks: only then it is certain that the gateway lets us in.
    news: Option<BridgeNews<'static>>,
}

/// How one session of several ended.
enum SessionEnd {
    /// There is nothing left to do.
    Over(BridgeEnd),
    /// Another session may go on where this one ended.
    Lost(BridgeEnd),
    /// Another session is open already, under a renewed certificate.
    Renewed(Box<Opened>),
}

/// Our client's stdio.
struct Client<I, O> {
    input: LineReader<I>,
    output: LineWriter<O>,
}

/// Carries messages between a client's stdio and a gateway, and holds the server to its certificate.
pub struct Bridge<'a> {
    connector: &'a Connector,
    limits: &'a Limits,
    news: &'a (dyn Fn(&BridgeNews<'_>) + Sync),
    conversation: Mutex<Conversation>,
    refused: Mutex<Refused>,
}

impl std::fmt::Debug for Bridge<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bridge")
    }
}

impl<'a> Bridge<'a> {
    /// Opens a session and runs until our client ends, or until the gateway refuses us. Once the
    /// server has answered anything, a session that is lost is followed by another one. `news` hears
    /// what a person may want to know.
    pub async fn run<I, O>(
        connector: &'a Connector,
        input: I,
        output: O,
        limits: &'a Limits,
        news: &'a (dyn Fn(&BridgeNews<'_>) + Sync),
    ) -> BridgeEnd
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        let refused = Mutex::new(Refused::new());
        let bridge = Self { connector, limits, news, conversation: Mutex::default(), refused };
        let client = Client {
            input: LineReader::new(input, limits.line, limits.message),
            output: LineWriter::new(output, limits.write),
        };
        bridge.sessions(client).await
    }

    /// One session after the other.
    async fn sessions<I, O>(&self, mut client: Client<I, O>) -> BridgeEnd
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        let mut backoff = Backoff::new(SHORTEST, LONGEST);
        let mut opened = match self.open(None).await {
            Ok(opened) => opened,
            Err(refused) => return BridgeEnd::Refused(refused),
        };
        loop {
            let (begun, shown) = (Instant::now(), Arc::clone(&opened.shown));
            let end = self.session(opened, &mut client).await;
            if let SessionEnd::Over(end) = end {
                return end;
            }
            let lost = self.conversation().lose();
            for line in lost {
                if let Err(error) = client.output.send(&line).await {
                    return BridgeEnd::Client(error);
                }
            }
            opened = match end {
                SessionEnd::Over(end) => return end,
                SessionEnd::Renewed(opened) => *opened,
                SessionEnd::Lost(end) => {
                    if self.is_final(&end, &shown) {
                        return end;
                    }
                    if begun.elapsed() >= STEADY {
                        backoff.reset();
                    }
                    match self.open_again(&end, &mut client, &mut backoff).await {
                        Ok(opened) => opened,
                        Err(end) => return end,
                    }
                }
            };
        }
    }

    async fn open(&self, news: Option<BridgeNews<'static>>) -> Result<Opened, ConnectError> {
        let shown = Arc::clone(&self.connector.identity().borrow());
        Ok(Opened { session: self.connector.connect().await?, shown, news })
    }

    /// Whether another session would end as this one did.
    fn is_final(&self, end: &BridgeEnd, shown: &Identity) -> bool {
        // A client that was never served learns at once that it is not.
        !self.conversation().is_under_way()
            || match end {
                BridgeEnd::Refused(error) => error.is_final() && !self.is_renewed(shown),
                _ => false,
            }
    }

    /// Whether another certificate is in force than the one that was shown.
    fn is_renewed(&self, shown: &Identity) -> bool {
        self.connector.identity().borrow().certificate.serial != shown.certificate.serial
    }

    /// Tells of a message of the server that was refused, unless there were too many of late.
    fn tell_refused(&self, news: &BridgeNews<'_>) {
        let (is_told, counted) = self.refused().one_more();
        self.tell_counted(counted);
        if is_told {
            (self.news)(news);
        }
    }

    /// Tells how many were refused that nobody was told of.
    fn tell_counted(&self, times: u64) {
        if times > 0 {
            (self.news)(&BridgeNews::DeniedOften(times));
        }
    }

    fn conversation(&self) -> MutexGuard<'_, Conversation> {
        self.conversation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
