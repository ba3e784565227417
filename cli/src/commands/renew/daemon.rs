//! `vouchsafe renew --daemon`: renew in time, for as long as it runs.
//!
//! It never gives up silently: what fails is said and tried again, and what cannot succeed any more
//! ends the process with the reason.

use std::process::Stdio;
use std::time::Duration;

use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::UnixTime;
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use vouchsafe_ca::BACKDATING;
use vouchsafe_certs::Certificate;
use vouchsafe_transport::{Backoff, jittered};

use super::{NotRenewed, Renewal};
use crate::est::EstError;
use crate::exit::Failure;
use crate::notice::{harmless, say};
use crate::output::{date, relative};
use crate::systemd;

/// The clock is looked at so often: it may be set, and the machine may sleep.
const LOOK: Duration = Duration::from_secs(30);

/// Between two attempts that fail.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5 * 60));

/// A CA that says to come back later than this is asked again nevertheless.
const LATER: Duration = Duration::from_secs(60 * 60);

/// How long a hook may take.
const HOOK: Duration = Duration::from_secs(60);

pub(super) async fn run(renewal: &Renewal, hook: Option<&str>) -> Result<(), Failure> {
    let mut certificate = renewal.directory.read()?.certificate;
    systemd::notify("READY=1");
    loop {
        wait_until(due(certificate.not_before, certificate.not_after)).await;
        let renewed = insist(renewal, &certificate).await?;
        if let (Some(hook), Some(renewed)) = (hook, &renewed) {
            run_hook(hook, renewal, renewed).await;
        }
        // Somebody else has renewed it, if the CA says that it is too early.
        certificate = match renewed {
            Some(renewed) => renewed,
            None => renewal.directory.read()?.certificate,
        };
    }
}

/// Two thirds of the certificate's life, and a little earlier, so that a fleet that was enrolled
/// together does not come back together.
fn due(not_before: UnixTime, not_after: UnixTime) -> UnixTime {
    let end = Duration::from_secs(not_after.as_secs());
    // Of its life it could be used from the moment when it was issued. Counted from notBefore, a short
    // life would be two thirds over before it began.
    let begin = (Duration::from_secs(not_before.as_secs()) + BACKDATING).min(end);
    let life = end.saturating_sub(begin);
    let earlier = life / 20;
    let due = (begin + life * 2 / 3 + jittered(earlier)).saturating_sub(earlier);
    UnixTime::since_unix_epoch(due)
}

async fn wait_until(due: UnixTime) {
    let now = || DefaultTimeProvider.current_time();
    if let Some(now) = now() {
        let status = format!("next renewal {} ({})", date(due), relative(due, now));
        systemd::notify(&format!("STATUS={status}"));
        say(&status);
    }
    while let Some(now) = now().filter(|now| *now < due) {
        sleep(Duration::from_secs(due.as_secs().saturating_sub(now.as_secs())).min(LOOK)).await;
    }
}

/// Tries until there is a renewed certificate, or can be none; `None` after the time that the CA asks
/// to wait because the one that is there is new.
async fn insist(renewal: &Renewal, current: &Certificate) -> Result<Option<Certificate>, Failure> {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        let error = match renewal.renew().await {
            Ok(certificate) => {
                let ends = date(certificate.not_after);
                say(&format!("renewed: certificate {} until {ends}", certificate.serial));
                return Ok(Some(certificate));
            }
            Err(NotRenewed::Est(EstError::Later { said, after })) => {
                say(&format!("not renewed yet: {}", harmless(&said)));
                sleep(after.min(LATER)).await;
                return Ok(None);
            }
            Err(NotRenewed::Est(error)) if error.is_final() => return Err(error.into()),
            Err(error) => Failure::from(error),
        };
        let now = DefaultTimeProvider.current_time();
        if now.is_some_and(|now| now > current.not_after) {
            return Err(Failure::new(format!("the certificate has expired; last: {error}"))
                .hint("ask for an invitation and enrol again: vouchsafe enroll"));
        }
        let pause = backoff.pause();
        let ends = now.map(|now| relative(current.not_after, now)).unwrap_or_default();
        let said = format!("not renewed: {error}; trying again in {pause:.0?}, expires {ends}");
        systemd::notify(&format!("STATUS={said}"));
        say(&format!("WARNING: {said}"));
        sleep(pause).await;
    }
}

/// What fails in a hook is said, and the renewal stands.
async fn run_hook(hook: &str, renewal: &Renewal, certificate: &Certificate) {
    let started = Command::new("/bin/sh")
        .arg("-c")
        .arg(hook)
        .env("VOUCHSAFE_IDENTITY", renewal.directory.path())
        .env("VOUCHSAFE_SERIAL", certificate.serial.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let trouble = match started {
        Err(error) => error.to_string(),
        Ok(mut child) => match timeout(HOOK, child.wait()).await {
            Ok(Ok(status)) if status.success() => return,
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it was ended after {HOOK:?}"),
        },
    };
    say(&format!("WARNING: the hook failed: {trouble}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_due_when_two_thirds_of_the_ordered_life_are_over_however_short_it_is() {
        let issued = 1_800_000_000;
        for life in [6, 60, 600, 86_400] {
            let at = UnixTime::since_unix_epoch;
            let begin = at(Duration::from_secs(issued) - BACKDATING);
            let due = due(begin, at(Duration::from_secs(issued + life))).as_secs() - issued;
            // Up to a twentieth earlier, in whole seconds.
            assert!((life * 6 / 10..=life * 2 / 3).contains(&due), "{due} of {life}");
        }
    }
}
