//! A small MCP client over a session, for `call`, `tools` and the demo.

use rmcp::RoleClient;
use rmcp::model::{ErrorData, ProtocolVersion};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, ClientServiceExt, RunningService, ServiceError,
};
use tokio::io::{AsyncRead, AsyncWrite};
use vouchsafe_transport::{ConnectError, Connector, Session};

use crate::session::Failed;

/// A client that has agreed on a version with its server.
pub(crate) type Client = RunningService<RoleClient, ()>;

/// Opens a session, agrees on a version of MCP, and does some work.
pub(crate) async fn with_client<T>(
    connector: &Connector,
    work: impl AsyncFnOnce(&Client) -> Result<T, ServiceError>,
) -> Result<T, Failed> {
    in_session(connector, connector.connect().await?, work).await
}

/// The same in a session that is open.
pub(crate) async fn in_session<S, T>(
    connector: &Connector,
    session: Session<S>,
    work: impl AsyncFnOnce(&Client) -> Result<T, ServiceError>,
) -> Result<T, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let worked = session.run(|stream| async move {
        // The newest version first; servers that know only `initialize` are met there.
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::LATEST],
            legacy_version: None,
        };
        let client = ().serve_with_lifecycle(stream, lifecycle).await?;
        let done = work(&client).await;
        // The work is done; how the session ends changes nothing of it.
        drop(client.cancel().await);
        Ok(done)
    });
    let worked = worked.await;
    connector.close().await;
    match worked {
        Ok(Ok(Ok(done))) => Ok(done),
        Ok(Ok(Err(ServiceError::McpError(error)))) => Err(Failed::Answer(in_words(&error))),
        Ok(Ok(Err(error))) => Err(broken(connector, &error.to_string()).await),
        Ok(Err(error)) => Err(disagreed(connector, error).await),
        Err(denial) => Err(ConnectError::Denied(denial).into()),
    }
}

/// There is no client: what is there refuses, is no server of MCP, or has gone.
async fn disagreed(connector: &Connector, error: ClientInitializeError) -> Failed {
    let reason = match error {
        // The older way of beginning was the last attempt.
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => *fallback,
        error => error,
    };
    let reason = match reason {
        ClientInitializeError::JsonRpcError(error) => in_words(&error),
        ClientInitializeError::ConnectionClosed(_)
        | ClientInitializeError::TransportError { .. }
        | ClientInitializeError::Cancelled => {
            return broken(connector, "the session ended before a version was agreed; if the server behind the gateway is not there, the gateway's own messages say so").await;
        }
        ClientInitializeError::ExpectedInitResponse(_)
        | ClientInitializeError::ExpectedInitResult(_) => {
            "what answers there does not speak MCP".to_owned()
        }
        other => other.to_string(),
    };
    match broken(connector, &reason).await {
        Failed::Broken(reason) => Failed::Disagreed(reason),
        known => known,
    }
}

fn in_words(error: &ErrorData) -> String {
    format!("{} (code {})", error.message, error.code.0)
}

/// A session that was refused or cut says nothing; the next handshake says why.
pub(crate) async fn broken(connector: &Connector, what: &str) -> Failed {
    match connector.explain().await {
        Some(reason @ (ConnectError::Refused(_) | ConnectError::Denied(_))) => reason.into(),
        Some(reason) => Failed::Ended(what.to_owned(), Box::new(reason)),
        None => Failed::Broken(what.to_owned()),
    }
}
