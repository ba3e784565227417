//! `vouchsafe restore`: the store, built anew from the journal.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::Serialize;
use vouchsafe_ca::Head;

use crate::context::Context;
use crate::exit::Failure;
use crate::output::count;

/// Build what the CA remembers anew from its journal
///
/// Everything in the store follows from the journal, and a copy of the journal that was kept elsewhere
/// brings back what the CA remembers. Its keys, its certificates and ca.toml must be in the home.
/// Nothing is restored that would forget a record or a revocation list that the home knows; what was
/// there before is set aside, not deleted. A damaged store is built anew from the home's own journal by
/// whichever command opens it next, so this is for a journal that comes from elsewhere.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The journal, which takes the place of the home's [default: HOME/journal.jsonl]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,

    /// Also if nothing is wrong with the store
    #[arg(long)]
    replace: bool,
}

/// What `restore --json` prints.
#[derive(Serialize)]
struct Restored {
    /// The journal it was built from.
    journal: String,
    /// How many records there are, with the one that says that it was built anew.
    records: u64,
    /// How many certificates there are.
    certificates: u64,
    /// How many of them are revoked.
    revoked: u64,
    /// The hash of the latest record.
    head: String,
    /// What was wrong with the store before; null if nothing was, or there was none.
    damage: Option<String>,
    /// How many octets behind the journal's last record were left out, for they are no record.
    cut: u64,
    /// What was there before, under the names that it has now.
    set_aside: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let home = context.open_home()?;
    let journal = args.journal.clone().unwrap_or_else(|| home.journal_path());
    let ledger = home.restore(&journal, args.replace)?;
    let (mut certificates, mut revoked) = (0, 0);
    ledger.each_certificate(None, None, &mut |record| {
        certificates += 1;
        revoked += u64::from(record.revoked.is_some());
        ControlFlow::Continue(())
    })?;
    let Head { sequence: records, hash: head, .. } = ledger.head()?;
    let rebuilt = ledger.rebuilt();
    let restored = Restored {
        journal: journal.display().to_string(),
        records,
        certificates,
        revoked,
        head,
        damage: rebuilt.and_then(|rebuilt| rebuilt.damage.clone()),
        cut: rebuilt.map_or(0, |rebuilt| rebuilt.cut),
        set_aside: rebuilt
            .iter()
            .flat_map(|rebuilt| &rebuilt.set_aside)
            .map(|path| path.display().to_string())
            .collect(),
    };
    context.show(&restored, |restored, _| restored.in_words())
}

impl Restored {
    fn in_words(&self) -> String {
        let Self { journal, certificates, revoked, head, .. } = self;
        let records = count(self.records, "record");
        let certificates = count(*certificates, "certificate");
        let mut text = format!(
            "Built the store anew from {journal}: {records}, {certificates}, {revoked} of them revoked.\n"
        );
        if let Some(damage) = &self.damage {
            text.push_str(&format!("Before, {damage}.\n"));
        }
        if self.cut > 0 {
            text.push_str(&format!(
                "Left out: the journal's last {} octets, which are no record.\n",
                self.cut
            ));
        }
        for path in &self.set_aside {
            text.push_str(&format!("Set aside: {path}\n"));
        }
        text.push_str(&format!("Latest: {head}\n"));
        text
    }
}
