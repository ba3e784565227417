//! A server that speaks Streamable HTTP.

use std::fmt;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use rustls::ClientConfig;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::sync::{Semaphore, mpsc};
use vouchsafe_certs::Permission;

use super::UpstreamError;
use crate::child::Keeper;
use crate::streamable::client::{
    CONNECTIONS, Near, Notes, Reach, SPARE_CONNECTIONS, Server, start,
};
use crate::{Endpoint, Limits, Peer, Trust, tls};

/// What a server is told of the client, as a child is by its environment. No client can say any of
/// this: a session's lines hold no headers.
const PRINCIPAL: HeaderName = HeaderName::from_static("vouchsafe-principal");
const PERMISSIONS: HeaderName = HeaderName::from_static("vouchsafe-permissions");
const SERIAL: HeaderName = HeaderName::from_static("vouchsafe-serial");

/// An endpoint that is asked for every session, over connections of the session's own.
#[derive(Clone)]
pub struct HttpUpstream {
    endpoint: Endpoint,
    proof: Proof,
    notes: Option<mpsc::Sender<(u64, String)>>,
    /// Places for connections, of all sessions.
    places: Arc<Semaphore>,
}

/// Connections of all sessions at once, unless somebody says otherwise.
const CONNECTIONS_OF_ALL: usize = 8192;

/// What a server must prove.
#[derive(Clone)]
enum Proof {
    /// Nothing: plain HTTP.
    Nothing,
    /// Its name, by roots that are not ours.
    Web(Arc<ClientConfig>, ServerName<'static>),
    /// Its name, to our own CA, which may revoke it.
    Own(Trust, ServerName<'static>),
}

impl fmt::Debug for HttpUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUpstream({})", self.endpoint)
    }
}

impl HttpUpstream {
    /// Connections that one session may have at once for its requests.
    pub const CONNECTIONS_PER_SESSION: usize = CONNECTIONS;

    /// A further one, for what is no request.
    pub const SPARE_CONNECTIONS_PER_SESSION: usize = SPARE_CONNECTIONS;

    /// Without TLS.
    #[must_use]
    pub fn plain(endpoint: Endpoint) -> Self {
        Self::proving(endpoint, Proof::Nothing)
    }

    /// Over TLS 1.3, to a server whose certificate carries the endpoint's host and leads to one of these roots.
    ///
    /// # Errors
    /// [`UpstreamError::Tls`] or [`UpstreamError::Name`].
    pub fn over_tls(
        endpoint: Endpoint,
        roots: Vec<CertificateDer<'static>>,
        clock: Arc<dyn TimeProvider>,
    ) -> Result<Self, UpstreamError> {
        let name = name_of(&endpoint)?;
        let config = tls::web_config(&roots, clock).map_err(UpstreamError::Tls)?;
        Ok(Self::proving(endpoint, Proof::Web(Arc::new(config), name)))
    }

    /// Over TLS 1.3, to a server of the CA that is trusted here. A connection to one that is revoked,
    /// or of which nobody knows whether it is, is not made, and one that there is ends at once.
    ///
    /// # Errors
    /// [`UpstreamError::Name`].
    pub fn of_own_ca(endpoint: Endpoint, trust: Trust) -> Result<Self, UpstreamError> {
        let name = name_of(&endpoint)?;
        Ok(Self::proving(endpoint, Proof::Own(trust, name)))
    }

    /// Says what goes wrong with the server, with the number of the session; what nobody takes in
    /// time is lost.
    #[must_use]
    pub fn with_notes(self, lines: mpsc::Sender<(u64, String)>) -> Self {
        Self { notes: Some(lines), ..self }
    }

    /// With so many connections of all sessions at once, and one at least. Whatever is beyond that waits
    /// for its turn, and is refused if that does not come.
    #[must_use]
    pub fn with_connections(self, connections: usize) -> Self {
        let connections = connections.clamp(1, Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(connections)), ..self }
    }

    fn proving(endpoint: Endpoint, proof: Proof) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_OF_ALL));
        Self { endpoint, proof, notes: None, places }
    }

    /// Begins to speak for a session of `peer`. Nothing is sent yet.
    pub(crate) fn start(&self, session: u64, peer: &Peer, limits: &Limits, keeper: Keeper) -> Near {
        let reach = match &self.proof {
            Proof::Nothing => Reach::Plain,
            Proof::Web(config, name) => Reach::Tls(Arc::clone(config).into(), name.clone()),
            Proof::Own(trust, name) => Reach::Own(Box::new(trust.clone()), name.clone()),
        };
        let server = Server {
            endpoint: self.endpoint.clone(),
            reach,
            headers: headers(peer),
            notes: Notes(self.notes.clone().map(|lines| (session, lines))),
            limits: limits.clone(),
            places: Arc::clone(&self.places),
        };
        start(server, keeper)
    }
}

fn name_of(endpoint: &Endpoint) -> Result<ServerName<'static>, UpstreamError> {
    endpoint.server_name().ok_or_else(|| UpstreamError::Name(endpoint.address()))
}

/// Who asks, and what they may do: the permissions as an array of JSON, in ASCII.
fn headers(peer: &Peer) -> HeaderMap {
    let permissions: Vec<&str> = peer.permissions.iter().map(Permission::as_str).collect();
    let texts = [
        (PRINCIPAL, peer.principal.as_str().to_owned()),
        (PERMISSIONS, in_ascii(&serde_json::Value::from(permissions).to_string())),
        (SERIAL, peer.serial.to_string()),
    ];
    let pairs =
        texts.into_iter().map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?)));
    // Each of them is ASCII without control characters, so each is there.
    pairs.flatten().collect()
}

/// JSON with everything beyond ASCII escaped (RFC 8259 §7).
fn in_ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' => ascii.push(c),
            _ => {
                let units = c.encode_utf16(&mut [0; 2]).to_vec();
                ascii.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_of_any_alphabet_fit_into_a_header() {
        let json =
            serde_json::json!(["tools:read", "prompts:naïve \"😀\"", "x:\u{7f}"]).to_string();
        let ascii = in_ascii(&json);
        assert_eq!(ascii, r#"["tools:read","prompts:na\u00efve \"\ud83d\ude00\"","x:\u007f"]"#);
        assert_eq!(serde_json::from_str::<Vec<String>>(&ascii).unwrap()[1], "prompts:naïve \"😀\"");
        assert!(HeaderValue::try_from(ascii).is_ok());
    }
}
