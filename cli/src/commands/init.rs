//! `vouchsafe init`: make a CA.

mod operator;

use std::path::{Path, PathBuf};

use serde::Serialize;
use vouchsafe_ca::{Actor, Authority, Founding, Home, StoreKind, Tier};
use vouchsafe_certs::{Certificate, KeyType, TrustDomain};

use crate::context::Context;
use crate::exit::Failure;
use crate::keyfile::Destination;
use crate::output::{Sheet, date, relative, rfc3339};
use crate::passphrase::{self, PassphraseFile};
use crate::root_key::{RootOutArgs, RootPlace};

/// Make a CA: a root, and an issuing CA that the root signs
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The part of the world it vouches for, such as acme.example
    #[arg(long, value_name = "NAME")]
    trust_domain: TrustDomain,

    /// What the CA's keys are made of: p256, p384 or ed25519
    #[arg(long, value_name = "TYPE", default_value_t)]
    key_type: KeyType,

    /// What keeps what the CA remembers: sled or redb
    #[arg(long, value_name = "STORE", default_value_t)]
    store: StoreKind,

    /// Ask at the terminal for a passphrase to protect the CA's keys with
    #[arg(long, conflicts_with = "passphrase_file")]
    passphrase: bool,

    #[command(flatten)]
    root_out: RootOutArgs,

    /// Where the first operator's identity goes [default: operator in the home]
    #[arg(long, value_name = "DIR")]
    operator_out: Option<PathBuf>,

    #[command(flatten)]
    passphrase_file: PassphraseFile,
}

/// What `init --json` prints.
#[derive(Serialize)]
struct Made {
    /// The part of the world the CA vouches for.
    trust_domain: String,
    /// Where the CA lives.
    home: String,
    /// The root's certificate: what relying parties trust.
    root: String,
    /// When the root's certificate ends, RFC 3339.
    root_not_after: String,
    /// When the issuing CA's certificate ends, RFC 3339.
    issuing_not_after: String,
    /// The published revocation lists.
    crl: String,
    /// Identity directory of the first operator, who may do everything.
    operator: String,
    /// When the operator's certificate ends, RFC 3339.
    operator_not_after: String,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    let passphrase =
        if args.passphrase { Some(passphrase::choose()?) } else { args.passphrase_file.read()? };
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_slice());
    let now = context.now()?;
    let trust_domain = args.trust_domain;
    let place = args.root_out.place(passphrase)?;
    let root_out = place.as_ref().map(RootPlace::out);
    let founding = Founding {
        trust_domain: trust_domain.clone(),
        key_type: args.key_type,
        store: args.store,
        passphrase,
        root_out,
    };
    let directory = args.operator_out.unwrap_or(context.home()?.join("operator"));
    let destination = Destination::whole(directory, false)?;
    let (home, ledger) = Home::create(context.home()?, founding, context.command(), now)?;
    let authority = context.authority(home, ledger, passphrase)?;
    if let Some(place) = &place {
        authority.publish_root(&Actor::Home, place.key()?)?;
    }

    let operator = operator::issue(&authority, &destination, args.key_type, passphrase)?;
    report(&authority, place.as_ref(), &operator, destination.directory(), context)
}

fn report(
    authority: &Authority,
    place: Option<&RootPlace>,
    operator: &Certificate,
    operator_directory: &Path,
    context: &Context,
) -> Result<(), Failure> {
    let now = context.now()?;
    let home = authority.home();
    let (root, issuing) =
        (authority.certificate(Tier::Root)?, authority.certificate(Tier::Issuing)?);
    let root_path = home.roots_path().display().to_string();
    let trust_domain = &home.config().trust_domain;
    let operator_path = operator_directory.display().to_string();
    if context.json {
        return context.print_json(&Made {
            trust_domain: trust_domain.to_string(),
            home: home.path().display().to_string(),
            root: root_path,
            root_not_after: rfc3339(root.not_after),
            issuing_not_after: rfc3339(issuing.not_after),
            crl: home.lists_path().display().to_string(),
            operator: operator_path,
            operator_not_after: rfc3339(operator.not_after),
        });
    }
    let until = |at| format!("until {} ({})", date(at), relative(at, now));
    let mut sheet = Sheet::default();
    sheet.line("root", &until(root.not_after));
    sheet.line("issuing CA", &until(issuing.not_after));
    sheet.line("trusted by", &root_path);
    sheet.line("revocations", &home.lists_path().display().to_string());
    sheet.line("operator", &format!("{operator_path}, {}", until(operator.not_after)));
    let root_list = authority.look_up(|ledger| ledger.list(&root.serial))?;
    let root_list = root_list.map_or_else(String::new, |list| {
        let date = date(list.next_update);
        format!(" It is needed again before {date}, for `vouchsafe crl --root-key FILE`.")
    });
    let offline = match place {
        Some(place) => {
            format!("The root's key is in {}: keep it offline;", place.directory.display())
        }
        None => {
            let key = home.path().join("root.key");
            format!("To keep the root offline, move {} away now:", key.display())
        }
    };
    context.print(&format!(
        "Made a CA for {trust_domain} in {}\n{}\n\
         {offline} issuing and revoking work without it.{root_list}\n\
         Who has the operator's identity may do everything at the CA, and grant everything.\n\
         Next: vouchsafe issue NAME --allow tools:NAME\n",
        home.path().display(),
        sheet.to_text(),
    ))
}
