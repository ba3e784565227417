//! A client without manners: it shows any certificate, writes any octets, and reports what came back.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vouchsafe_certs::Certificate;
use vouchsafe_transport::Identity;

use crate::PATIENCE;

/// One connection.
pub struct Client {
    stream: BufReader<TlsStream<TcpStream>>,
    next: u64,
}

/// A TLS configuration that shows what an identity has, and trusts its roots.
#[must_use]
pub fn tls_config(identity: &Identity) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for root in identity.roots.iter() {
        roots.add(root.der.clone()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(identity.chain.clone(), identity.key.to_tls())
        .unwrap();
    config.alpn_protocols = vec![b"mcp/1".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config
}

impl Client {
    /// Connects as `identity`; the gateway has not judged it yet.
    pub async fn connect(address: SocketAddr, identity: &Identity) -> Self {
        Self::connect_with(address, tls_config(identity)).await.unwrap()
    }

    /// Connects with any TLS configuration.
    ///
    /// # Errors
    /// What the handshake says.
    pub async fn connect_with(address: SocketAddr, config: ClientConfig) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Self { stream: BufReader::new(stream), next: 0 })
    }

    /// The certificate that the gateway showed.
    #[must_use]
    pub fn server_certificate(&self) -> Certificate {
        let chain = self.stream.get_ref().get_ref().1.peer_certificates().unwrap();
        Certificate::from_der(chain.first().unwrap()).unwrap()
    }

    /// Writes octets as they are.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn write(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(octets).await?;
        self.stream.flush().await
    }

    /// The next line, or why there is none; `None` at a clean end.
    ///
    /// # Errors
    /// How the connection broke off.
    pub async fn line(&mut self) -> std::io::Result<Option<Value>> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.stream.read_line(&mut line)).await;
        match read.unwrap_or_else(|_| panic!("nothing came for {PATIENCE:?}"))? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&line)?)),
        }
    }

    /// One request and the next line that comes back.
    ///
    /// # Errors
    /// How the connection broke off.
    pub async fn request(&mut self, method: &str, params: Value) -> std::io::Result<Option<Value>> {
        self.next += 1;
        let request =
            json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params});
        self.write(format!("{request}\n").as_bytes()).await?;
        self.line().await
    }

    /// One call, which must be answered: the text of its result.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> String {
        let answer = self.try_call(tool, arguments).await.unwrap().unwrap();
        let text = answer["result"]["content"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// One call, and the line that comes back.
    ///
    /// # Errors
    /// How the connection broke off.
    pub async fn try_call(
        &mut self,
        tool: &str,
        arguments: Value,
    ) -> std::io::Result<Option<Value>> {
        self.request("tools/call", json!({"name": tool, "arguments": arguments})).await
    }

    /// Closes in good order and waits for the gateway to do the same.
    pub async fn close(mut self) {
        self.stream.shutdown().await.unwrap();
        while let Ok(Some(_)) = self.line().await {}
    }

    /// Why the gateway closed: the TLS alert, or "closed" for a clean end.
    pub async fn ending(&mut self) -> String {
        loop {
            match self.line().await {
                Ok(Some(_)) => {}
                Ok(None) => return "closed".into(),
                Err(error) => return error.to_string(),
            }
        }
    }
}
