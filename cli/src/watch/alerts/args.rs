//! Where alerts go, and what is worth one.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use vouchsafe_ca::file;
use zeroize::Zeroizing;

use super::webhook::Webhook;
use super::{Alarm, Outgoing, Thresholds};
use crate::exit::Failure;
use crate::watch::standing::Standing;
use crate::web_roots;

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
    #[arg(long, value_name = "N", default_value_t = 20, requires = "alerts")]
    alert_denials: u64,

    /// Handshakes refused within the window that are worth an alert
    #[arg(long, value_name = "N", default_value_t = 100, requires = "alerts")]
    alert_handshakes: u64,

    /// Seconds in which denials and refusals are counted, and told once; 0 tells each one
    #[arg(long, value_name = "SECONDS", default_value_t = 60, requires = "alerts")]
    alert_window: u64,
}

impl AlertArgs {
    /// Whether there is somebody to be told.
    pub(in crate::watch) fn tells_anybody(&self) -> bool {
        self.alert_url.is_some() || self.alert_url_file.is_some()
    }

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
        let roots = || web_roots::read(self.alert_roots.as_deref(), "--alert-roots");
        let webhook = Webhook::new(url.trim(), roots)?;
        let thresholds = Thresholds {
            denials: self.alert_denials,
            handshakes: self.alert_handshakes,
            window: Duration::from_secs(self.alert_window),
        };
        Ok(Some(Alarm::new(webhook, thresholds, Arc::clone(standing))))
    }
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
