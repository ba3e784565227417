//! A stand-in for the CA's public listener: it publishes whatever lists a test wants.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;
use vouchsafe_tests::{WebServer, identity_in};
use vouchsafe_transport::Identity;

use crate::home::Home;

/// What is published: all lists, and what changed lately.
#[derive(Clone, Default)]
struct Published {
    tag: usize,
    all: Vec<u8>,
    changes: Vec<u8>,
}

/// How it behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Sits on a request that prefers that (RFC 7240).
    Waits,
    /// Answers at once, always, and knows nothing of changes.
    Hurries,
    /// Needs the connection for somebody else after a moment.
    SendsAway,
    /// Has trouble of its own.
    Fails,
}

/// A CA that can be taken away and put back.
pub(crate) struct StandIn {
    runtime: Runtime,
    identity: Identity,
    published: watch::Sender<Arc<Published>>,
    /// Octets of the lists that were sent.
    sent: Arc<AtomicUsize>,
    pub(crate) address: SocketAddr,
    server: Option<WebServer>,
}

impl StandIn {
    /// With the identity directory `ca` of this home.
    pub(crate) fn new(home: &Home, manner: Manner) -> Self {
        let identity = identity_in(&home.path("ca"));
        let all = fs::read(home.path("home/crl.pem")).unwrap();
        let changes = all.clone();
        let mut stand_in = Self {
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap(),
            identity,
            published: watch::channel(Arc::new(Published { tag: 0, all, changes })).0,
            sent: Arc::default(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            server: None,
        };
        stand_in.comes(manner);
        stand_in
    }

    /// With another certificate, from when it comes the next time.
    pub(crate) fn shows(&mut self, home: &Home, directory: &str) {
        self.identity = identity_in(&home.path(directory));
    }

    pub(crate) fn publishes(&self, all: Vec<u8>) {
        self.publishes_changes(all.clone(), all);
    }

    pub(crate) fn publishes_changes(&self, all: Vec<u8>, changes: Vec<u8>) {
        let publish = |now: &mut Arc<_>| {
            let Published { tag, .. } = **now;
            *now = Arc::new(Published { tag: tag + 1, all, changes });
        };
        self.published.send_modify(publish);
    }

    /// Octets of lists that were sent since this was asked last.
    pub(crate) fn sent(&self) -> usize {
        self.sent.swap(0, Ordering::SeqCst)
    }

    /// Every connection breaks off, and nobody listens.
    pub(crate) fn goes(&mut self) {
        drop(self.server.take());
    }

    /// Where it was before, if it was anywhere.
    pub(crate) fn comes(&mut self, manner: Manner) {
        let published = self.published.subscribe();
        let sent = Arc::clone(&self.sent);
        let answer = move |head: String| {
            let (published, sent) = (published.clone(), Arc::clone(&sent));
            async move {
                let answer = answer(manner, head, published).await;
                sent.fetch_add(answer.len(), Ordering::SeqCst);
                answer
            }
        };
        let listening = async {
            let listener = loop {
                // The last one may need a moment to leave.
                if let Ok(listener) = TcpListener::bind(self.address).await {
                    break listener;
                }
            };
            WebServer::on(listener, &self.identity, self.identity.chain.clone(), answer)
        };
        let server = self.runtime.block_on(listening);
        self.address = server.address;
        self.server = Some(server);
    }

    /// How often it was asked since it came.
    pub(crate) fn asked(&self) -> usize {
        self.server.as_ref().unwrap().heads().len()
    }
}

async fn answer(
    manner: Manner,
    head: String,
    mut published: watch::Receiver<Arc<Published>>,
) -> Vec<u8> {
    let knows = |now: &Published| head.contains(&format!("if-none-match: \"{}\"", now.tag));
    if manner == Manner::Fails {
        return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec();
    }
    let is_of_changes = head.starts_with("GET /delta.pem ");
    if is_of_changes && manner == Manner::Hurries {
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    }
    let patience = if manner == Manner::SendsAway { 1 } else { 30 };
    if manner != Manner::Hurries && head.contains("prefer: wait=30") {
        let news = published.wait_for(|now| !knows(now));
        drop(timeout(Duration::from_secs(patience), news).await);
    }
    let now = Arc::clone(&published.borrow());
    if knows(&now) && manner == Manner::SendsAway {
        return b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_vec();
    }
    if knows(&now) {
        return b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec();
    }
    let pem = if is_of_changes { &now.changes } else { &now.all };
    let (tag, length) = (now.tag, pem.len());
    let head = format!("HTTP/1.1 200 OK\r\nETag: \"{tag}\"\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), pem].concat()
}
