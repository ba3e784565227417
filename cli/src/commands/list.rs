//! `vouchsafe list`: what was issued, and what of it still counts.

use rustls_pki_types::UnixTime;
use vouchsafe_ca::{CertificateRecord, Lifetime};
use vouchsafe_certs::{Permission, PermissionSet, Principal};

use super::view::{CertificateView, Status, status};
use crate::context::{Context, principal};
use crate::exit::Failure;
use crate::output::{Table, relative};

/// How much of the permissions a line of the table shows.
const SHOWN_PERMISSIONS_LEN: usize = 60;

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
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let (home, ledger) = context.open()?;
    let now = context.now()?;
    let wanted = args.principal.as_deref();
    let wanted = wanted.map(|name| principal(name, &home.config().trust_domain)).transpose()?;
    let mut records = match &wanted {
        Some(principal) => ledger.certificates_of(principal)?,
        None => ledger.certificates()?,
    };
    records.retain(|record| is_wanted(record, &args, now));
    records.sort_by(|one, other| sort_key(one).cmp(&sort_key(other)));
    if context.json {
        let views: Vec<_> =
            records.iter().map(|record| CertificateView::of_record(record, now)).collect();
        return context.print_json(&views);
    }
    if records.is_empty() {
        return context.print("No certificates.\n");
    }
    context.print(&table(&records, now))
}

fn is_wanted(record: &CertificateRecord, args: &Args, now: UnixTime) -> bool {
    let status = status(record, now);
    let not_after = record.planned.not_after;
    let ends_within = |time: Lifetime| {
        not_after.as_secs() <= now.as_secs().saturating_add(time.as_duration().as_secs())
    };
    let may = |permission: &Permission| {
        let set: PermissionSet = [permission.clone()].into_iter().collect();
        set.is_within(&record.planned.permissions)
    };
    (!args.active || status.is_active())
        && (!args.revoked || status == Status::Revoked)
        && (!args.expired || now > not_after)
        && args.expiring.is_none_or(|time| status.is_active() && ends_within(time))
        && args.may.as_ref().is_none_or(may)
}

fn sort_key(record: &CertificateRecord) -> (&Principal, u64) {
    (&record.planned.principal, record.planned.not_after.as_secs())
}

fn table(records: &[CertificateRecord], now: UnixTime) -> String {
    let mut table = Table::default();
    table.row(["NAME", "KIND", "STATUS", "ENDS", "SERIAL", "MAY"]);
    for record in records {
        let planned = &record.planned;
        let state = match &record.revoked {
            Some(revoked) => format!("revoked {}", relative(revoked.at, now)),
            None => status(record, now).word().to_owned(),
        };
        table.row([
            planned.principal.name(),
            &planned.usage.to_string(),
            &state,
            &relative(planned.not_after, now),
            &planned.serial.to_string(),
            &shortened(&planned.permissions),
        ]);
    }
    table.to_text()
}

/// As many permissions as fit a line, and how many more there are.
fn shortened(permissions: &PermissionSet) -> String {
    if permissions.is_empty() {
        return "nothing".to_owned();
    }
    let mut text = String::new();
    for (nth, permission) in permissions.iter().enumerate() {
        let permission = permission.as_str();
        if nth > 0 && text.len() + permission.len() > SHOWN_PERMISSIONS_LEN {
            text.push_str(&format!(" +{}", permissions.len() - nth));
            break;
        }
        if nth > 0 {
            text.push(' ');
        }
        text.push_str(permission);
    }
    text
}
