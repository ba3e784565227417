//! `vouchsafe inspect`: what a person wants to know of a certificate, permissions first.

use std::fs;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use vouchsafe_ca::Refusal;
use vouchsafe_certs::{Certificate, Serial};

use crate::administration::inspect::{Found, INSPECT, Inspect, Inspected, Origin};
use crate::administration::view::CertificateView;
use crate::administration::{Administration, AdministrationArgs};
use crate::context::Context;
use crate::exit::Failure;
use crate::keyfile::CERTIFICATE;

/// Show a certificate: what it permits, whom it names, whether it counts
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Which: a certificate file, an identity directory, or a serial number of this CA
    #[arg(value_name = "FILE|DIR|SERIAL")]
    what: String,

    #[command(flatten)]
    ca: AdministrationArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let administration = args.ca.administration(context)?;
    let path = Path::new(&args.what);
    let inspected = if path.is_dir() {
        from_file(&path.join(CERTIFICATE), &administration, context)?
    } else if path.exists() {
        from_file(path, &administration, context)?
    } else if let Ok(serial) = args.what.parse::<Serial>() {
        let ask = Inspect { serial: Some(serial), fingerprint: None };
        let found = administration.ask(&INSPECT, ask)?.certificate;
        let certificate = found.ok_or(Refusal::NoSuchCertificate(serial))?;
        Inspected { certificate, issued_by: Origin::ThisCa }
    } else {
        let message = format!("{} is neither a file, a directory nor a serial number", args.what);
        return Err(Failure::new(message).hint("vouchsafe list shows serial numbers"));
    };
    context.show(&inspected, Inspected::in_words)
}

/// Reads a certificate from a file, PEM or DER.
pub(super) fn read(path: &Path) -> Result<Certificate, Failure> {
    let octets = fs::read(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let der = CertificateDer::from_pem_slice(&octets).map_or(octets, |der| der.to_vec());
    Certificate::from_der(&der)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn from_file(
    path: &Path,
    administration: &Administration<'_>,
    context: &Context,
) -> Result<Inspected, Failure> {
    let certificate = read(path)?;
    let view = CertificateView::of_certificate(&certificate, context.now()?);
    // Without a CA here a file can still be read; what is wrong with a CA that is here is said.
    if !administration.is_there() {
        return Ok(Inspected { certificate: view, issued_by: Origin::Unknown });
    }
    let ask = Inspect { serial: None, fingerprint: Some(certificate.fingerprint) };
    let Found { certificate, sees_all } = administration.ask(&INSPECT, ask)?;
    Ok(match (certificate, sees_all) {
        (Some(certificate), _) => Inspected { certificate, issued_by: Origin::ThisCa },
        (None, true) => Inspected { certificate: view, issued_by: Origin::AnotherCa },
        (None, false) => Inspected { certificate: view, issued_by: Origin::NotShown },
    })
}
