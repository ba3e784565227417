//! Following an identity directory: a renewed certificate, a new key and other roots are taken as
//! soon as the files fit together, and sessions that are still trusted go on.
//!
//! The three files are replaced one after the other, so for a moment they do not belong together.
//! What cannot be used, or belongs to somebody else, is never taken: what is in force stays.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use tokio::sync::watch;
use vouchsafe_certs::{CaCertificate, Serial};
use vouchsafe_transport::Identity;

use crate::assemble::IdentityDirectory;
use crate::exit::Failure;
use crate::keyfile::{CERTIFICATE, KEY, ROOTS};
use crate::output::relative;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long the files may not fit together, while they are being replaced.
const PATIENCE: Duration = Duration::from_secs(3);

/// In the last tenth of a certificate's life its renewal is overdue.
const LAST_PART: u64 = 10;

/// An identity and its roots, as they are now.
#[derive(Clone, Debug)]
pub(crate) struct Present {
    /// What one side shows.
    pub(crate) identity: watch::Receiver<Arc<Identity>>,
    /// What the other side must lead to.
    pub(crate) roots: watch::Receiver<Arc<[CaCertificate]>>,
}

impl Present {
    /// An identity that stays as it is.
    pub(crate) fn fixed(identity: Identity) -> Self {
        let roots = watch::channel(Arc::clone(&identity.roots)).1;
        Self { identity: watch::channel(Arc::new(identity)).1, roots }
    }

    /// The identity in force.
    pub(crate) fn now(&self) -> Arc<Identity> {
        Arc::clone(&self.identity.borrow())
    }
}

/// Reads an identity directory for the first time, and follows it from a thread of its own. `notice`
/// hears, in a sentence, of every identity that is taken or not.
///
/// # Errors
/// That of [`IdentityDirectory::read`] if there is nothing to begin with.
pub(crate) fn follow(
    directory: IdentityDirectory,
    notice: impl Fn(&str) + Send + 'static,
) -> Result<Present, Failure> {
    // Looked at before it is read, so that no change falls between.
    let seen = Look::at(directory.path());
    let first = directory.read()?;
    let (roots, present_roots) = watch::channel(Arc::clone(&first.roots));
    let (identity, present_identity) = watch::channel(Arc::new(first));
    let follower = Follower { directory, notice, identity, roots, seen, unfit: None, ending: None };
    std::thread::spawn(move || follower.run());
    Ok(Present { identity: present_identity, roots: present_roots })
}

/// How the files of an identity directory look, without reading them.
#[derive(PartialEq, Eq)]
struct Look([Option<(u64, u64, i64, i64)>; 3]);

impl Look {
    fn at(directory: &Path) -> Self {
        Self([CERTIFICATE, KEY, ROOTS].map(|name| {
            let file = std::fs::metadata(directory.join(name)).ok()?;
            Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
        }))
    }
}

struct Follower<N> {
    directory: IdentityDirectory,
    notice: N,
    identity: watch::Sender<Arc<Identity>>,
    roots: watch::Sender<Arc<[CaCertificate]>>,
    seen: Look,
    /// Since when the files do not fit together.
    unfit: Option<Instant>,
    /// The certificate whose end has been announced.
    ending: Option<Serial>,
}

impl<N: Fn(&str)> Follower<N> {
    fn run(mut self) {
        while !self.identity.is_closed() {
            std::thread::sleep(LOOK);
            self.warn_of_the_end();
            let look = Look::at(self.directory.path());
            if look == self.seen {
                continue;
            }
            match self.directory.read().and_then(|offered| self.fitting(offered)) {
                Ok(offered) => self.publish(offered),
                Err(_) if self.unfit.get_or_insert_with(Instant::now).elapsed() < PATIENCE => {
                    continue;
                }
                Err(failure) => {
                    (self.notice)(&format!("WARNING: {}; the identity in force stays", failure))
                }
            }
            (self.seen, self.unfit) = (look, None);
        }
    }

    /// Says once that the certificate in force should have been renewed by now.
    fn warn_of_the_end(&mut self) {
        let identity = Arc::clone(&self.identity.borrow());
        let certificate = &identity.certificate;
        let Some(now) = DefaultTimeProvider.current_time() else { return };
        let (begin, end) = (certificate.not_before.as_secs(), certificate.not_after.as_secs());
        let is_near = end.saturating_sub(now.as_secs()) <= (end - begin) / LAST_PART;
        if is_near && self.ending.replace(certificate.serial) != Some(certificate.serial) {
            let directory = self.directory.path().display();
            let ends = relative(certificate.not_after, now);
            (self.notice)(&format!(
                "WARNING: the certificate in {directory} has not been renewed and ends {ends}"
            ));
        }
    }

    /// Whoever replaces the files may renew this identity, and not put another in its place.
    fn fitting(&self, offered: Identity) -> Result<Identity, Failure> {
        let (old, new) = (Arc::clone(&self.identity.borrow()), &offered.certificate);
        let refused = |why: String| {
            Err(Failure::new(format!("the identity in {}: {why}", self.directory.path().display())))
        };
        if new.principal != old.certificate.principal {
            return refused(format!("it is {} now; restart to act as that", new.principal));
        }
        if new.usage != old.certificate.usage {
            return refused(format!("its certificate is for the use of a {} now", new.usage));
        }
        if DefaultTimeProvider.current_time().is_none_or(|now| now > new.not_after) {
            return refused("its certificate has expired".into());
        }
        Ok(offered)
    }

    fn publish(&self, offered: Identity) {
        let der = |root: &CaCertificate| root.der.clone();
        let old = Arc::clone(&self.identity.borrow());
        let is_rooted_alike = old.roots.iter().map(der).eq(offered.roots.iter().map(der));
        let (serial, roots) = (offered.certificate.serial, Arc::clone(&offered.roots));
        let ends = DefaultTimeProvider
            .current_time()
            .map(|now| relative(offered.certificate.not_after, now))
            .unwrap_or_default();
        if !is_rooted_alike {
            self.roots.send_replace(Arc::clone(&roots));
            (self.notice)(&format!("trust in {} roots in force", roots.len()));
        }
        let is_renewed = serial != old.certificate.serial;
        self.identity.send_replace(Arc::new(offered));
        if is_renewed {
            (self.notice)(&format!("certificate {serial} in force, ends {ends}"));
        }
    }
}
