//! `vouchsafe enroll`: an invitation becomes an identity.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;
use vouchsafe_certs::{Certificate, KeyType, PrivateKey};
use zeroize::Zeroizing;

use crate::administration::view::CertificateView;
use crate::assemble::server_name;
use crate::context::Context;
use crate::est::Est;
use crate::exit::Failure;
use crate::invitation::Invitation;
use crate::keyfile::{CERTIFICATE, Destination, KEY, Papers, PendingKey, ROOTS};
use crate::output::Sheet;
use crate::{passphrase, runtime};

/// No invitation is longer.
const MAX_LEN: u64 = 4096;

/// How often it is asked, where the connection breaks off, and after which pause.
const ATTEMPTS: usize = 3;
const MOMENT: Duration = Duration::from_millis(300);

/// Turn an invitation into an identity
///
/// The key is made here and never leaves; nothing is trusted but the root whose fingerprint stands in
/// the invitation. If the answer is lost, the same command gets it again.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The line that `vouchsafe invite` printed; - reads it from standard input, where other processes do not see it
    #[arg(env = "VOUCHSAFE_INVITATION", hide_env_values = true)]
    invitation: String,

    /// Where the identity goes
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Replace the identity that is there
    #[arg(long)]
    force: bool,

    /// What the new key is made of: p256, p384 or ed25519
    #[arg(long, value_name = "TYPE", default_value_t)]
    key_type: KeyType,

    /// Protect key.pem with the passphrase in this file (or /dev/fd/N)
    #[arg(long, value_name = "FILE")]
    key_passphrase_file: Option<PathBuf>,
}

/// What `enroll --json` prints.
#[derive(Serialize)]
struct Enrolled {
    /// The certificate, as `inspect --json` shows it.
    #[serde(flatten)]
    certificate: CertificateView,
    /// The directory it was written to.
    identity: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<(), Failure> {
    let text = invitation_text(&args.invitation)?;
    let invitation = Invitation::parse(&text).map_err(Failure::usage)?;
    let destination = Destination::whole(args.out.clone(), args.force)?;
    let sealing = args.key_passphrase_file.as_deref().map(passphrase::read).transpose()?;
    let sealing = sealing.as_ref().map(|passphrase| passphrase.as_slice());
    // Before anything is asked: a key that is certified must not be lost with this process.
    let pending = PendingKey::beside(&args.out, args.key_type, sealing)?;
    let papers = runtime::small()?.block_on(certified(&invitation, pending.key()))?;
    destination.write_sealed(&papers, pending.key(), sealing)?;
    pending.discard()?;
    report(&papers.leaf()?, args, context)
}

/// The same question has the same answer, so one that breaks off is asked for again, also if it was
/// the handshake that broke off.
async fn certified(invitation: &Invitation, key: &PrivateKey) -> Result<Papers, Failure> {
    let name = server_name(&invitation.address, None)?;
    let ask = async || Est::invited(invitation, &name).await?.enroll(invitation, key).await;
    for _ in 1..ATTEMPTS {
        match ask().await {
            Err(error) if error.is_broken_off() => sleep(MOMENT).await,
            done => return Ok(done?),
        }
    }
    Ok(ask().await?)
}

fn invitation_text(given: &str) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(given.to_owned());
    if given == "-" {
        text.clear();
        let read = std::io::stdin().take(MAX_LEN).read_to_string(&mut text);
        read.map_err(|error| Failure::new(format!("cannot read the invitation: {error}")))?;
    }
    Ok(text)
}

fn report(certificate: &Certificate, args: &Args, context: &Context) -> Result<(), Failure> {
    let now = context.now()?;
    let view = CertificateView::of_certificate(certificate, now);
    let identity = args.out.display().to_string();
    if context.json {
        return context.print_json(&Enrolled { certificate: view, identity });
    }
    let mut sheet = Sheet::default();
    view.describe(&mut sheet);
    sheet.line("valid", &view.validity(now));
    sheet.line("serial", &view.serial.to_string());
    sheet.line("identity", &format!("{identity} ({CERTIFICATE}, {KEY}, {ROOTS})"));
    context.print(&format!("Enrolled as {}\n{}", certificate.principal, sheet.to_text()))
}
