//! Very many certificates, each issued as always; only nobody waits for each.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider as _};
use vouchsafe_ca::{Actor, Authority, Home, Kind, Ledger, Order};
use vouchsafe_certs::{KeyType, Permission, PrivateKey, PublicKey, TrustDomain};

use super::{OPERATOR, command, device};
use crate::processes::unpin;
use crate::world::World;

/// Certificates of one thread that wait for the disk.
const UNDER_WAY: usize = 512;

const TRUST_DOMAIN: &str = "large.example";

/// Makes a home with so many certificates, and an operator of it; says how long that took.
pub(super) fn fill(world: &World, home: &Path, count: u32) -> Result<Duration> {
    let begun = Instant::now();
    run(world, home, &["init", "--trust-domain", TRUST_DOMAIN])?;
    let permissions = ["--allow", "tools:*", "--allow", "ca:*"];
    run(world, home, &[&["issue", OPERATOR, "--out", OPERATOR][..], &permissions[..]].concat())?;
    unpin()?;
    let authority = open(home)?;
    let key = PrivateKey::generate(KeyType::P256)?.public_key()?;
    let threads = u32::try_from(thread::available_parallelism()?.get())?;
    thread::scope(|scope| {
        let part = |nth: u32| (nth..count).step_by(usize::try_from(threads).unwrap_or(1));
        let one = |nth| {
            scope.spawn({
                let (authority, key) = (&authority, &key);
                move || issue(authority, key, part(nth))
            })
        };
        let threads: Vec<_> = (0..threads).map(one).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("a thread has panicked")))
        })
    })?;
    Ok(begun.elapsed())
}

fn run(world: &World, home: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = command(world, home);
    command.args(arguments).current_dir(world.folder.path());
    let output = command.output().context("vouchsafe does not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "vouchsafe {} failed: {said}", arguments.join(" "));
    Ok(())
}

fn open(path: &Path) -> Result<Authority> {
    let clock = Arc::new(DefaultTimeProvider);
    let now = clock.current_time().context("the clock cannot be read")?;
    let home = Home::open(path, "bench", now)?;
    let ledger = Ledger::open(home.open_store()?, &home.journal_path())?;
    Ok(Authority::open(home, ledger, None, clock)?)
}

fn issue(authority: &Authority, key: &PublicKey, devices: impl Iterator<Item = u32>) -> Result<()> {
    let mut under_way = VecDeque::with_capacity(UNDER_WAY);
    for nth in devices {
        if under_way.len() == UNDER_WAY
            && let Some(oldest) = under_way.pop_front()
        {
            vouchsafe_ca::Pending::wait(oldest)?;
        }
        under_way.push_back(authority.begin_issue(&Actor::Home, order(nth, key)?)?);
    }
    for pending in under_way {
        pending.wait()?;
    }
    Ok(())
}

fn order(nth: u32, key: &PublicKey) -> Result<Order> {
    let allowed = ["tools:search", "tools:read_*", "resources:file:///srv/*"];
    Ok(Order {
        principal: TrustDomain::parse(TRUST_DOMAIN)?.principal(&device(nth))?,
        kind: Kind::Agent,
        permissions: allowed.into_iter().map(Permission::parse).collect::<Result<_, _>>()?,
        lifetime: None,
        public_key: key.clone(),
    })
}
