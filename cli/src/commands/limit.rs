//! `vouchsafe limit`: what a device may do at most, from its next certificate on.

use vouchsafe_certs::Permission;

use crate::administration::AdministrationArgs;
use crate::administration::limit::{Allowed, LIMIT, Limit, Limited, SHOW_LIMIT, ShowLimit};
use crate::context::Context;
use crate::exit::Failure;

/// Limit what a device may do, from its next certificate on; or show its limit
///
/// Renewals and enrolments are narrowed to the limit, and nothing beyond it is issued. They never grant
/// more than the device was granted before. Certificates that are out stay as they are until they end.
#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("limit").multiple(false)))]
pub(crate) struct Args {
    /// Which device: its name or SPIFFE ID
    device: String,

    /// What it may do at most, such as tools:search; may be repeated
    #[arg(long, value_name = "PERMISSION", group = "limit")]
    allow: Vec<Permission>,

    /// It may do nothing at all
    #[arg(long, group = "limit")]
    nothing: bool,

    /// Lift the limit
    #[arg(long, group = "limit")]
    lift: bool,

    #[command(flatten)]
    ca: AdministrationArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if args.allow.is_empty() && !args.nothing && !args.lift {
        let limit = args.ca.administration(context)?;
        let limit = limit.ask(&SHOW_LIMIT, ShowLimit { device: args.device })?;
        return context.show(&limit, Limited::as_it_is);
    }
    let allow = (!args.lift).then_some(Allowed(args.allow));
    let administration = args.ca.administration(context)?;
    let limited = administration.ask(&LIMIT, Limit { device: args.device, allow })?;
    context.show(&limited, Limited::in_words)
}
