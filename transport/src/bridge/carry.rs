//! One session of a bridge: both directions, with the policy on what comes from the server.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{sleep, timeout};

use super::conversation::Heard;
use super::{Bridge, BridgeEnd, BridgeNews, Client, Opened, SessionEnd};
use crate::Identity;
use crate::frame::{FrameError, LineReader, LineWriter};
use crate::message::Message;
use crate::policy::{Decision, Judgement, Record, Refusal, ServerPolicy, Verdict, refusal};

/// How long a server may take to begin again.
const AGAIN: Duration = Duration::from_secs(60);

/// How our client's side of a session ended.
enum Upward {
    /// Our client has said everything.
    Done,
    /// Our client's side failed.
    Client(FrameError),
    /// The gateway takes nothing more.
    Session(FrameError),
    /// Another session is open.
    Renewed(Box<Opened>),
}

/// What the server of one session is held to, and what its first word means.
struct Talk {
    policy: ServerPolicy,
    news: Option<BridgeNews<'static>>,
}

impl Bridge<'_> {
    /// Runs one session until either side ends.
    pub(super) async fn session<I, O>(
        &self,
        opened: Opened,
        client: &mut Client<I, O>,
    ) -> SessionEnd
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        let Opened { session, shown, news } = opened;
        let policy = ServerPolicy::new(session.peer().permissions.clone());
        let talk = Talk { policy, news };
        let worked = session.run(|stream| self.carry(talk, stream, &shown, client)).await;
        let counted = self.refused().sum_up();
        self.tell_counted(counted);
        worked.unwrap_or_else(|denial| SessionEnd::Lost(BridgeEnd::Denied(denial)))
    }

    async fn carry<S, I, O>(
        &self,
        talk: Talk,
        stream: S,
        shown: &Identity,
        client: &mut Client<I, O>,
    ) -> SessionEnd
    where
        S: AsyncRead + AsyncWrite + Unpin,
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        let (from_server, to_server) = tokio::io::split(stream);
        let to_server = Mutex::new(LineWriter::new(to_server, self.limits.write));
        let Client { input, output } = client;
        let (begun, has_begun) = oneshot::channel();
        let downward = self.downward(talk, from_server, output, &to_server, begun);
        let mut downward = std::pin::pin!(downward);
        let said = tokio::select! {
            // The server's word first: a refusal explains why writing fails.
            biased;
            end = &mut downward => return end,
            said = self.upward(input, &to_server, has_begun, shown) => said,
        };
        // TLS close_notify; the gateway answers what is in flight and closes in turn.
        let closing = async { drop(to_server.lock().await.close().await) };
        match said {
            Upward::Client(error) => SessionEnd::Over(BridgeEnd::Client(error)),
            Upward::Renewed(opened) => {
                drop(timeout(self.limits.drain, closing).await);
                SessionEnd::Renewed(opened)
            }
            Upward::Done => {
                let rest = async { tokio::join!(closing, downward).1 };
                match timeout(self.limits.drain, rest).await {
                    Ok(SessionEnd::Lost(BridgeEnd::Closed(_))) | Err(_) => {
                        SessionEnd::Over(BridgeEnd::Done)
                    }
                    Ok(SessionEnd::Lost(end)) => SessionEnd::Over(end),
                    Ok(end) => end,
                }
            }
            Upward::Session(error) => match timeout(self.limits.drain, downward).await {
                Ok(end) => end,
                Err(_) => SessionEnd::Lost(BridgeEnd::of(error)),
            },
        }
    }

    /// From our client to the gateway, which judges it.
    async fn upward<S: AsyncRead + AsyncWrite>(
        &self,
        input: &mut LineReader<impl AsyncRead + Unpin>,
        to_server: &Mutex<LineWriter<WriteHalf<S>>>,
        has_begun: oneshot::Receiver<()>,
        shown: &Identity,
    ) -> Upward {
        if let Err(error) = self.begin_again(to_server, has_begun).await {
            return Upward::Session(error);
        }
        let mut renewed = std::pin::pin!(self.renewed(shown));
        loop {
            let line = tokio::select! {
                biased;
                line = input.next() => line,
                opened = &mut renewed => return Upward::Renewed(Box::new(opened)),
            };
            let line = match line {
                Ok(Some(line)) => line,
                Ok(None) => return Upward::Done,
                Err(error) => return Upward::Client(error),
            };
            let is_for_server = self.conversation().hear_client(line);
            if is_for_server && let Err(error) = to_server.lock().await.send(line).await {
                return Upward::Session(error);
            }
        }
    }

    /// Brings a new session to where the one before ended.
    async fn begin_again<S: AsyncRead + AsyncWrite>(
        &self,
        to_server: &Mutex<LineWriter<WriteHalf<S>>>,
        has_begun: oneshot::Receiver<()>,
    ) -> Result<(), FrameError> {
        let initialize = self.conversation().begin_again();
        if let Some(line) = initialize {
            to_server.lock().await.send(&line).await?;
            // A sender that is gone has ended the session, and says why elsewhere.
            let late = |_| FrameError::Io(io::ErrorKind::TimedOut.into());
            drop(timeout(AGAIN, has_begun).await.map_err(late)?);
        }
        let lines = self.conversation().restore();
        for line in lines {
            to_server.lock().await.send(&line).await?;
        }
        Ok(())
    }

    /// From the gateway to our client.
    async fn downward<S: AsyncRead + AsyncWrite>(
        &self,
        mut talk: Talk,
        from_server: ReadHalf<S>,
        output: &mut LineWriter<impl AsyncWrite + Unpin>,
        to_server: &Mutex<LineWriter<WriteHalf<S>>>,
        begun: oneshot::Sender<()>,
    ) -> SessionEnd {
        let mut from_server = LineReader::new(from_server, self.limits.line, self.limits.message);
        let mut begun = Some(begun);
        loop {
            let line = match from_server.next().await {
                Ok(Some(line)) => line,
                Ok(None) => {
                    let farewell = talk.policy.farewell().map(str::to_owned);
                    return SessionEnd::Lost(BridgeEnd::Closed(farewell));
                }
                Err(error) => return SessionEnd::Lost(BridgeEnd::of(error)),
            };
            if let Some(news) = talk.news.take() {
                (self.news)(&news);
            }
            let message = Message::read(line);
            let heard = message.as_ref().map(|message| self.conversation().hear_server(message));
            let verdict = match heard.unwrap_or(Heard::ForClient) {
                Heard::ForClient => self.judge(&mut talk.policy, line, message),
                Heard::ForNobody => Verdict::Drop,
                Heard::TooOften(line, wait) => {
                    sleep(wait).await;
                    Verdict::Answer(line)
                }
                Heard::Ambiguous(id) => Verdict::Answer(refusal(Some(&id), &Refusal::DuplicateId)),
                Heard::Repeated => {
                    // A receiver that is gone waits for nothing any more.
                    let _ = begun.take().map(|begun| begun.send(()));
                    let changed = self.conversation().changed();
                    for line in changed {
                        if let Err(error) = output.send(&line).await {
                            return SessionEnd::Over(BridgeEnd::Client(error));
                        }
                    }
                    continue;
                }
                Heard::Failed(reason) => {
                    return SessionEnd::Lost(BridgeEnd::Closed(Some(reason)));
                }
                Heard::Otherwise => return SessionEnd::Over(BridgeEnd::Changed),
            };
            let sent = match verdict {
                Verdict::Forward(permit) => output
                    .forward(permit)
                    .await
                    .map_err(|error| SessionEnd::Over(BridgeEnd::Client(error))),
                Verdict::Answer(line) => to_server
                    .lock()
                    .await
                    .send(&line)
                    .await
                    .map_err(|error| SessionEnd::Lost(BridgeEnd::of(error))),
                Verdict::Drop | Verdict::LookUp(_) | Verdict::LookedUp => Ok(()),
            };
            if let Err(end) = sent {
                return end;
            }
        }
    }

    /// Holds a message of the server to the server's certificate.
    fn judge<'m>(
        &self,
        policy: &mut ServerPolicy,
        line: &'m [u8],
        message: Result<Message<'m>, crate::ReadError>,
    ) -> Verdict<'m> {
        let asks = match &message {
            Ok(Message::Request { id, .. }) => Some(id.clone()),
            _ => None,
        };
        let Judgement { verdict, record } = policy.judge_read(line, message);
        if let Some(Record { method, decision: Decision::Denied(refusal), .. }) = &record {
            self.tell_refused(&BridgeNews::Denied { method, refusal });
        }
        if let (Some(id), Verdict::Forward(_)) = (asks, &verdict) {
            self.conversation().asked(id);
        }
        verdict
    }
}
