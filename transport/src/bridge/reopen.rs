//! From one session to the next: after a loss, or for the sake of a renewed certificate.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use super::{Bridge, BridgeEnd, BridgeNews, Client, Opened};
use crate::message::Message;
use crate::policy::error;
use crate::{Backoff, Identity};

/// How long a client waits for another session without being told that there is none.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often one looks whether nobody would notice another session.
const LOOK: Duration = Duration::from_secs(1);

/// So many looks without a message mean that nobody would.
const QUIET: u32 = 60;

/// Another attempt for a renewed certificate's sake, while the old one still serves.
const PAUSE: Duration = Duration::from_secs(10);

/// Nearer to its end a certificate is not left to wait for a minute of silence.
const NEAR: Duration = Duration::from_secs(120);

/// The server cannot be reached at present.
const UNREACHABLE: i32 = -32603;

impl Bridge<'_> {
    /// Opens another session after one was lost, however long that takes, unless it is in vain.
    pub(super) async fn open_again<I, O>(
        &self,
        lost: &BridgeEnd,
        client: &mut Client<I, O>,
        backoff: &mut Backoff,
    ) -> Result<Opened, BridgeEnd>
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        let attempts = async {
            let mut said = String::new();
            loop {
                sleep(backoff.pause()).await;
                self.until_valid().await;
                match self.open(Some(BridgeNews::Back(lost.to_string()))).await {
                    Ok(opened) => return Ok(opened),
                    Err(error) if error.is_final() => return Err(BridgeEnd::Refused(error)),
                    Err(error) => {
                        let why = error.to_string();
                        if why != said {
                            (self.news)(&BridgeNews::NotYet(&error));
                            said = why;
                        }
                    }
                }
            }
        };
        tokio::select! {
            biased;
            opened = attempts => opened,
            end = self.without_session(client) => Err(end),
        }
    }

    /// Nobody lets an expired certificate in, so there is nothing to do until it has been renewed:
    /// after a night on a closed lid, for instance.
    async fn until_valid(&self) {
        let mut identity = self.connector.identity();
        let is_valid = |now: &Identity| !self.connector.remaining(now).is_zero();
        if !is_valid(&identity.borrow_and_update()) {
            (self.news)(&BridgeNews::Expired);
            if identity.wait_for(|now| is_valid(now)).await.is_err() {
                // Nobody renews it.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Answers for a server that cannot be reached: a client that waits forever cannot do anything else.
    async fn without_session<I, O>(&self, client: &mut Client<I, O>) -> BridgeEnd
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
    {
        sleep(PATIENCE).await;
        loop {
            let line = match client.input.next().await {
                Ok(Some(line)) => line,
                Ok(None) => return BridgeEnd::Done,
                Err(error) => return BridgeEnd::Client(error),
            };
            if let Ok(Message::Request { id, .. }) = Message::read(line) {
                let reason = "The server cannot be reached at present; try again later";
                let answer = error(Some(&id), UNREACHABLE, reason, None);
                if let Err(error) = client.output.send(&answer).await {
                    return BridgeEnd::Client(error);
                }
            } else {
                // Nobody is there to hear it, but it may have to be said again.
                self.conversation().hear_client(line);
            }
        }
    }

    /// Waits for a renewed certificate and for a moment at which another session is not noticed, and
    /// opens that session. Until then the old certificate serves.
    pub(super) async fn renewed(&self, shown: &Identity) -> Opened {
        let mut identity = self.connector.identity();
        let is_other = |now: &Identity| now.certificate.serial != shown.certificate.serial;
        if identity.wait_for(|now| is_other(now)).await.is_err() {
            // Nobody renews it.
            std::future::pending::<()>().await;
        }
        let life = shown.certificate.not_after.as_secs() - shown.certificate.not_before.as_secs();
        let near = NEAR.min(Duration::from_secs(life / 10));
        let mut silence = Silence::default();
        loop {
            sleep(LOOK).await;
            let is_silent = silence.lasts(self.conversation().heard());
            let is_due = is_silent || self.connector.remaining(shown) <= near;
            if !is_due || !self.conversation().is_quiet() {
                continue;
            }
            match self.open(Some(BridgeNews::Renewed)).await {
                // What was said in the meantime is not to be lost.
                Ok(opened) if self.conversation().is_quiet() => return opened,
                Ok(_) => {}
                Err(error) => (self.news)(&BridgeNews::NotYet(&error)),
            }
            sleep(PAUSE.min(near)).await;
        }
    }
}

/// For how many looks nothing has been said.
#[derive(Default)]
struct Silence {
    heard: u64,
    looks: u32,
}

impl Silence {
    /// Whether it has lasted for long, now that so many messages have been heard in all.
    fn lasts(&mut self, heard: u64) -> bool {
        self.looks = if heard == self.heard { self.looks + 1 } else { 0 };
        self.heard = heard;
        self.looks >= QUIET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_without_a_message_is_silence_and_one_message_breaks_it() {
        let mut silence = Silence::default();
        assert!(!silence.lasts(5));
        for _ in 1..QUIET {
            assert!(!silence.lasts(5));
        }
        assert!(silence.lasts(5));
        assert!(!silence.lasts(6));
    }
}
