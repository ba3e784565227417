//! What a certificate is for, and the names of a server.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vouchsafe_certs::Usage;

use crate::profile::ProfileError;

/// How many DNS names and addresses a server certificate holds at most.
const MAX_SERVER_NAMES: usize = 64;

/// RFC 1035 §2.3.4.
const MAX_DNS_NAME_LEN: usize = 253;

/// RFC 1035 §2.3.4.
const MAX_DNS_LABEL_LEN: usize = 63;

/// What a certificate is for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "usage", rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "X.509-SVID knows clients and servers")]
pub enum Kind {
    /// A machine agent: clientAuth.
    Agent,
    /// A gateway: serverAuth and clientAuth, and the names under which stock clients know it.
    Server {
        /// DNS names.
        dns_names: Vec<String>,
        /// IP addresses.
        ip_addresses: Vec<IpAddr>,
    },
}

impl Kind {
    /// The usage of such a certificate.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match self {
            Self::Agent => Usage::Agent,
            Self::Server { .. } => Usage::Server,
        }
    }
}

pub(crate) type Names = (Usage, Vec<String>, Vec<IpAddr>);

/// Usage, DNS names and addresses, in canonical order, each once.
///
/// # Errors
/// The first name that no certificate holds.
pub(crate) fn names(kind: Kind) -> Result<Names, ProfileError> {
    match kind {
        Kind::Agent => Ok((Usage::Agent, Vec::new(), Vec::new())),
        Kind::Server { dns_names, ip_addresses } => {
            let (dns_names, ip_addresses) = server_names(dns_names, ip_addresses)?;
            Ok((Usage::Server, dns_names, ip_addresses))
        }
    }
}

/// Names and addresses in canonical order, each once.
fn server_names(
    mut dns_names: Vec<String>,
    mut ip_addresses: Vec<IpAddr>,
) -> Result<(Vec<String>, Vec<IpAddr>), ProfileError> {
    dns_names.iter_mut().for_each(|name| name.make_ascii_lowercase());
    dns_names.sort_unstable();
    dns_names.dedup();
    ip_addresses.sort_unstable();
    ip_addresses.dedup();
    match dns_names.len() + ip_addresses.len() {
        0 => return Err(ProfileError::NoServerName),
        1..=MAX_SERVER_NAMES => {}
        _ => return Err(ProfileError::TooManyServerNames),
    }
    if let Some(wrong) = dns_names.iter().find(|name| !is_host_name(name)) {
        return Err(ProfileError::DnsName(wrong.clone()));
    }
    let nobody = |address: &&IpAddr| address.is_unspecified() || address.is_multicast();
    if let Some(wrong) = ip_addresses.iter().find(nobody) {
        return Err(ProfileError::IpAddress(*wrong));
    }
    Ok((dns_names, ip_addresses))
}

/// RFC 5280 §4.2.1.6: the preferred name syntax of RFC 1034 §3.5 as RFC 1123 §2.1 relaxes it.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_DNS_LABEL_LEN).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A name whose last label is a number is an address to most software.
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= MAX_DNS_NAME_LEN
        && name.split('.').all(is_label)
        && !name.rsplit('.').next().is_some_and(is_number)
}
