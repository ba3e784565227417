//! A stand-in for the CA's public listener: it publishes whatever lists a test wants.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;
use vouchsafe_tests::WebServer;
use vouchsafe_transport::Identity;

use crate::home::Home;

/// What is published, and what its tag is.
type Published = Arc<(usize, Vec<u8>)>;

/// How it behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Sits on a request that prefers that (RFC 7240).
    Waits,
    /// Answers at once, always.
    Hurries,
    /// Has trouble of its own.
    Fails,
}

/// A CA that can be taken away and put back.
pub(crate) struct StandIn {
    runtime: Runtime,
    identity: Identity,
    published: watch::Sender<Published>,
    pub(crate) address: SocketAddr,
    server: Option<WebServer>,
}

impl StandIn {
    /// With the identity directory `ca` of this home.
    pub(crate) fn new(home: &Home, manner: Manner) -> Self {
        let read = |name: &str| fs::read_to_string(home.path("ca").join(name)).unwrap();
        let (certificate, roots) = (read("certificate.pem"), read("roots.pem"));
        let identity =
            Identity::from_pem(certificate.as_bytes(), &read("key.pem"), roots.as_bytes()).unwrap();
        let lists = fs::read(home.path("home/crl.pem")).unwrap();
        let mut stand_in = Self {
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap(),
            identity,
            published: watch::channel(Arc::new((0, lists))).0,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            server: None,
        };
        stand_in.comes(manner);
        stand_in
    }

    pub(crate) fn publishes(&self, lists: Vec<u8>) {
        self.published.send_modify(|now| *now = Arc::new((now.0 + 1, lists)));
    }

    /// Every connection breaks off, and nobody listens.
    pub(crate) fn goes(&mut self) {
        drop(self.server.take());
    }

    /// Where it was before, if it was anywhere.
    pub(crate) fn comes(&mut self, manner: Manner) {
        let published = self.published.subscribe();
        let answer = move |head: String| answer(manner, head, published.clone());
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
    mut published: watch::Receiver<Published>,
) -> Vec<u8> {
    let knows = |now: &Published| head.contains(&format!("if-none-match: \"{}\"", now.0));
    if manner == Manner::Fails {
        return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec();
    }
    if manner == Manner::Waits && head.contains("prefer: wait=30") {
        let news = published.wait_for(|now| !knows(now));
        drop(timeout(Duration::from_secs(30), news).await);
    }
    let now = Arc::clone(&published.borrow());
    if knows(&now) {
        return b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec();
    }
    let (tag, length) = (now.0, now.1.len());
    let head = format!("HTTP/1.1 200 OK\r\nETag: \"{tag}\"\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &now.1].concat()
}
