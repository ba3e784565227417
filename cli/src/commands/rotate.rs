//! `vouchsafe rotate`: CAs that come and go.

use clap::Subcommand;
use vouchsafe_ca::{Actor, Reason, Tier};
use vouchsafe_certs::{KeyType, Serial};

use crate::administration::AdministrationArgs;
use crate::administration::rotate::{
    CAS, Cas, RETIRE, ROTATE, Retire, Retired, Rotate, Rotated, Shown, rotate,
};
use crate::context::Context;
use crate::exit::Failure;
use crate::passphrase::PassphraseFile;
use crate::root_key::{RootKey, RootOutArgs, RootPlace};

/// Put a new issuing CA or root in the place of the one at work, without an outage
///
/// Old and new are accepted side by side; the old one's list is signed for as long as certificates of
/// it live.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// A new issuing CA, signed by the root; it issues five minutes from now, when everybody knows it
    Issuer {
        #[command(flatten)]
        new: New,
        #[command(flatten)]
        root: RootKey,
        #[command(flatten)]
        ca: AdministrationArgs,
    },
    /// A new root beside those that there are; it signs issuing CAs when everybody has it in roots.pem
    Root {
        #[command(flatten)]
        new: New,
        #[command(flatten)]
        out: RootOutArgs,
        #[command(flatten)]
        passphrase: PassphraseFile,
    },
    /// End the time of every CA on which nothing living hangs: a last list, and its key is removed
    Retire {
        #[command(flatten)]
        ca: AdministrationArgs,
    },
    /// Show every CA, which of them signs, and until when the others are needed
    Status {
        #[command(flatten)]
        ca: AdministrationArgs,
    },
}

/// How a new CA comes to be.
#[derive(clap::Args, Debug)]
struct New {
    /// What its key is made of: p256, p384 or ed25519
    #[arg(long, value_name = "TYPE", default_value_t)]
    key_type: KeyType,

    /// Let it sign at once, though not everybody may know it yet: after the old key was lost
    #[arg(long)]
    now: bool,
}

impl New {
    fn ask(&self) -> Rotate {
        Rotate { key_type: self.key_type, now: self.now }
    }
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.what {
        What::Issuer { new, root, ca } => {
            let rotated = match root.read()? {
                Some(key) => {
                    let authority = context.open_authority(ca.at_home("--root-key")?)?;
                    rotate(&authority, &Actor::Home, &new.ask(), Some(key))?
                }
                None => ca.administration(context)?.ask(&ROTATE, new.ask())?,
            };
            context.show(&rotated, Rotated::in_words)
        }
        What::Root { new, out, passphrase } => new_root(&new, out, &passphrase, context),
        What::Retire { ca } => {
            let retired = ca.administration(context)?.ask(&RETIRE, Retire {})?;
            context.show(&retired, Retired::in_words)
        }
        What::Status { ca } => {
            let shown = ca.administration(context)?.ask(&CAS, Cas {})?;
            context.show(&shown, Shown::in_words)
        }
    }
}

fn new_root(
    new: &New,
    out: RootOutArgs,
    passphrase: &PassphraseFile,
    context: &Context,
) -> Result<(), Failure> {
    let (authority, passphrase) = context.open_with_passphrase(passphrase)?;
    let place = out.place(passphrase.as_ref().map(|passphrase| passphrase.as_slice()))?;
    let rotation = new.ask().rotation();
    let place = place.as_ref().map(RootPlace::out);
    let rotated = authority.rotate_root(&Actor::Home, rotation, place)?;
    context.show(&Rotated::of(&rotated, Tier::Root), Rotated::in_words)
}

/// `revoke --issuer`: an issuing CA, with everything that it has issued.
pub(crate) fn revoke_issuer(
    serial: &str,
    reason: Reason,
    root: &RootKey,
    passphrase: &PassphraseFile,
    context: &Context,
) -> Result<(), Failure> {
    let serial: Serial = serial.parse().map_err(|error| {
        Failure::usage(format!("{serial} is not the serial number of an issuing CA: {error}"))
            .hint("vouchsafe rotate status shows what there is")
    })?;
    let authority = context.open_authority(passphrase)?;
    let changed = authority.revoke_issuer(&Actor::Home, &serial, reason, root.read()?)?;
    if context.json {
        let serial = serial.to_string();
        return context.print_json(&serde_json::json!({"serial": serial, "changed": changed}));
    }
    let crl = authority.home().lists_path().display().to_string();
    context.print(&if changed {
        format!(
            "Revoked issuing CA {serial} ({reason}), and with it every certificate it has issued\n  the root's list in {crl} says so\n"
        )
    } else {
        format!("Issuing CA {serial} was revoked already; nothing to do\n")
    })
}
