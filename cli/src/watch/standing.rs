//! Whether a gateway can serve: its revocation lists, and its own certificate.

use std::sync::Arc;
use std::time::Duration;

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use vouchsafe_certs::{CaCertificate, RevocationList, Serial};
use vouchsafe_transport::{Identity, Revocations};

use crate::output::relative;

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
    /// In one line.
    pub(super) fn in_words(&self, now: UnixTime) -> String {
        match self {
            Self::ClockUnreadable => "the clock cannot be read".to_owned(),
            Self::NoList => "there is no revocation list".to_owned(),
            Self::ListUnreadable => "the revocation list cannot be read".to_owned(),
            Self::ListStale(ca, since) => {
                let since = relative(*since, now);
                format!("the revocation list of the CA {ca} has gone stale {since}")
            }
            Self::CertificateExpired(at) => {
                format!("the gateway's own certificate has expired {}", relative(*at, now))
            }
            Self::CertificateNotYetValid(at) => {
                format!(
                    "the gateway's own certificate is not valid yet, but {}",
                    relative(*at, now)
                )
            }
            Self::CertificateRevoked => "the gateway's own certificate is revoked".to_owned(),
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
