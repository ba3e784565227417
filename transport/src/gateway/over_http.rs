//! Connections that speak HTTP, and the sessions of lines behind their requests.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Gateway, tell};
use crate::acceptor::Protocol;
use crate::child::Keeper;
use crate::http::{Answer, Caller};
use crate::live::Ongoing;
use crate::policy::{Held, closing};
use crate::relay::{RelayEnd, Subject};
use crate::session::Kin;
use crate::streamable::server::Work;
use crate::web::nothing_there;
use crate::woken::when_woken;
use crate::{Denial, Role, Spoken};

/// Somebody who is connected.
#[derive(Clone)]
pub(super) struct Visit {
    /// Unless the connection is dead already.
    pub(super) caller: Option<Caller>,
    pub(super) kin: Kin,
    /// Held by whatever must be over before the gateway is.
    pub(super) alive: mpsc::Sender<()>,
}

impl Gateway {
    /// A session of lines on a stream within this process, for requests of HTTP.
    fn behind(self: Arc<Self>, visit: Visit, stream: DuplexStream) -> Work {
        Box::pin(async move {
            let address = visit.caller.map(|caller| caller.address);
            let session = visit.kin.session(stream);
            self.open(session, Protocol::Behind, address, visit.alive).await;
        })
    }

    /// HTTP of either version, for as long as it lasts.
    pub(super) async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        stream: S,
        protocol: Protocol,
        visit: Visit,
        ongoing: &Ongoing,
    ) -> RelayEnd {
        let Some((web, caller)) = self.web.as_ref().zip(visit.caller.clone()) else {
            return RelayEnd::ClientGone;
        };
        let (answer, stopping) = (self.answer(visit), self.stopping.subscribe());
        let served = async {
            match protocol {
                Protocol::Http2 => {
                    web.server.serve_second(stream, &caller, &answer, stopping).await;
                }
                _ => web.server.serve(stream, &caller, &answer, || (), stopping).await,
            }
        };
        tokio::select! {
            () = served => RelayEnd::ClientClosed,
            () = when_woken(ongoing.closed_by_operator()) => RelayEnd::Operator,
        }
    }

    /// Whichever the client speaks that did not say so.
    pub(super) async fn either<S: AsyncRead + AsyncWrite + Unpin>(
        self: &Arc<Self>,
        mut stream: BufReader<S>,
        held: Held,
        whose: (&Subject, &Ongoing),
        visit: Visit,
        keeper: Keeper,
    ) -> RelayEnd {
        if self.begins_as_http(&mut stream).await {
            whose.1.speaks(Spoken::Connection);
            Box::pin(self.exchange(stream, Protocol::Http, visit, whose.1)).await
        } else if visit.kin.peer.is_agent() {
            whose.1.speaks(Spoken::Lines);
            match self.paid(&visit.kin.peer.principal) {
                Ok(quota) => {
                    Box::pin(self.work(stream, &visit.kin, (held, quota), whose, keeper)).await
                }
                Err(denial) => {
                    tell(stream, closing(&denial), self.limits.drain).await;
                    RelayEnd::Denied(denial)
                }
            }
        } else {
            let line = closing(&Denial::Usage(Role::Client));
            tell(stream, line, self.limits.drain).await
        }
    }

    /// What is answered to the requests of one connection.
    fn answer(self: &Arc<Self>, visit: Visit) -> Answer {
        let gateway = Arc::clone(self);
        Answer::new(move |request| {
            let (gateway, visit) = (Arc::clone(&gateway), visit.clone());
            Box::pin(async move {
                let Some(web) = &gateway.web else { return nothing_there() };
                let behind = Arc::clone(&gateway);
                let (caller, peer) = (visit.caller.clone(), Arc::clone(&visit.kin.peer));
                let open = Box::new(move |stream| behind.behind(visit, stream));
                web.answer(caller, peer, open, request).await
            })
        })
    }

    /// What a client speaks that did not say so: a method of HTTP begins with a capital letter (RFC
    /// 9110 §9.1), a message of MCP never.
    async fn begins_as_http<S: AsyncRead + Unpin>(&self, stream: &mut BufReader<S>) -> bool {
        let first = timeout(self.limits.first_message, stream.fill_buf()).await;
        let first = first.ok().and_then(Result::ok).and_then(<[u8]>::first);
        first.is_some_and(u8::is_ascii_uppercase)
    }
}
