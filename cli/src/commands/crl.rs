//! `vouchsafe crl`: sign the revocation list anew.

use std::path::PathBuf;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use vouchsafe_ca::Actor;
use vouchsafe_ca::file::{self, Access};

use crate::administration::AdministrationArgs;
use crate::administration::crl::{CRL, Crl, Published};
use crate::context::Context;
use crate::exit::Failure;
use crate::output::say;
use crate::root_key::RootKey;

/// Sign the revocation list anew, and publish it
///
/// HOME/crl.pem holds the lists of the issuing CAs, of certificates, and of the roots, of issuing CAs. A
/// root's is signed anew when half its life is over, if its key is in the home, or with --root-key.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Write a copy to this file as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Write the copy as DER: the issuing CA's list alone
    #[arg(long, requires = "out")]
    der: bool,

    #[command(flatten)]
    root: RootKey,

    #[command(flatten)]
    ca: AdministrationArgs,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    if let Some(key) = args.root.read()? {
        let authority = context.open_authority(args.ca.at_home("--root-key")?)?;
        authority.publish_root(&Actor::Home, key)?;
    }
    let administration = args.ca.administration(context)?;
    let mut published = administration.ask(&CRL, Crl { lists: args.out.is_some() })?;
    // What was asked for goes to the file alone.
    if let (Some(out), Some(lists)) = (args.out, published.lists.take()) {
        let octets = if args.der { issuing_list(&lists)? } else { lists.into_bytes() };
        file::replace(&out, &octets, Access::Public)?;
        published.file = out.display().to_string();
    }
    let now = context.now()?;
    context.show(&published, Published::in_words)?;
    if let Some(trouble) = published.trouble(now) {
        say(format_args!(
            "warning: {trouble}; bring its key to where the home is, and run vouchsafe crl --root-key FILE\n"
        ));
    }
    Ok(())
}

/// The issuing CA's list is the first.
fn issuing_list(lists: &str) -> Result<Vec<u8>, Failure> {
    CertificateRevocationListDer::from_pem_slice(lists.as_bytes())
        .map(|der| der.to_vec())
        .map_err(|_| Failure::new("the CA's answer holds no revocation list"))
}
