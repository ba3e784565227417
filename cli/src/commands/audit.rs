//! `vouchsafe audit`: what happened, and whether the history is whole.

use serde::Serialize;
use vouchsafe_ca::{Head, Record, Whole, verify};

use crate::administration::audit::{AUDIT, Audit, History, add, header};
use crate::administration::{Administration, AdministrationArgs};
use crate::context::Context;
use crate::exit::Failure;
use crate::output::count;

/// Show what happened; or check that nothing of it was changed
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Check every record, and the chain that binds them; in the home also that journal and store agree
    #[arg(long)]
    verify: bool,

    #[command(flatten)]
    ca: AdministrationArgs,
}

/// What `audit --verify --json` prints. Without `--verify`, the records are printed as they stand in
/// the journal: JSON, one a line.
#[derive(Serialize)]
struct Verdict {
    /// Whether the history is whole.
    whole: bool,
    /// What is wrong first, in words; null if nothing is.
    finding: Option<String>,
    /// Whether journal or store lacks the latest write because a command was interrupted; the next one
    /// brings them level.
    interrupted: bool,
    /// How many records there are; null if the history is not whole.
    records: Option<u64>,
    /// The hash of the latest record: kept elsewhere, it proves later that nothing was written anew.
    head: Option<String>,
}

/// A history that is whole.
struct Checked {
    head: Head,
    interrupted: bool,
    /// What was compared.
    agreement: &'static str,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let administration = args.ca.administration(context)?;
    if args.verify {
        let found = match &administration {
            Administration::Local(..) => check_home(context)?,
            Administration::Remote(_) => check_chain(&administration)?,
        };
        return report(found, context);
    }
    if context.json {
        return each_record(&administration, |line, _| context.print(&format!("{line}\n")));
    }
    let mut table = header();
    each_record(&administration, |_, record| {
        add(&mut table, record);
        Ok(())
    })?;
    context.print(&table.to_text())
}

/// Shows every record of the journal, with its line.
fn each_record(
    administration: &Administration<'_>,
    mut show: impl FnMut(&str, &Record) -> Result<(), Failure>,
) -> Result<(), Failure> {
    administration.ask_on(&AUDIT, Audit::default(), |History { records, next }| {
        for line in &records {
            let (record, _) = Record::from_line(line).ok_or_else(not_a_record)?;
            show(line, &record)?;
        }
        Ok(next.map(|from| Audit { from }))
    })
}

fn not_a_record() -> Failure {
    Failure::new("the CA's answer holds what is no record of a journal")
}

/// The ledger stays closed: opening it would mend what is to be looked at.
fn check_home(context: &Context) -> Result<Result<Checked, String>, Failure> {
    let home = context.open_home()?;
    let store = home.open_store()?;
    let found = verify(&home.journal_path(), &*store).map_err(vouchsafe_ca::Error::from)?;
    Ok(match found {
        Ok(Whole { head, interrupted, .. }) => {
            Ok(Checked { head, interrupted, agreement: ", journal and store agree" })
        }
        Err(finding) => Err(finding.to_string()),
    })
}

/// Of a CA elsewhere the chain is checked here, record by record; its word is not taken for it.
fn check_chain(administration: &Administration<'_>) -> Result<Result<Checked, String>, Failure> {
    let mut head = Head::beginning();
    let mut broken = None;
    administration.ask_on(&AUDIT, Audit::default(), |History { records, next }| {
        for line in &records {
            let (record, hash) = Record::from_line(line).ok_or_else(not_a_record)?;
            if record.sequence != head.sequence + 1 || record.previous != head.hash {
                broken = Some(format!(
                    "record {} does not follow on {}",
                    record.sequence, head.sequence
                ));
                return Ok(None);
            }
            head = Head::new(record.sequence, hash);
        }
        Ok(next.map(|from| Audit { from }))
    })?;
    Ok(match broken {
        None => Ok(Checked { head, interrupted: false, agreement: "" }),
        Some(finding) => Err(finding),
    })
}

fn report(found: Result<Checked, String>, context: &Context) -> Result<(), Failure> {
    if context.json {
        let whole = found.as_ref().ok();
        context.print_json(&Verdict {
            whole: found.is_ok(),
            finding: found.as_ref().err().cloned(),
            interrupted: whole.is_some_and(|whole| whole.interrupted),
            records: whole.map(|whole| whole.head.sequence),
            head: whole.map(|whole| whole.head.hash.clone()),
        })?;
    }
    match found {
        Err(finding) => Err(Failure::new(format!("the history is not whole: {finding}")).hint(
            "find out who could write to the home; a backup of journal.jsonl shows what was changed",
        )),
        Ok(_) if context.json => Ok(()),
        Ok(Checked { head, interrupted, agreement }) => {
            let note = if interrupted {
                "The latest command was interrupted: journal or store lacks the end of it and gets it from the other.\n"
            } else {
                ""
            };
            context.print(&format!(
                "The history is whole: {}, each bound to the one before{agreement}.\n\
                 {note}Latest: {}\n\
                 Keep this hash elsewhere, and nobody can write the history anew without your noticing.\n",
                count(head.sequence, "record"),
                head.hash
            ))
        }
    }
}
