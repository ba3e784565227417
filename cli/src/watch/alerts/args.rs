//! Where alerts go, and what is worth one.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use vouchsafe_ca::file;
use zeroize::Zeroizing;

use super::webhook::Webhook;
use super::{Alarm, Outgoing, Thresholds};
use crate::exit::Failure;
use crate::notice::say;
use crate::watch::standing::Standing;

/// No URL that anybody uses is longer.
const MAX_URL: u64 = 8 * 1024;

/// A URL that may hold a secret.
#[derive(Clone)]
pub(crate) struct SecretUrl(Zeroizing<String>);

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl")
    }
}

/// Read later, where an error does not repeat it.
impl FromStr for SecretUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

/// Where alerts go, and what is worth one.
#[derive(clap::Args, Debug)]
pub(crate) struct AlertArgs {
    /// POST alerts as JSON to this URL, https, or http on this machine: cuts of the revoked, bursts of denials, lists and certificates near their end
    #[arg(long, value_name = "URL", group = "alerts")]
    alert_url: Option<SecretUrl>,

    /// The same, with the URL in a file that only you can read: where it holds a secret, other users must not find it among the arguments
    #[arg(long, value_name = "FILE", group = "alerts")]
    alert_url_file: Option<PathBuf>,

    /// Roots (PEM) that the receiver's certificate must lead to [default: those of the system]
    #[arg(long, value_name = "FILE", requires = "alerts")]
    alert_roots: Option<PathBuf>,

    /// Denials of one principal within the window that are worth an alert
    #[arg(long, value_name = "N", default_value_t = 20)]
    alert_denials: u64,

    /// Handshakes refused within the window that are worth an alert
    #[arg(long, value_name = "N", default_value_t = 100)]
    alert_handshakes: u64,

    /// Seconds in which denials and refusals are counted, and told once; 0 tells each one
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    alert_window: u64,
}

impl AlertArgs {
    /// Prepares to tell, if there is somebody to be told.
    pub(in crate::watch) fn prepare(
        &self,
        standing: &Arc<Standing>,
    ) -> Result<Option<(Arc<Alarm>, Outgoing)>, Failure> {
        let url = match (&self.alert_url, &self.alert_url_file) {
            (Some(SecretUrl(url)), _) => url.clone(),
            (None, Some(path)) => read_url(path)?,
            (None, None) => return Ok(None),
        };
        let webhook = Webhook::new(url.trim(), || self.roots())?;
        let thresholds = Thresholds {
            denials: self.alert_denials,
            handshakes: self.alert_handshakes,
            window: Duration::from_secs(self.alert_window),
        };
        Ok(Some(Alarm::new(webhook, thresholds, Arc::clone(standing))))
    }

    fn roots(&self) -> Result<Vec<CertificateDer<'static>>, Failure> {
        let Some(path) = &self.alert_roots else { return system_roots() };
        let failed = |why: String| Failure::new(format!("cannot use {}: {why}", path.display()));
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let roots = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let roots = roots.map_err(|_| failed("it is not PEM".to_owned()))?;
        if roots.is_empty() {
            return Err(failed("there is no certificate in it".to_owned()));
        }
        Ok(roots)
    }
}

/// A few that cannot be read do no harm where there are others.
fn system_roots() -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(Failure::new(
            "this system has no roots by which to know the receiver of alerts",
        )
        .hint("install its package of CA certificates, or say --alert-roots FILE"));
    }
    for error in found.errors {
        say(&format!("note: some roots of the system are left out: {error}"));
    }
    Ok(found.certs)
}

fn read_url(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let shown = path.display();
    let failed = |error| Failure::new(format!("cannot read {shown}: {error}"));
    if path.is_file()
        && let Some(mode) = file::exposed(path)?
    {
        return Err(Failure::new(format!("{shown} has mode {mode:o}: others can read the URL"))
            .hint(format!("chmod 600 {shown}")));
    }
    let mut url = Zeroizing::new(String::new());
    File::open(path)
        .and_then(|file| file.take(MAX_URL).read_to_string(&mut url))
        .map_err(failed)?;
    Ok(url)
}
