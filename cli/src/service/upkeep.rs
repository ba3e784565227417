//! What the CA does unasked: its own certificate and its lists are made anew in time.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls_pki_types::UnixTime;
use tokio::sync::watch;
use vouchsafe_ca::{Actor, Authority, Kind, Order, SERVICE_NAME, Tier};
use vouchsafe_certs::{CaCertificate, KeyType, PermissionSet, PrivateKey};
use vouchsafe_transport::Identity;

use crate::exit::Failure;
use crate::identity::Present;
use crate::keyfile::Papers;
use crate::notice::say;
use crate::output::relative;

/// How often is looked at what is due.
const LOOK: Duration = Duration::from_secs(10);

/// How often the operator is told that a root is needed.
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);

/// How long before its list goes stale that begins.
const NOTICE: u64 = 60 * 24 * 60 * 60;

/// The service's own certificate. Its key is in memory alone: another start, another key.
pub(super) struct OwnCertificate {
    authority: Arc<Authority>,
    kind: Kind,
    identity: watch::Sender<Arc<Identity>>,
    roots: watch::Sender<Arc<[CaCertificate]>>,
}

impl OwnCertificate {
    /// Issues the first one, for the loopback names and those given.
    pub(super) fn issue(
        authority: Arc<Authority>,
        mut dns: Vec<String>,
        mut ip: Vec<IpAddr>,
    ) -> Result<(Self, Present), Failure> {
        dns.push("localhost".to_owned());
        ip.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        let kind = Kind::Server { dns_names: dns, ip_addresses: ip };
        let first = make(&authority, &kind)?;
        let (roots, present_roots) = watch::channel(Arc::clone(&first.roots));
        let (identity, present_identity) = watch::channel(Arc::new(first));
        let present = Present { identity: present_identity, roots: present_roots };
        Ok((Self { authority, kind, identity, roots }, present))
    }

    /// At two thirds of its life, which leaves a third to mend what fails; when a root has come or gone;
    /// and when it was revoked, as everything is by `revoke --issued-before now`.
    fn is_due(&self, now: UnixTime) -> bool {
        let identity = self.identity.borrow();
        let shown: HashSet<_> = identity.roots.iter().map(|root| root.der.clone()).collect();
        let roots = self.authority.roots().map(HashSet::from_iter);
        if roots.is_ok_and(|roots| roots != shown) {
            return true;
        }
        let serial = identity.certificate.serial;
        let record = self.authority.look_up(|ledger| ledger.certificate(&serial));
        if record.is_ok_and(|record| record.is_none_or(|record| record.revoked.is_some())) {
            return true;
        }
        let begin = identity.certificate.not_before.as_secs();
        let life = identity.certificate.not_after.as_secs().saturating_sub(begin);
        now.as_secs() >= begin + life / 3 * 2
    }

    fn renew(&self) -> Result<(), Failure> {
        let next = make(&self.authority, &self.kind)?;
        self.roots.send_replace(Arc::clone(&next.roots));
        self.identity.send_replace(Arc::new(next));
        Ok(())
    }
}

fn make(authority: &Authority, kind: &Kind) -> Result<Identity, Failure> {
    let key = PrivateKey::generate(KeyType::P256).map_err(vouchsafe_ca::Error::from)?;
    let trust_domain = &authority.home().config().trust_domain;
    let order = Order {
        principal: trust_domain.principal(SERVICE_NAME).map_err(Failure::new)?,
        kind: kind.clone(),
        permissions: PermissionSet::default(),
        lifetime: None,
        public_key: key.public_key().map_err(vouchsafe_ca::Error::from)?,
    };
    let issued = authority.issue(&Actor::Itself, order)?;
    let Papers { certificate, roots } = Papers::of(&issued);
    Identity::with_key(certificate.as_bytes(), key, roots.as_bytes()).map_err(Failure::new)
}

/// Keeps certificate and lists from going stale, for as long as the service runs.
pub(super) async fn run(own: OwnCertificate) {
    let own = Arc::new(own);
    let mut lists = own.authority.subscribe();
    let mut look = tokio::time::interval(LOOK);
    let mut remind = tokio::time::interval(REMIND);
    loop {
        let work = tokio::select! {
            _ = look.tick() => OwnCertificate::look,
            // The newest lists may name it, and then nobody follows them to the next ones.
            Ok(()) = lists.changed() => OwnCertificate::look_at_certificate,
            _ = remind.tick() => OwnCertificate::remind,
        };
        let own = Arc::clone(&own);
        // It waits for the disk. A panic has been told by the hook.
        drop(tokio::task::spawn_blocking(move || work(&own)).await);
    }
}

impl OwnCertificate {
    fn look_at_certificate(&self) {
        let Some(now) = DefaultTimeProvider.current_time() else { return };
        if self.is_due(now)
            && let Err(failure) = self.renew()
        {
            say(&format!("WARNING: the CA's own certificate is not renewed: {failure}"));
        }
    }

    fn look(&self) {
        self.look_at_certificate();
        if let Err(error) = self.authority.keep_up() {
            say(&format!("WARNING: the revocation lists are not signed anew: {error}"));
        }
    }

    /// What the CA cannot do by itself.
    fn remind(&self) {
        if let Ok(Some(issuer)) = self.authority.silent_issuer() {
            say(&format!(
                "WARNING: what issuing CA {issuer} has revoked is on no list, for its key is not in the home: put it back and start again, or run vouchsafe revoke --issuer {issuer}"
            ));
        }
        self.remind_of_roots();
    }

    /// A root that is kept elsewhere signs nothing unasked, and without its list everybody is turned away.
    fn remind_of_roots(&self) {
        let Some(now) = DefaultTimeProvider.current_time() else { return };
        for list in self.authority.lists().iter().filter(|list| list.tier == Tier::Root) {
            let root = list.issuer.serial;
            let record = self.authority.look_up(|ledger| ledger.list(&root)).ok().flatten();
            // One that is on record and not out helps nobody.
            let out = record.filter(|record| list.is_out(record));
            let until = out.map_or(now, |record| record.next_update);
            if !list.is_last && until.as_secs() < now.as_secs().saturating_add(NOTICE) {
                say(&format!(
                    "WARNING: the list of root {root} goes stale {}, and then everybody is turned away: bring its key, stop the CA, and run vouchsafe crl --root-key FILE",
                    relative(until, now)
                ));
            }
        }
    }
}
