//! An HTTP server without manners: it answers whatever octets the test wants, or not at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use vouchsafe_transport::Identity;

/// A server on a free port that shows an identity and asks for none.
pub struct WebServer {
    /// Where it listens.
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl WebServer {
    /// Shows `chain`, and answers the head of each request with `answer`'s octets; nothing is
    /// followed by nothing.
    pub async fn new(
        identity: &Identity,
        chain: Vec<CertificateDer<'static>>,
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, identity, chain, move |head| std::future::ready(answer(&head)))
    }

    /// As [`new`](Self::new), on a listener of its own, taking time to answer.
    pub fn on<W: Future<Output = Vec<u8>> + Send + 'static>(
        listener: TcpListener,
        identity: &Identity,
        chain: Vec<CertificateDer<'static>>,
        answer: impl Fn(String) -> W + Send + Sync + 'static,
    ) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, identity.key.to_tls())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (answer, heard) = (Arc::new(answer), Arc::clone(&heads));
        let task = tokio::spawn(async move {
            // They end when this task does.
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, heard) = (acceptor.clone(), Arc::clone(&heard));
                let answer = Arc::clone(&answer);
                connections.spawn(async move {
                    if let Ok(mut stream) = acceptor.accept(tcp).await {
                        while let Some(head) = read_head(&mut stream).await {
                            heard.lock().unwrap().push(head.clone());
                            write(&mut stream, &answer(head).await).await;
                        }
                    }
                });
            }
        });
        Self { address, heads, task }
    }

    /// The heads of the requests that have come.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// A client that has gone is no concern of ours.
async fn write(stream: &mut (impl AsyncWrite + Unpin), octets: &[u8]) {
    if stream.write_all(octets).await.is_ok() {
        drop(stream.flush().await);
    }
}
