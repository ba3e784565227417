//! `vouchsafe renew`: a certificate for as long again.

mod daemon;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::time_provider::DefaultTimeProvider;
use rustls_pki_types::UnixTime;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;
use vouchsafe_certs::Certificate;
use vouchsafe_transport::{Anchor, FetchLimits, Fetcher, Trust};

use crate::administration::view::CertificateView;
use crate::assemble::{IdentityDirectory, server_name};
use crate::context::Context;
use crate::est::{Est, EstError};
use crate::exit::Failure;
use crate::keyfile::PendingKey;
use crate::notice::harmless;
use crate::output::Sheet;
use crate::passphrase::KeyPassphraseFile;
use crate::runtime;

/// How often a connection that breaks off is tried again at once, and when.
const ATTEMPTS: usize = 2;
const MOMENT: Duration = Duration::from_millis(300);

/// Renew the certificate of an identity, with a new key
///
/// The CA grants what its record of the device grants on that day. Gateways and bridges take the renewed
/// certificate up while their sessions go on. If the answer is lost, the same command gets it again.
/// A certificate that was renewed only lately stays, which is no failure: a tenth of its life must be over.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The identity directory
    directory: PathBuf,

    /// The CA's mutual-TLS port, HOST:PORT
    #[arg(
        long = "ca",
        value_name = "ADDR",
        env = "VOUCHSAFE_CA",
        hide_env_values = true,
        default_value = "localhost:8444"
    )]
    address: String,

    /// Stay, and renew whenever two thirds of the certificate's life are over
    #[arg(long)]
    daemon: bool,

    /// Run this by the shell after every renewal, with VOUCHSAFE_IDENTITY and VOUCHSAFE_SERIAL set
    #[arg(long, value_name = "COMMAND", requires = "daemon")]
    hook: Option<String>,

    #[command(flatten)]
    passphrase: KeyPassphraseFile,
}

/// A CA that asks for no more patience than this is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What `renew --json` prints.
#[derive(Serialize)]
struct RenewedView {
    /// Whether it is a new one; if not, the CA has said that it is too early for that.
    renewed: bool,
    /// The certificate, as `inspect --json` shows it.
    #[serde(flatten)]
    certificate: CertificateView,
    /// The directory it was written to.
    identity: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let renewal = Renewal {
        directory: IdentityDirectory::open(&args.directory, &args.passphrase)?,
        address: args.address.clone(),
    };
    if args.daemon {
        return runtime::small()?.block_on(daemon::run(&renewal, args.hook.as_deref()));
    }
    let renewed = runtime::small()?.block_on(renewal.renew());
    let now = context.now()?;
    match renewed {
        Ok(certificate) => {
            let headline = format!("Renewed {}", certificate.principal);
            report(&certificate, true, &headline, args, context, now)
        }
        // No failure: what is there is good.
        Err(NotRenewed::Est(EstError::Later { said, .. })) => {
            let certificate = renewal.directory.read()?.certificate;
            let headline = format!("Not renewed yet: {}", harmless(&said));
            report(&certificate, false, &headline, args, context, now)
        }
        Err(error) => Err(error.into()),
    }
}

/// An identity, and the CA that renews it.
struct Renewal {
    directory: IdentityDirectory,
    address: String,
}

/// Why a certificate is not renewed.
enum NotRenewed {
    /// By what the CA says, or that it says nothing.
    Est(EstError),
    /// By what is wrong here.
    Here(Failure),
}

impl From<NotRenewed> for Failure {
    fn from(error: NotRenewed) -> Self {
        match error {
            NotRenewed::Est(error) => error.into(),
            NotRenewed::Here(failure) => failure,
        }
    }
}

impl From<EstError> for NotRenewed {
    fn from(error: EstError) -> Self {
        Self::Est(error)
    }
}

impl From<Failure> for NotRenewed {
    fn from(failure: Failure) -> Self {
        Self::Here(failure)
    }
}

impl Renewal {
    /// Asks for a certificate for a new key, and writes both.
    async fn renew(&self) -> Result<Certificate, NotRenewed> {
        for _ in 0..ATTEMPTS {
            match self.try_renew().await {
                // Whoever is revoked by asking is cut off before the answer; a later handshake says why.
                Err(NotRenewed::Est(error)) if error.is_broken_off() => sleep(MOMENT).await,
                Err(NotRenewed::Est(EstError::Later { after, .. })) if after <= PATIENCE => {
                    sleep(after).await;
                }
                done => return done,
            }
        }
        self.try_renew().await
    }

    async fn try_renew(&self) -> Result<Certificate, NotRenewed> {
        let identity = self.directory.read()?;
        let kind = identity.key.public_key().and_then(|key| key.key_type());
        let kind = kind.map_err(EstError::from)?;
        // Before anything is asked: what is certified must not be lost with this process. If it was
        // certified already, the same request gets the same certificate.
        let pending = PendingKey::within(self.directory.path(), kind, self.directory.sealing())?;
        let roots = watch::channel(Arc::clone(&identity.roots)).1;
        let trust = Trust::unchecked(roots, Arc::new(DefaultTimeProvider));
        let name = server_name(&self.address, None)?;
        let limits = FetchLimits::default();
        let fetcher =
            Fetcher::new(&self.address, name, &Anchor::Trust(trust), Some(&identity), limits);
        let of = Some(&identity.certificate.principal);
        let mut est = Est::open(&fetcher.map_err(EstError::from)?, of).await?;
        let papers = est.reenroll(pending.key()).await?;
        pending.succeed(&papers)?;
        Ok(papers.leaf()?)
    }
}

fn report(
    certificate: &Certificate,
    renewed: bool,
    headline: &str,
    args: &Args,
    context: &Context,
    now: UnixTime,
) -> Result<(), Failure> {
    let view = CertificateView::of_certificate(certificate, now);
    let identity = args.directory.display().to_string();
    if context.json {
        return context.print_json(&RenewedView { renewed, certificate: view, identity });
    }
    let mut sheet = Sheet::default();
    view.describe(&mut sheet);
    sheet.line("valid", &view.validity(now));
    sheet.line("serial", &view.serial.to_string());
    sheet.line("identity", &identity);
    context.print(&format!("{headline}\n{}", sheet.to_text()))
}
