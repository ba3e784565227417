//! The work of one session: its relay, and whatever stands behind it.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Gateway, tell};
use crate::child::{Keeper, Pipes};
use crate::live::Ongoing;
use crate::policy::{ClientPolicy, Held, protocol_error};
use crate::quota::Quota;
use crate::relay::{Relay, RelayEnd, Subject};
use crate::session::Kin;
use crate::{Upstream, UpstreamError};

impl Gateway {
    /// The work of one session, dropped where it is when trust is lost.
    pub(super) async fn work<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        kin: &Kin,
        (held, quota): (Held, Option<Arc<Quota>>),
        (subject, ongoing): (&Subject, &Ongoing),
        keeper: Keeper,
    ) -> RelayEnd {
        let peer = &kin.peer;
        let policy = ClientPolicy::of(held, Arc::clone(&self.rules))
            .with_server(self.own.permissions())
            .with_seal(self.seal.of(peer))
            .with_quota(quota);
        let (lookout, log, limits) = (kin.lookout(), &self.log, &self.limits);
        let relay = |stream| Relay::new(subject, policy, ongoing, lookout, log, limits, stream);
        match &self.upstream {
            Upstream::Command(command) => {
                let keeper = Box::new((keeper, self.live.child()));
                match command.start(subject.session, peer, &self.limits, keeper) {
                    Ok((child, Pipes { stdin, stdout })) => {
                        let (relay, from_client) = relay(stream);
                        let end = relay.run(from_client, stdin, stdout).await;
                        child.finish();
                        end
                    }
                    Err(error) => self.without_server(stream, error.into()).await,
                }
            }
            Upstream::Socket(socket) => match socket.connect(self.limits.handshake).await {
                Ok((from_server, to_server)) => {
                    let (relay, from_client) = relay(stream);
                    let end = relay.run(from_client, to_server, from_server).await;
                    drop(keeper);
                    end
                }
                Err(error) => self.without_server(stream, error).await,
            },
            Upstream::Http(http) => {
                let near = http.start(subject.session, peer, &self.limits, keeper);
                let (from_server, to_server) = tokio::io::split(near);
                let (relay, from_client) = relay(stream);
                relay.run(from_client, to_server, from_server).await
            }
            Upstream::Service(service) => {
                let (serving, near) = service.start(peer, self.limits.child_grace, keeper);
                let (from_service, to_service) = tokio::io::split(near);
                let (relay, from_client) = relay(stream);
                let end = relay.run(from_client, to_service, from_service).await;
                serving.finish();
                end
            }
        }
    }

    /// What the client is told is not why: that is the operator's affair.
    async fn without_server(
        &self,
        stream: impl AsyncWrite + Unpin,
        error: UpstreamError,
    ) -> RelayEnd {
        let reason = match error {
            UpstreamError::Child(_) => "The session is closed: the server could not be started",
            _ => "The session is closed: the server could not be reached",
        };
        tell(stream, protocol_error(reason), self.limits.drain).await;
        RelayEnd::NotStarted(error)
    }
}
