//! Putting the parts of the transport together from files and flags.

use std::path::Path;
use std::sync::Arc;

use rustls::time_provider::DefaultTimeProvider;
use rustls_pki_types::ServerName;
use tokio::sync::watch;
use vouchsafe_ca::file;
use vouchsafe_transport::{Connector, Identity, Limits, Revocations, Trust};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::follow::follow;
use crate::keyfile::{CERTIFICATE, KEY, ROOTS};
use crate::notice::say;

/// Reads an identity directory.
pub(crate) fn identity(directory: &Path) -> Result<Identity, Failure> {
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read_to_string(&path).map_err(|error| {
            Failure::new(format!("cannot read {}: {error}", path.display()))
                .hint("an identity directory is made by `vouchsafe issue NAME --out DIR`")
        })
    };
    let key = Zeroizing::new(read(KEY)?);
    let path = directory.join(KEY);
    if let Some(mode) = file::exposed(&path)? {
        let path = path.display();
        return Err(Failure::new(format!(
            "{path} has mode {mode:o}: others can read or change the key"
        ))
        .hint(format!("chmod 600 {path}; if others may have read it, revoke the device")));
    }
    Identity::from_pem(read(CERTIFICATE)?.as_bytes(), &key, read(ROOTS)?.as_bytes()).map_err(
        |error| {
            Failure::new(format!("the identity in {} cannot be used: {error}", directory.display()))
        },
    )
}

/// Trust that follows the revocation list in a file.
pub(crate) fn trust_with_list(
    identity: &Identity,
    list: &Path,
) -> Result<(Trust, watch::Receiver<Arc<Revocations>>), Failure> {
    let lists = follow(list, identity.list_issuers(), say).map_err(Failure::new)?;
    Ok((Trust::new(identity.roots.clone(), lists.clone(), Arc::new(DefaultTimeProvider)), lists))
}

/// Trust that asks for chain and dates alone.
pub(crate) fn trust_without_list(identity: &Identity) -> Trust {
    let (_, lists) = watch::channel(Arc::new(Revocations::Unchecked));
    Trust::new(identity.roots.clone(), lists, Arc::new(DefaultTimeProvider))
}

/// A connector to the gateway at `address`, `host:port`.
pub(crate) fn connector(
    address: &str,
    server_name: Option<&str>,
    identity: &Identity,
    trust: Trust,
    limits: &Limits,
) -> Result<Connector, Failure> {
    let (host, _) = address
        .rsplit_once(':')
        .ok_or_else(|| Failure::usage(format!("{address} is no address: write HOST:PORT")))?;
    let host = server_name.unwrap_or_else(|| host.trim_matches(['[', ']']));
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Failure::usage(format!("{host} is neither a host name nor an IP address")))?;
    Connector::new(address, name, identity, trust, limits).map_err(Failure::new)
}
