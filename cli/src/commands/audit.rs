//! `vouchsafe audit`: what happened, and whether the history is whole.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Serialize;
use vouchsafe_ca::file::FileError;
use vouchsafe_ca::{Actor, Event, Home, Offer, Origin, Planned, Record, Whole, verify};
use vouchsafe_certs::PermissionSet;

use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Table, count, date};

/// Show what happened; or check that nothing of it was changed
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Check every record, the chain that binds them, and that journal and store agree
    #[arg(long)]
    verify: bool,
}

/// What `audit --verify --json` prints. Without `--verify`, the records are printed as they stand in
/// the journal: JSON, one a line.
#[derive(Serialize)]
struct Verdict {
    /// Whether the history is whole.
    whole: bool,
    /// What is wrong first, in words; null if nothing is.
    finding: Option<String>,
    /// Whether the journal lacks its latest record because a command was interrupted; the next one
    /// completes it.
    interrupted: bool,
    /// How many records there are; null if the history is not whole.
    records: Option<u64>,
    /// The hash of the latest record: kept elsewhere, it proves later that nothing was written anew.
    head: Option<String>,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    // The ledger stays closed: opening it would mend what is to be looked at.
    let home = Home::open(context.home(), context.command(), context.now()?)?;
    if args.verify {
        return check(&home, context);
    }
    let path = home.journal_path();
    if context.json {
        return each_line(&path, |line, _| context.print(&format!("{line}\n")));
    }
    let mut table = Table::default();
    table.row(["RECORD", "WHEN", "WHO", "WHAT"]);
    each_line(&path, |_, record| {
        let Record { sequence, at, by, event, .. } = record;
        table.row([&sequence.to_string(), &date(at), &actor(&by), &sentence(&event)]);
        Ok(())
    })?;
    context.print(&table.to_text())
}

fn check(home: &Home, context: &Context) -> Result<(), Failure> {
    let store = home.open_store()?;
    let found = verify(&home.journal_path(), &store).map_err(vouchsafe_ca::Error::from)?;
    if context.json {
        let whole = found.as_ref().ok();
        let head = whole.map(|whole| &whole.head);
        context.print_json(&Verdict {
            whole: found.is_ok(),
            finding: found.as_ref().err().map(ToString::to_string),
            interrupted: whole.is_some_and(|whole| whole.interrupted),
            records: head.map(|head| head.sequence),
            head: head.map(|head| head.hash.clone()),
        })?;
    }
    match found {
        Err(finding) => Err(Failure::new(format!("the history is not whole: {finding}")).hint(
            "find out who could write to the home; a backup of journal.jsonl shows what was changed",
        )),
        Ok(_) if context.json => Ok(()),
        Ok(Whole { head, interrupted, .. }) => {
            let note = if interrupted {
                "The latest command was interrupted: its record is in the store and will be added to the journal.\n"
            } else {
                ""
            };
            context.print(&format!(
                "The history is whole: {}, each bound to the one before, journal and store agree.\n\
                 {note}Latest: {}\n\
                 Keep this hash elsewhere, and nobody can write the history anew without your noticing.\n",
                count(head.sequence, "record"),
                head.hash
            ))
        }
    }
}

/// Shows every record of the journal; what is no record is left to `--verify`.
fn each_line(
    path: &Path,
    mut show: impl FnMut(&str, Record) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let file = File::open(path).map_err(FileError::reading(path))?;
    for (nth, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(FileError::reading(path))?;
        let Some((record, _hash)) = Record::from_line(&line) else {
            let message = format!("line {} of the journal is not a record", nth + 1);
            return Err(Failure::new(message).hint("vouchsafe audit --verify says more"));
        };
        show(&line, record)?;
    }
    Ok(())
}

/// Who it was, in a word: the trust domain is the same in every line.
fn actor(by: &Actor) -> String {
    match by {
        Actor::Home => "home".to_owned(),
        Actor::Principal(principal) => principal.name().to_owned(),
        Actor::Itself => "the CA".to_owned(),
    }
}

fn may(permissions: &PermissionSet) -> String {
    if permissions.is_empty() { "nothing".to_owned() } else { permissions.to_string() }
}

fn issue(planned: &Planned, origin: &Origin) -> String {
    let Planned { serial, usage, principal, permissions, not_after, .. } = planned;
    let (until, may) = (date(*not_after), may(permissions));
    let how = match origin {
        Origin::Order => String::new(),
        Origin::Invitation(id) => format!(" (invitation {id})"),
        Origin::Renewal(of) => format!(" (renewal of {of})"),
    };
    format!("issued {serial} to {usage} {principal}{how}, until {until}, may: {may}")
}

fn sentence(event: &Event) -> String {
    match event {
        Event::Initialized { trust_domain, .. } => format!("made the CA of {trust_domain}"),
        Event::Issued { planned, origin, .. } => issue(planned, origin),
        Event::Invited { id, offer, .. } => {
            let Offer { principal, permissions, uses, expires_in, .. } = offer;
            let keys = count(u64::from(*uses), "key");
            format!(
                "invited {principal} ({id}) for {expires_in} and {keys}, may: {}",
                may(permissions)
            )
        }
        Event::Withdrawn { id } => format!("withdrew invitation {id}"),
        Event::Limited { principal, permissions: Some(permissions) } => {
            format!("limited device {principal} to: {}", may(permissions))
        }
        Event::Limited { principal, permissions: None } => {
            format!("lifted the limit of device {principal}")
        }
        Event::LineageRevoked { lineage, newest, shown, .. } => format!(
            "revoked the lineage of {lineage} (keyCompromise): {shown} was shown with another key than that of {newest}, to which it had been renewed"
        ),
        Event::RevokedIssuedBefore { principal, before, reason } => {
            let whom = principal
                .as_ref()
                .map_or_else(|| "everybody".to_owned(), |principal| format!("device {principal}"));
            format!("revoked everything issued to {whom} before {} ({reason})", date(*before))
        }
        Event::Revoked { serial, reason } => format!("revoked certificate {serial} ({reason})"),
        Event::DeviceRevoked { principal, reason, serials } => {
            let number = u64::try_from(serials.len()).unwrap_or(u64::MAX);
            format!("revoked device {principal} ({reason}) with {}", count(number, "certificate"))
        }
        Event::Reinstated { principal } => format!("reinstated device {principal}"),
        Event::ListSigned { issuer, number, next_update, .. } => {
            format!(
                "signed revocation list {number} of the {issuer} CA, until {}",
                date(*next_update)
            )
        }
        _ => "something that this version does not know".to_owned(),
    }
}
