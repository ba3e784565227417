//! Whether a gateway can serve: its revocation lists, and its own certificate.

use std::sync::Arc;
use std::time::Duration;

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use vouchsafe_certs::{CaCertificate, RevocationList, Serial};
use vouchsafe_transport::{Identity, Revocations};

use super::alerts::Kind;
use crate::output::{date, relative};

/// In the last tenth of a certificate's life its renewal is overdue.
const CERTIFICATE_PART: u64 = 10;

/// A CA signs a list anew after half its life, so in the last quarter something is wrong.
const LIST_PART: u64 = 4;

/// What it stands and falls with.
pub(super) struct Standing {
    pub(super) lists: watch::Receiver<Arc<Revocations>>,
    pub(super) identity: watch::Receiver<Arc<Identity>>,
    pub(super) clock: Arc<dyn TimeProvider>,
}

/// Why a gateway does not serve, or will not for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    ClockUnreadable,
    NoList,
    ListUnreadable,
    /// The list of the CA with this certificate.
    ListStale(Serial, UnixTime),
    CertificateExpired(UnixTime),
    CertificateNotYetValid(UnixTime),
    CertificateRevoked,
}

impl Trouble {
    /// In one line, as it is now.
    pub(super) fn in_words(&self, now: UnixTime) -> String {
        self.with(|at| relative(at, now))
    }

    /// In one line that does not change with time.
    fn for_good(&self) -> String {
        self.with(|at| format!("at {}", date(at)))
    }

    fn with(&self, when: impl Fn(UnixTime) -> String) -> String {
        match self {
            Self::ClockUnreadable => "the clock cannot be read".to_owned(),
            Self::NoList => "there is no revocation list".to_owned(),
            Self::ListUnreadable => "the revocation list cannot be read".to_owned(),
            Self::ListStale(ca, since) => {
                format!("the revocation list of the CA {ca} has gone stale {}", when(*since))
            }
            Self::CertificateExpired(at) => {
                format!("its own certificate has expired {}", when(*at))
            }
            Self::CertificateNotYetValid(at) => {
                format!("its own certificate is not valid yet, but {}", when(*at))
            }
            Self::CertificateRevoked => "its own certificate is revoked".to_owned(),
        }
    }
}

impl Standing {
    pub(super) fn now(&self) -> Option<UnixTime> {
        self.clock.current_time()
    }

    /// A trouble, in one line.
    pub(super) fn in_words(&self, trouble: &Trouble) -> String {
        // Where there is no telling the time, that is the trouble, and no other is looked for.
        trouble.in_words(self.now().unwrap_or(UnixTime::since_unix_epoch(Duration::ZERO)))
    }

    /// What keeps it from serving.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let Some(now) = self.now() else { return Some(Trouble::ClockUnreadable) };
        let identity = Arc::clone(&self.identity.borrow());
        let lists = Arc::clone(&self.lists.borrow());
        own_certificate(&identity, &lists, now).or_else(|| of_lists(&lists, now))
    }
}

impl Standing {
    /// What somebody should look at, in words that stay the same for as long as it does.
    pub(super) fn concerns(&self) -> Vec<(Kind, String)> {
        let Some(now) = self.now() else { return Vec::new() };
        let identity = Arc::clone(&self.identity.borrow());
        let lists = Arc::clone(&self.lists.borrow());
        let mut concerns = Vec::new();
        let own = &identity.certificate;
        if let Some(trouble) = own_certificate(&identity, &lists, now) {
            concerns.push((Kind::CertificateLost, trouble.for_good()));
        } else if is_near(own.not_before, own.not_after, now, CERTIFICATE_PART) {
            let text = format!("its own certificate ends at {}", date(own.not_after));
            concerns.push((Kind::CertificateEnding, text));
        }
        if let Some(trouble) = of_lists(&lists, now) {
            concerns.push((Kind::ListLost, trouble.for_good()));
        }
        for (ca, list) in in_force(&lists, now) {
            let is_near = is_near(list.this_update, list.next_update, now, LIST_PART);
            // Before a retired CA's certificate ends nobody signs another list.
            if is_near && !list.is_stale(now) && list.next_update < ca.not_after {
                let end = date(list.next_update);
                let text =
                    format!("the revocation list of the CA {} goes stale at {end}", ca.serial);
                concerns.push((Kind::ListEnding, text));
            }
        }
        concerns
    }
}

/// Whether no more than one of so many parts is left.
fn is_near(begin: UnixTime, end: UnixTime, now: UnixTime, parts: u64) -> bool {
    let life = end.as_secs().saturating_sub(begin.as_secs());
    end.as_secs().saturating_sub(now.as_secs()) <= life / parts
}

fn own_certificate(identity: &Identity, lists: &Revocations, now: UnixTime) -> Option<Trouble> {
    let own = &identity.certificate;
    let is_named = |list: &RevocationList| list.issuer == own.issuer && list.revokes(&own.serial);
    if now > own.not_after {
        Some(Trouble::CertificateExpired(own.not_after))
    } else if now < own.not_before {
        Some(Trouble::CertificateNotYetValid(own.not_before))
    } else {
        lists.lists().any(is_named).then_some(Trouble::CertificateRevoked)
    }
}

fn of_lists(lists: &Revocations, now: UnixTime) -> Option<Trouble> {
    if let Revocations::Unreadable = lists {
        return Some(Trouble::ListUnreadable);
    }
    if lists.lists().next().is_none() {
        return Some(Trouble::NoList);
    }
    let stale = in_force(lists, now).find(|(_, list)| list.is_stale(now));
    stale.map(|(ca, list)| Trouble::ListStale(ca.serial, list.next_update))
}

/// The lists that anybody may still depend on. The last list of a CA that has been retired holds until
/// the CA's certificate ends; after that nobody can enter by it.
pub(super) fn in_force(
    lists: &Revocations,
    now: UnixTime,
) -> impl Iterator<Item = (&CaCertificate, &RevocationList)> {
    lists.by_issuer().filter(move |(ca, _)| now <= ca.not_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_near_in_the_last_part_of_a_life() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let is_near = |now| is_near(at(1000), at(2000), at(now), LIST_PART);
        assert!(!is_near(1000) && !is_near(1749));
        assert!(is_near(1750) && is_near(2000) && is_near(9999));
    }
}
