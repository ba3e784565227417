//! What server and client share: who they are, and whom they trust.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::time::sleep;
use vouchsafe_transport::{
    CaCertificate, DefaultTimeProvider, Identity, Revocations, TimeProvider, Trust, UnixTime,
};

/// How often the revocation lists are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Reads an identity directory, as `vouchsafe issue` and `vouchsafe enroll` make it.
///
/// # Errors
/// If it cannot be read, or its files do not belong together.
pub fn identity(directory: &Path) -> Result<Arc<Identity>> {
    let read = |name: &str| {
        let path = directory.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (certificate, key, roots) =
        (read("certificate.pem")?, read("key.pem")?, read("roots.pem")?);
    Ok(Arc::new(Identity::from_pem(certificate.as_bytes(), &key, roots.as_bytes())?))
}

/// Trust in the identity's roots, minus whatever the lists in a file revoke, now and from now on.
///
/// # Errors
/// If there are no lists to begin with: nobody is trusted on the quiet.
pub fn trust(identity: &Identity, lists: PathBuf) -> Result<Trust> {
    let issuers = identity.list_issuers();
    let pem = fs::read(&lists).with_context(|| format!("cannot read {}", lists.display()))?;
    let (in_force, published) = watch::channel(Arc::new(Revocations::from_pem(&pem, &issuers)?));
    tokio::spawn(follow(lists, pem, issuers, in_force));
    // Roots that change while this runs would be sent into the other end of this.
    let roots = watch::channel(Arc::clone(&identity.roots)).1;
    Ok(Trust::new(roots, published, Arc::new(DefaultTimeProvider)))
}

/// Takes whatever may follow the lists in force, for as long as anybody asks. Lists that are older or
/// somebody else's are not taken; where the file cannot be read, nobody is let in until it can be.
async fn follow(
    file: PathBuf,
    mut seen: Vec<u8>,
    issuers: Vec<CaCertificate>,
    in_force: watch::Sender<Arc<Revocations>>,
) {
    let mut taken = Arc::clone(&in_force.borrow());
    while !in_force.is_closed() {
        sleep(LOOK).await;
        let Ok(pem) = fs::read(&file) else {
            eprintln!("{} cannot be read: every session is closed", file.display());
            in_force.send_replace(Arc::new(Revocations::Unreadable));
            seen.clear();
            continue;
        };
        if pem == seen {
            continue;
        }
        // Without a clock no list is known to be stale, and none is dropped for it.
        let now = DefaultTimeProvider.current_time();
        let now = now.unwrap_or(UnixTime::since_unix_epoch(Duration::ZERO));
        match taken.followed_by(&pem, &issuers, now) {
            Ok(following) => taken = Arc::new(following.revocations),
            Err(error) => eprintln!("the lists in {} are not taken: {error}", file.display()),
        }
        in_force.send_replace(Arc::clone(&taken));
        seen = pem;
    }
}
