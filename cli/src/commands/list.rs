//! `vouchsafe list`: what was issued, and what of it still counts.

use vouchsafe_ca::Lifetime;
use vouchsafe_certs::{Permission, Principal};

use crate::administration::AdministrationArgs;
use crate::administration::list::{LIST, List, State, in_words};
use crate::administration::view::CertificateView;
use crate::context::Context;
use crate::exit::Failure;

/// List certificates
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only those that may be used now
    #[arg(long, group = "state")]
    active: bool,

    /// Only the revoked
    #[arg(long, group = "state")]
    revoked: bool,

    /// Only those whose time is over
    #[arg(long, group = "state")]
    expired: bool,

    /// Only those that may be used now and end within this time, such as 12h
    #[arg(long, group = "state", value_name = "TIME")]
    expiring: Option<Lifetime>,

    /// Only those of this principal: a name or a whole SPIFFE ID
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,

    /// Only those that may do this, such as tools:search
    #[arg(long, value_name = "PERMISSION")]
    may: Option<Permission>,

    #[command(flatten)]
    ca: AdministrationArgs,
}

impl Args {
    fn ask(&self) -> List {
        let states = [
            (self.active, State::Active),
            (self.revoked, State::Revoked),
            (self.expired, State::Expired),
        ];
        List {
            principal: self.principal.clone(),
            state: states.into_iter().find_map(|(asked, state)| asked.then_some(state)),
            expiring: self.expiring,
            may: self.may.clone(),
            after: None,
        }
    }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let ask = args.ask();
    let mut certificates = Vec::new();
    args.ca.administration(context)?.ask_on(&LIST, ask.clone(), |page| {
        certificates.extend(page.certificates);
        Ok(page.next.map(|next| List { after: Some(next), ..ask.clone() }))
    })?;
    certificates.sort_by(|one, other| sort_key(one).cmp(&sort_key(other)));
    context.show(&certificates, |certificates, now| in_words(certificates, now))
}

fn sort_key(view: &CertificateView) -> (&Principal, u64) {
    (&view.principal, view.not_after.0.as_secs())
}
