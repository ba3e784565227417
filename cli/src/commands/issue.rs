//! `vouchsafe issue`: vouch for an agent or a gateway.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;
use vouchsafe_ca::{Actor, Authority, Grant, Issued, Kind, Lifetime, Order};
use vouchsafe_certs::{CertificateRequest, KeyType, Permission, Principal, PrivateKey, PublicKey};

use super::view::{CertificateView, validity};
use crate::context::{Context, principal};
use crate::exit::Failure;
use crate::keyfile::{CERTIFICATE, Destination, KEY, Papers, ROOTS};
use crate::output::Sheet;
use crate::passphrase::{self, PassphraseFile};

/// Issue a certificate that says who somebody is and what they may do
///
/// Writes an identity directory: certificate.pem, key.pem (for its owner's eyes alone) and roots.pem.
/// With --csr the key stays where it is, and only certificate.pem and roots.pem are written.
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
    passphrase: PassphraseFile,
}

/// What `issue --json` prints.
#[derive(Serialize)]
struct Delivered {
    /// The certificate, as `inspect --json` shows it.
    #[serde(flatten)]
    certificate: CertificateView,
    /// The directory it was written to.
    identity: String,
}

/// Where the key of the new certificate is.
enum Key {
    /// Made here.
    Own(PrivateKey),
    /// Somebody else's, proven by a request.
    Elsewhere(PublicKey),
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let authority = context.open_authority(&args.passphrase)?;
    let principal = principal(&args.name, &authority.home().config().trust_domain)?;
    let directory = args.out.clone().unwrap_or_else(|| PathBuf::from(principal.name()));
    // Everything that can be refused is refused before anything is issued.
    let (key, destination) = match &args.csr {
        None => {
            let key = PrivateKey::generate(args.key_type).map_err(vouchsafe_ca::Error::from)?;
            (Key::Own(key), Destination::whole(directory, args.force)?)
        }
        Some(path) => {
            let key = Key::Elsewhere(read_request(path)?);
            (key, Destination::without_key(directory, args.force)?)
        }
    };
    let sealing = args.key_passphrase_file.as_deref().map(passphrase::read).transpose()?;
    let sealing = sealing.as_ref().map(|passphrase| passphrase.as_slice());
    let issued = authority.issue(&Actor::Home, order(&args, principal, &key, &authority)?)?;
    let papers = Papers::of(&issued);
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

fn read_request(path: &PathBuf) -> Result<PublicKey, Failure> {
    let octets = fs::read(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let request = CertificateRequest::from_pem_or_der(&octets)
        .map_err(|error| Failure::new(format!("{} is refused: {error}", path.display())))?;
    Ok(request.public_key)
}

fn order(
    args: &Args,
    principal: Principal,
    key: &Key,
    authority: &Authority,
) -> Result<Order, Failure> {
    let granted = authority.home().config().grant(principal.name(), &args.role);
    let Grant { permissions, ttl, .. } = granted.map_err(vouchsafe_ca::Error::from)?;
    let lifetime = match (args.ttl, ttl) {
        (Some(asked), Some(longest)) if asked > longest => {
            let message = format!("a lifetime of {asked} is longer than the {longest} of the role");
            return Err(Failure::new(message).hint("ask for less, or change ttl in ca.toml"));
        }
        (asked, longest) => asked.or(longest),
    };
    let kind = if args.server {
        Kind::Server { dns_names: args.dns.clone(), ip_addresses: args.ip.clone() }
    } else {
        Kind::Agent
    };
    let public_key = match key {
        Key::Own(key) => key.public_key().map_err(vouchsafe_ca::Error::from)?,
        Key::Elsewhere(key) => key.clone(),
    };
    let permissions = permissions.iter().chain(&args.allow).cloned().collect();
    Ok(Order { principal, kind, permissions, lifetime, public_key })
}

fn report(
    issued: &Issued,
    key: &Key,
    destination: &Destination,
    context: &Context,
) -> Result<(), Failure> {
    let now = context.now()?;
    let certificate = &issued.certificate;
    let view = CertificateView::of_certificate(certificate, now);
    let identity = destination.directory().display().to_string();
    if context.json {
        return context.print_json(&Delivered { certificate: view, identity });
    }
    let mut sheet = Sheet::default();
    view.describe(&mut sheet);
    sheet.line("valid", &validity(certificate.not_before, certificate.not_after, now));
    sheet.line("serial", &view.serial);
    let files = match key {
        Key::Own(_) => format!("{CERTIFICATE}, {KEY}, {ROOTS}"),
        Key::Elsewhere(_) => format!("{CERTIFICATE}, {ROOTS}"),
    };
    sheet.line("identity", &format!("{identity} ({files})"));
    context.print(&format!("Issued {}\n{}", view.principal, sheet.to_text()))
}
