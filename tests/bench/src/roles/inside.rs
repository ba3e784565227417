//! A gateway with its MCP server in the same process, as an application that serves MCP itself has it: policy,
//! revocation list, limits and audit as in `vouchsafe serve`, and no second process.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use tokio::sync::watch;
use vouchsafe_transport::{
    DefaultTimeProvider, EventLog, Gateway, GatewayConfig, Identity, Output, Revocations, Service,
    Trust, Upstream,
};

use super::{answer_lines, listener, runtime};

/// Serves until it is ended.
pub(crate) fn run(identity: &Path, list: &Path, audit: &Path, sessions: usize) -> Result<()> {
    let gateway = Arc::new(gateway(identity, list, audit, sessions)?);
    runtime()?.block_on(async {
        gateway.serve(listener().await?, std::future::pending()).await;
        Ok(())
    })
}

fn gateway(identity: &Path, list: &Path, audit: &Path, sessions: usize) -> Result<Gateway> {
    let read = |name| fs::read_to_string(identity.join(name));
    let (certificate, key, roots) =
        (read("certificate.pem")?, read("key.pem")?, read("roots.pem")?);
    let identity = Arc::new(Identity::from_pem(certificate.as_bytes(), &key, roots.as_bytes())?);
    let revocations = Revocations::from_pem(&fs::read(list)?, &identity.list_issuers())?;
    let clock = Arc::new(DefaultTimeProvider);
    let trust = Trust::new(
        watch::channel(Arc::clone(&identity.roots)).1,
        watch::channel(Arc::new(revocations)).1,
        clock.clone(),
    );
    let audit = Output::new(File::options().append(true).create(true).open(audit)?);
    let server = Service::new(|_, stream| async {
        // Its client went away: nobody is left to be told.
        let _ = answer_lines(stream).await;
    });
    let mut config = GatewayConfig::new(
        watch::channel(identity).1,
        trust,
        Upstream::Service(server),
        EventLog::new(Arc::new(audit), clock),
    );
    config.limits.sessions = sessions;
    config.limits.sessions_per_principal = sessions;
    Ok(Gateway::new(config)?)
}
