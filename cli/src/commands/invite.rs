//! `vouchsafe invite`: one line that lets a device enrol.

use std::net::IpAddr;

use vouchsafe_ca::Lifetime;
use vouchsafe_certs::{Permission, Principal};

use crate::administration::AdministrationArgs;
use crate::administration::invite::{
    INVITATIONS, INVITE, InvitationView, Invitations, Invite, PUBLIC_PORT, WITHDRAW, Withdraw,
    in_words,
};
use crate::administration::issue::ServerNames;
use crate::context::Context;
use crate::exit::Failure;
use crate::json::Moment;
use crate::output::say;

/// Invite a device to enrol: prints one line for `vouchsafe enroll`
///
/// The line holds the CA's address, the root's fingerprint and a secret that works once: hand it to the
/// device as you would a password. The CA keeps only the secret's hash.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// For whom: a name such as team-a/build-7, or a whole SPIFFE ID
    #[arg(required_unless_present_any = ["list", "withdraw"])]
    name: Option<String>,

    /// What it may do, such as tools:search or 'resources:file:///docs/*'; may be repeated
    #[arg(long, value_name = "PERMISSION")]
    allow: Vec<Permission>,

    /// A role of ca.toml, for everything that role allows; may be repeated
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,

    /// How long its certificates live, such as 30m, 24h or 7d [default: as ca.toml and the roles have it]
    #[arg(long, value_name = "TIME")]
    ttl: Option<Lifetime>,

    /// How many keys may enrol with it
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    uses: u32,

    /// How long it can be used
    #[arg(long, value_name = "TIME", default_value = "10m")]
    expires: Lifetime,

    /// Where the device finds the CA, HOST:PORT: its public listener [default: the host of --ca, or localhost, and port 8445]
    #[arg(long = "address", value_name = "HOST:PORT")]
    public: Option<String>,

    /// For a gateway: it serves, under the names given with --dns and --ip
    #[arg(long)]
    server: bool,

    /// A DNS name that clients dial; may be repeated
    #[arg(long, value_name = "NAME", requires = "server")]
    dns: Vec<String>,

    /// An IP address that clients dial; may be repeated
    #[arg(long, value_name = "ADDRESS", requires = "server")]
    ip: Vec<IpAddr>,

    /// List invitations, those that are over for less than a week included
    #[arg(long, conflicts_with_all = ["name", "withdraw"])]
    list: bool,

    /// Take an invitation back
    #[arg(long, value_name = "ID", conflicts_with = "name")]
    withdraw: Option<String>,

    #[command(flatten)]
    ca: AdministrationArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if args.list {
        return list(&args, context);
    }
    let administration = args.ca.administration(context)?;
    if let Some(id) = args.withdraw {
        let withdrawn = administration.ask(&WITHDRAW, Withdraw { id })?;
        return context.show(&withdrawn, InvitationView::in_words);
    }
    let invited = administration.ask(&INVITE, args.ask())?;
    if context.json {
        return context.print_json(&invited);
    }
    // What is said of it goes elsewhere, so that the line alone can be captured.
    let view = &invited.view;
    let sheet = view.sheet(context.now()?).to_text();
    say(format_args!("Invited {}\n{sheet}", view.principal));
    context.print(&format!("{}\n", invited.invitation))
}

fn list(args: &Args, context: &Context) -> Result<(), Failure> {
    let mut invitations = Vec::new();
    args.ca.administration(context)?.ask_on(&INVITATIONS, Invitations::default(), |page| {
        invitations.extend(page.invitations);
        Ok(page.next.map(|next| Invitations { after: Some(next) }))
    })?;
    invitations.sort_by(|one, other| sort_key(one).cmp(&sort_key(other)));
    context.show(&invitations, |invitations, now| in_words(invitations, now))
}

fn sort_key(view: &InvitationView) -> (Moment, &Principal) {
    (view.expires_at, &view.principal)
}

impl Args {
    fn ask(&self) -> Invite {
        let names = || ServerNames { dns: self.dns.clone(), ip: self.ip.clone() };
        let own = || format!("{}:{PUBLIC_PORT}", self.ca.host().unwrap_or("localhost"));
        Invite {
            name: self.name.clone().unwrap_or_default(),
            allow: self.allow.clone(),
            roles: self.role.clone(),
            ttl: self.ttl,
            server: self.server.then(names),
            uses: self.uses,
            expires: self.expires,
            address: self.public.clone().unwrap_or_else(own),
        }
    }
}
