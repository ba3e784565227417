//! What the disk takes to make something durable: the least that a durable answer can take.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Appends a small record to a file and syncs it, again and again; says how long each took.
pub(crate) fn syncs(folder: &Path, rounds: u32) -> Result<Vec<Duration>> {
    let mut file = tempfile::tempfile_in(folder)?;
    (0..rounds).map(|_| sync(&mut file)).collect()
}

fn sync(file: &mut File) -> Result<Duration> {
    let started = Instant::now();
    file.write_all(&[0; 2_048])?;
    file.sync_data()?;
    Ok(started.elapsed())
}
