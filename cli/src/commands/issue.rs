//! `vouchsafe issue`: vouch for an agent or a gateway.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;
use vouchsafe_ca::{Lifetime, pem};
use vouchsafe_certs::{CertificateRequest, KeyType, Permission, Principal, PrivateKey};

use crate::administration::AdministrationArgs;
use crate::administration::issue::{ISSUE, Issue, Issued, ServerNames};
use crate::administration::view::CertificateView;
use crate::context::Context;
use crate::exit::Failure;
use crate::keyfile::{CERTIFICATE, Destination, KEY, ROOTS};
use crate::passphrase;

/// Issue a certificate that says who somebody is and what they may do
///
/// Writes an identity directory: certificate.pem, key.pem (for its owner's eyes alone) and roots.pem.
/// The key is made here, wherever the CA is. With --csr it stays where it is, and only certificate.pem
/// and roots.pem are written.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// For whom: a name such as team-a/build-7, or a whole SPIFFE ID
    name: String,

    /// What it may do, such as tools:search or 'resources:file:///docs/*'; may be repeated
    #[arg(long, value_name = "PERMISSION")]
    allow: Vec<Permission>,

    /// A role of ca.toml, for everything that role allows; may be repeated
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,

    /// How long it lives, such as 30m, 24h or 7d [default: as ca.toml and the roles have it]
    #[arg(long, value_name = "TIME")]
    ttl: Option<Lifetime>,

    /// Certify the key of this PKCS#10 request; nothing else of the request is believed
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,

    /// Where the identity goes [default: a directory with the name, here]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Replace the identity that is there
    #[arg(long)]
    force: bool,

    /// What the new key is made of: p256, p384 or ed25519
    #[arg(long, value_name = "TYPE", default_value_t, conflicts_with = "csr")]
    key_type: KeyType,

    /// Protect the new key with the passphrase in this file (or /dev/fd/N)
    #[arg(long, value_name = "FILE", conflicts_with = "csr")]
    key_passphrase_file: Option<PathBuf>,

    /// For a gateway: it serves, under the names given with --dns and --ip
    #[arg(long)]
    server: bool,

    /// A DNS name that clients dial; may be repeated
    #[arg(long, value_name = "NAME", requires = "server")]
    dns: Vec<String>,

    /// An IP address that clients dial; may be repeated
    #[arg(long, value_name = "ADDRESS", requires = "server")]
    ip: Vec<IpAddr>,

    #[command(flatten)]
    ca: AdministrationArgs,
}

/// What `issue --json` prints.
#[derive(Serialize)]
struct Delivered<'a> {
    /// The certificate, as `inspect --json` shows it.
    #[serde(flatten)]
    certificate: &'a CertificateView,
    /// The directory it was written to.
    identity: String,
}

/// Where the key of the new certificate is.
enum Key {
    /// Made here.
    Own(PrivateKey),
    /// Somebody else's, who proves it by this request.
    Elsewhere(String),
}

impl Key {
    fn request(&self) -> Result<String, Failure> {
        match self {
            Self::Elsewhere(request) => Ok(request.clone()),
            Self::Own(key) => {
                let der = CertificateRequest::prove(key).map_err(vouchsafe_ca::Error::from)?;
                Ok(pem::certificate_request(&der))
            }
        }
    }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let administration = args.ca.administration(context)?;
    let directory = args.out.clone().map_or_else(|| own_directory(&args.name), Ok)?;
    // Everything that can be refused here is refused before anything is issued.
    let (key, destination) = match &args.csr {
        None => {
            let key = PrivateKey::generate(args.key_type).map_err(vouchsafe_ca::Error::from)?;
            (Key::Own(key), Destination::whole(directory, args.force)?)
        }
        Some(path) => {
            let key = Key::Elsewhere(request_in(path)?);
            (key, Destination::without_key(directory, args.force)?)
        }
    };
    let sealing = args.key_passphrase_file.as_deref().map(passphrase::read).transpose()?;
    let sealing = sealing.as_ref().map(|passphrase| passphrase.as_slice());
    let request = key.request()?;
    let issued = administration.ask(&ISSUE, args.ask(request))?;
    let papers = issued.papers();
    let written = match &key {
        Key::Own(key) => destination.write_sealed(&papers, key, sealing),
        Key::Elsewhere(_) => destination.write_without_key(&papers),
    };
    written.map_err(|failure| {
        let serial = issued.certificate.serial;
        failure.hint(format!(
            "certificate {serial} was issued, but not delivered: vouchsafe revoke {serial}"
        ))
    })?;
    report(&issued, &key, &destination, context)
}

impl Args {
    fn ask(&self, request: String) -> Issue {
        let names = || ServerNames { dns: self.dns.clone(), ip: self.ip.clone() };
        Issue {
            name: self.name.clone(),
            allow: self.allow.clone(),
            roles: self.role.clone(),
            ttl: self.ttl,
            server: self.server.then(names),
            request,
        }
    }
}

/// A directory with the principal's name.
fn own_directory(name: &str) -> Result<PathBuf, Failure> {
    if !name.contains("://") {
        return Ok(PathBuf::from(name));
    }
    let principal = Principal::parse(name)
        .map_err(|error| Failure::usage(format!("{name} cannot be a principal: {error}")))?;
    Ok(PathBuf::from(principal.name()))
}

/// The request in a file, as PEM. That it proves its key is seen here already.
fn request_in(path: &Path) -> Result<String, Failure> {
    let octets = fs::read(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    CertificateRequest::from_pem_or_der(&octets)
        .map_err(|error| Failure::new(format!("{} is refused: {error}", path.display())))?;
    Ok(String::from_utf8(octets).unwrap_or_else(|error| pem::certificate_request(error.as_bytes())))
}

fn report(
    issued: &Issued,
    key: &Key,
    destination: &Destination,
    context: &Context,
) -> Result<(), Failure> {
    let identity = destination.directory().display().to_string();
    if context.json {
        return context.print_json(&Delivered { certificate: &issued.certificate, identity });
    }
    let mut sheet = issued.sheet(context.now()?);
    let files = match key {
        Key::Own(_) => format!("{CERTIFICATE}, {KEY}, {ROOTS}"),
        Key::Elsewhere(_) => format!("{CERTIFICATE}, {ROOTS}"),
    };
    sheet.line("identity", &format!("{identity} ({files})"));
    context.print(&format!("{}\n{}", issued.headline(), sheet.to_text()))
}
