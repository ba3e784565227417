//! A `Keeper` of lines: `keeper-server FILE` writes down there what it hears.

use std::fs::OpenOptions;
use std::io::{BufRead, Write};

use vouchsafe_tests::Keeper;

fn main() -> std::io::Result<()> {
    let path = std::env::args_os().nth(1).unwrap_or_default();
    let mut journal = OpenOptions::new().create(true).append(true).open(path)?;
    let mut keeper = Keeper::new(std::process::id().to_string());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        // Before anything is said to it, and in one piece, for others write there too.
        journal.write_all(format!("{line}\n").as_bytes())?;
        let Ok(message) = serde_json::from_str(&line) else { continue };
        for said in keeper.hears(&message) {
            writeln!(std::io::stdout(), "{said}")?;
        }
    }
    Ok(())
}
