//! The bridge: stdio on one side, a session to a gateway on the other.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::connector::{ConnectError, refusal_in};
use crate::frame::{FrameError, LineReader, LineWriter};
use crate::policy::{Decision, Judgement, Record, Refusal, ServerPolicy, Verdict};
use crate::{Denial, Limits, Session};

/// How a bridged session ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum BridgeEnd {
    /// Our client closed its stdin, and everything was answered or given up.
    Done,
    /// The gateway closed the session in good order, perhaps with a word about why.
    Closed(Option<String>),
    /// The gateway refused us.
    Refused(ConnectError),
    /// The gateway's certificate may no longer be trusted.
    Denied(Denial),
    /// The session broke off.
    Broken(io::Error),
    /// A limit was exceeded.
    Frame(FrameError),
}

impl BridgeEnd {
    fn of(error: FrameError) -> Self {
        match error {
            FrameError::Io(error) => match refusal_in(&error) {
                Some(refused) => Self::Refused(refused),
                None => Self::Broken(error),
            },
            other => Self::Frame(other),
        }
    }
}

/// Carries messages between a client's stdio and a gateway, and holds the server to its certificate.
pub struct Bridge<'a> {
    limits: &'a Limits,
    /// Hears of what the server asked for and did not get.
    notice: &'a (dyn Fn(&str, &Refusal) + Sync),
}

impl std::fmt::Debug for Bridge<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bridge")
    }
}

impl<'a> Bridge<'a> {
    /// Runs one session until either side ends. `notice` hears of every message of the server that is denied.
    pub async fn run<S, I, O>(
        session: Session<S>,
        input: I,
        output: O,
        limits: &'a Limits,
        notice: &'a (dyn Fn(&str, &Refusal) + Sync),
    ) -> BridgeEnd
    where
        S: AsyncRead + AsyncWrite + Unpin,
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        let policy = ServerPolicy::new(session.peer().permissions.clone());
        let bridge = Self { limits, notice };
        let worked = session.run(|stream| bridge.carry(policy, stream, input, output)).await;
        worked.unwrap_or_else(BridgeEnd::Denied)
    }

    async fn carry<S, I, O>(
        &self,
        policy: ServerPolicy,
        stream: S,
        input: I,
        output: O,
    ) -> BridgeEnd
    where
        S: AsyncRead + AsyncWrite + Unpin,
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        let (from_server, to_server) = tokio::io::split(stream);
        let to_server = Mutex::new(LineWriter::new(to_server, self.limits.write));
        let upward = self.upward(input, &to_server);
        let mut downward = std::pin::pin!(self.downward(policy, from_server, output, &to_server));
        let said_everything = tokio::select! {
            // The server's word first: a refusal explains why writing fails.
            biased;
            end = &mut downward => return end,
            sent = upward => sent,
        };
        let closing = async {
            if said_everything.is_ok() {
                // TLS close_notify; the gateway answers what is in flight and closes in turn.
                drop(to_server.lock().await.close().await);
            }
        };
        let rest = timeout(self.limits.drain, async { tokio::join!(closing, downward).1 }).await;
        match (rest, said_everything) {
            (Ok(BridgeEnd::Closed(_)) | Err(_), Ok(())) => BridgeEnd::Done,
            (Ok(end), _) => end,
            (Err(_), Err(error)) => BridgeEnd::of(error),
        }
    }

    /// From our client to the gateway, which judges it.
    async fn upward<S: AsyncRead + AsyncWrite>(
        &self,
        input: impl AsyncRead + Unpin,
        to_server: &Mutex<LineWriter<WriteHalf<S>>>,
    ) -> Result<(), FrameError> {
        let mut input = LineReader::new(input, self.limits.line, self.limits.message);
        while let Some(line) = input.next().await? {
            to_server.lock().await.send(line).await?;
        }
        Ok(())
    }

    /// From the gateway to our client.
    async fn downward<S: AsyncRead + AsyncWrite>(
        &self,
        mut policy: ServerPolicy,
        from_server: ReadHalf<S>,
        output: impl AsyncWrite + Unpin,
        to_server: &Mutex<LineWriter<WriteHalf<S>>>,
    ) -> BridgeEnd {
        let mut from_server = LineReader::new(from_server, self.limits.line, self.limits.message);
        let mut output = LineWriter::new(output, self.limits.write);
        loop {
            let line = match from_server.next().await {
                Ok(Some(line)) => line,
                Ok(None) => return BridgeEnd::Closed(policy.farewell().map(str::to_owned)),
                Err(error) => return BridgeEnd::of(error),
            };
            let Judgement { verdict, record } = policy.judge_server(line);
            if let Some(Record { method, decision: Decision::Denied(refusal), .. }) = &record {
                (self.notice)(method, refusal);
            }
            let sent = match verdict {
                Verdict::Forward(permit) => output.forward(permit).await,
                Verdict::Answer(line) => to_server.lock().await.send(&line).await,
                Verdict::Drop => Ok(()),
            };
            if let Err(error) = sent {
                return BridgeEnd::of(error);
            }
        }
    }
}
