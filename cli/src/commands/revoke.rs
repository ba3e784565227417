//! `vouchsafe revoke`: take it back, for a certificate or a whole device.

use std::path::Path;

use vouchsafe_ca::Reason;
use vouchsafe_certs::Fingerprint;

use super::inspect;
use crate::administration::AdministrationArgs;
use crate::administration::revoke::{REINSTATE, REVOKE, Reinstate, Reinstated, Revoke, Revoked};
use crate::administration::revoke_before::{REVOKE_BEFORE, RevokeBefore, RevokedBefore};
use crate::context::Context;
use crate::exit::Failure;
use crate::json::Moment;
use crate::root_key::RootKey;

/// Revoke a certificate, or a device with everything it holds
///
/// A device gets no new certificates until it is reinstated; what was revoked stays revoked.
/// With --issued-before, everything of that age is revoked in one act, and invitations are withdrawn;
/// certificates of operators are among it, also of the one who asks, and so may need issuing anew at
/// the CA's home.
/// The revocation list is signed anew and published in HOME/crl.pem before this returns.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// What: a device's name or SPIFFE ID, a serial number, a SHA-256 fingerprint, or a certificate file
    #[arg(
        value_name = "DEVICE|SERIAL|FINGERPRINT|FILE",
        required_unless_present = "issued_before"
    )]
    what: Option<String>,

    /// Everything issued before this: a date such as 2026-11-20T12:00:00Z, or `now` for everything so far
    #[arg(long, value_name = "TIME", conflicts_with_all = ["what", "reinstate"], value_parser = moment)]
    issued_before: Option<IssuedBefore>,

    /// Only what was issued to this device: a name or a whole SPIFFE ID
    #[arg(long, value_name = "NAME", requires = "issued_before")]
    principal: Option<String>,

    /// Why: unspecified, keyCompromise, affiliationChanged, superseded, cessationOfOperation or privilegeWithdrawn
    #[arg(long, default_value_t)]
    reason: Reason,

    /// Let a revoked device have certificates again
    #[arg(long, conflicts_with = "reason")]
    reinstate: bool,

    /// Revoke an issuing CA, given its serial number, with everything that it has issued
    #[arg(long, conflicts_with_all = ["reinstate", "issued_before"])]
    issuer: bool,

    #[command(flatten)]
    root: RootKey,

    #[command(flatten)]
    ca: AdministrationArgs,
}

/// What it means when a CA elsewhere does not know its operator any more.
const OWN_CERTIFICATE: &str = "if this very command has revoked your own certificate, it is done: \
    vouchsafe audit at the CA's home says so, and vouchsafe issue there gives you another";

/// A point in time, or everything so far.
#[derive(Clone, Copy, Debug)]
struct IssuedBefore(Option<Moment>);

fn moment(text: &str) -> Result<IssuedBefore, String> {
    if text == "now" {
        return Ok(IssuedBefore(None));
    }
    let moment = text.parse().map(Some).map(IssuedBefore);
    moment.map_err(|_| "write a date such as 2026-11-20T12:00:00Z, or now".to_owned())
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if args.issuer {
        let Args { what, reason, root, ca, .. } = &args;
        let passphrase = ca.at_home("--issuer")?;
        let what = what.as_deref().unwrap_or_default();
        return super::rotate::revoke_issuer(what, *reason, root, passphrase, context);
    }
    let administration = args.ca.administration(context)?;
    if let Some(IssuedBefore(issued_before)) = args.issued_before {
        let ask = RevokeBefore { issued_before, principal: args.principal, reason: args.reason };
        let revoked = administration.ask(&REVOKE_BEFORE, ask).map_err(|failure| {
            // The cut may overtake the answer: it is as fast as for everybody else.
            let may_be_cut = args.ca.host().is_some() && failure.what_next().is_none();
            if may_be_cut { failure.hint(OWN_CERTIFICATE) } else { failure }
        })?;
        return context.show(&revoked, RevokedBefore::in_words);
    }
    let what = args.what.unwrap_or_default();
    if args.reinstate {
        let reinstated = administration.ask(&REINSTATE, Reinstate { device: what })?;
        return context.show(&reinstated, Reinstated::in_words);
    }
    let file = fingerprint_of_file(&what)?;
    let ask = Revoke { what, file, reason: args.reason };
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
