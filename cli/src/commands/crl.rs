//! `vouchsafe crl`: sign the revocation list anew.

use std::path::PathBuf;

use serde::Serialize;
use vouchsafe_ca::file::{self, Access};
use vouchsafe_ca::{Actor, Authority, ListRecord, Tier};

use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Sheet, count, date, relative, rfc3339};
use crate::passphrase::PassphraseFile;

/// Sign the revocation list anew, and publish it
///
/// HOME/crl.pem holds two lists: the issuing CA's, of certificates, and the root's, of issuing CAs. The
/// root's is signed anew when half its life is over, if root.key is in the home.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Write a copy to this file as well
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Write the copy as DER: the issuing CA's list alone
    #[arg(long, requires = "out")]
    der: bool,

    #[command(flatten)]
    passphrase: PassphraseFile,
}

/// What `crl --json` prints.
#[derive(Serialize)]
struct Published {
    /// RFC 5280 §5.2.3: rises with every list.
    number: u64,
    /// RFC 3339.
    this_update: String,
    /// RFC 3339: after this, the list is stale.
    next_update: String,
    /// How many certificates it names.
    revoked: usize,
    /// SHA-256 of its DER.
    sha256: String,
    /// Where it is published, with the root's.
    file: String,
    /// When the root's list goes stale, RFC 3339; null if it is lost and the root's key is not here.
    root_next_update: Option<String>,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let authority = context.open_authority(&args.passphrase)?;
    let list = authority.publish(&Actor::Home)?;
    let lists = authority.lists()?;
    if let Some(out) = &args.out {
        let octets = if args.der {
            lists.issuing.clone().unwrap_or_default()
        } else {
            lists.to_pem().into_bytes()
        };
        file::replace(out, &octets, Access::Public)?;
    }
    let root = root_list(&authority)?;
    let revoked = revoked_count(&authority)?;
    let now = context.now()?;
    let path = args.out.unwrap_or_else(|| authority.home().lists_path()).display().to_string();
    if context.json {
        context.print_json(&Published {
            number: list.number,
            this_update: rfc3339(list.this_update),
            next_update: rfc3339(list.next_update),
            revoked,
            sha256: list.sha256,
            file: path,
            root_next_update: root.as_ref().map(|root| rfc3339(root.next_update)),
        })?;
    } else {
        let mut sheet = Sheet::default();
        let number = u64::try_from(revoked).unwrap_or(u64::MAX);
        sheet.line("revoked", &count(number, "certificate"));
        let due = |at| format!("{} ({})", date(at), relative(at, now));
        sheet.line("next update", &due(list.next_update));
        if let Some(root) = &root {
            sheet.line("root's list", &format!("next update {}", due(root.next_update)));
        }
        let number = list.number;
        context.print(&format!("Revocation list {number} is in {path}\n{}", sheet.to_text()))?;
    }
    warn_of_root(&authority, root.as_ref(), now);
    Ok(())
}

/// The root's list, as far as it is published.
fn root_list(authority: &Authority) -> Result<Option<ListRecord>, Failure> {
    if authority.lists()?.root.is_none() {
        return Ok(None);
    }
    Ok(authority.look_up(|ledger| ledger.list(Tier::Root))?)
}

fn revoked_count(authority: &Authority) -> Result<usize, Failure> {
    let lists = authority.lists()?;
    let der = lists.of(Tier::Issuing).unwrap_or_default();
    let issuer = authority.home().certificate(Tier::Issuing);
    let list = vouchsafe_certs::RevocationList::from_der(der, issuer)
        .map_err(vouchsafe_ca::Error::from)?;
    Ok(list.serials().len())
}

/// Without a current list of the root, relying parties that check everything refuse everybody.
fn warn_of_root(authority: &Authority, root: Option<&ListRecord>, now: rustls_pki_types::UnixTime) {
    let key = authority.home().key_path(Tier::Root);
    let trouble = match root {
        None => "the root's revocation list is lost",
        Some(list) if now > list.next_update => "the root's revocation list is stale",
        Some(_) => return,
    };
    eprintln!("warning: {trouble}; put {} back and run vouchsafe crl", key.display());
}
