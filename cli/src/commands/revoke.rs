//! `vouchsafe revoke`: take it back, for a certificate or a whole device.

use std::path::Path;

use vouchsafe_ca::Reason;
use vouchsafe_certs::Fingerprint;

use super::inspect;
use crate::administration::CaArgs;
use crate::administration::revoke::{REINSTATE, REVOKE, Reinstate, Reinstated, Revoke, Revoked};
use crate::context::Context;
use crate::exit::Failure;

/// Revoke a certificate, or a device with everything it holds
///
/// A device gets no new certificates until it is reinstated; what was revoked stays revoked.
/// The revocation list is signed anew and published in HOME/crl.pem before this returns.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// What: a device's name or SPIFFE ID, a serial number, a SHA-256 fingerprint, or a certificate file
    #[arg(value_name = "DEVICE|SERIAL|FINGERPRINT|FILE")]
    what: String,

    /// Why: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn
    #[arg(long, default_value_t)]
    reason: Reason,

    /// Let a revoked device have certificates again
    #[arg(long, conflicts_with = "reason")]
    reinstate: bool,

    #[command(flatten)]
    ca: CaArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let administration = args.ca.administration(context)?;
    if args.reinstate {
        let reinstated = administration.ask(&REINSTATE, Reinstate { device: args.what })?;
        return context.show(&reinstated, Reinstated::in_words);
    }
    let file = fingerprint_of_file(&args.what)?;
    let ask = Revoke { what: args.what, file, reason: args.reason };
    let revoked = administration.ask(&REVOKE, ask)?;
    context.show(&revoked, Revoked::in_words)
}

/// The fingerprint of the certificate in a file, if there is such a file.
fn fingerprint_of_file(what: &str) -> Result<Option<Fingerprint>, Failure> {
    let path = Path::new(what);
    if what.contains("://") || !path.is_file() {
        return Ok(None);
    }
    let refused = |failure: Failure| Failure::new(format!("{what} cannot be revoked: {failure}"));
    Ok(Some(inspect::read(path).map_err(refused)?.fingerprint))
}
