//! `vouchsafe rotate`: CAs that come and go.

use clap::Subcommand;
use rustls_pki_types::UnixTime;
use serde::Serialize;
use vouchsafe_ca::{Actor, Authority, CaRecord, Ledger, Reason, Rotated, Rotation, Tier};
use vouchsafe_certs::{CaCertificate, KeyType, Serial};

use crate::context::Context;
use crate::exit::Failure;
use crate::output::{Table, date, relative, rfc3339};
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
    },
    /// A new root beside those that there are; it signs issuing CAs when everybody has it in roots.pem
    Root {
        #[command(flatten)]
        new: New,
        #[command(flatten)]
        out: RootOutArgs,
    },
    /// End the time of every CA on which nothing living hangs: a last list, and its key is removed
    Retire {
        #[command(flatten)]
        passphrase: PassphraseFile,
    },
    /// Show every CA, which of them signs, and until when the others are needed
    Status,
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

    #[command(flatten)]
    passphrase: PassphraseFile,
}

/// What `rotate status --json` prints of each CA.
#[derive(Serialize)]
struct View {
    /// The serial number of its certificate.
    serial: String,
    /// `root` or `issuing`.
    tier: String,
    /// `signs`, `comes`, `replaced`, `revoked` or `retired`.
    state: &'static str,
    /// From when on it signs, RFC 3339.
    begins: String,
    /// When its certificate ends, RFC 3339.
    not_after: String,
    /// When the last certificate that it has issued ends, to the hour, RFC 3339; null if there is none.
    last_certificate: Option<String>,
    /// When its list goes stale, RFC 3339; null if there is none.
    list_next_update: Option<String>,
    /// Whether its key is in the home.
    key_here: bool,
}

pub(crate) fn run(args: Args, context: &Context) -> Result<(), Failure> {
    match args.what {
        What::Issuer { new, root } => issuer(&new, &root, context),
        What::Root { new, out } => new_root(&new, out, context),
        What::Retire { passphrase } => retire(&passphrase, context),
        What::Status => status(context),
    }
}

fn issuer(new: &New, root: &RootKey, context: &Context) -> Result<(), Failure> {
    let (authority, passphrase) = context.open_with_passphrase(&new.passphrase)?;
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_slice());
    let key = root.obtain_for(&authority, passphrase)?;
    let Rotated { certificate, begins, .. } =
        authority.rotate_issuer(&Actor::Home, key, &new.rotation(passphrase))?;
    if context.json {
        return context.print_json(&one(&authority, &certificate.serial, context)?);
    }
    context.print(&format!(
        "Made issuing CA {}\n  it issues from {}; the one before is accepted until its last certificate ends\n  list and certificate are in {}\n",
        certificate.serial,
        moment(begins, context)?,
        authority.home().lists_path().display(),
    ))
}

fn new_root(new: &New, out: RootOutArgs, context: &Context) -> Result<(), Failure> {
    let (authority, passphrase) = context.open_with_passphrase(&new.passphrase)?;
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_slice());
    let (rotation, place) = (new.rotation(passphrase), out.place(passphrase)?);
    let Rotated { certificate, begins, .. } =
        authority.rotate_root(&Actor::Home, &rotation, place.as_ref().map(RootPlace::out))?;
    if context.json {
        return context.print_json(&one(&authority, &certificate.serial, context)?);
    }
    context.print(&format!(
        "Made root {}\n  trusted by everybody who gets {} from now on, as every new identity does\n  it signs issuing CAs from {}, when no certificate lives that was issued before\n  then: vouchsafe rotate issuer --root-key FILE\n",
        certificate.serial,
        authority.home().roots_path().display(),
        moment(begins, context)?,
    ))
}

fn retire(passphrase: &PassphraseFile, context: &Context) -> Result<(), Failure> {
    let (authority, passphrase) = context.open_with_passphrase(passphrase)?;
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_slice());
    let retired = authority.retire(&Actor::Home, passphrase)?;
    if context.json {
        return context.print_json(&all(&authority, context)?);
    }
    let mut text = String::new();
    for serial in &retired.ended {
        text.push_str(&format!(
            "Retired CA {serial}: its last list is published, its key is gone\n"
        ));
    }
    for (serial, until) in &retired.still_needed {
        text.push_str(&format!("CA {serial} is needed until {}\n", moment(*until, context)?));
    }
    if text.is_empty() {
        text.push_str("No CA's time is over\n");
    }
    context.print(&text)
}

fn status(context: &Context) -> Result<(), Failure> {
    let (home, ledger) = context.open()?;
    let now = context.now()?;
    let views = views(&home, &ledger, now)?;
    if context.json {
        return context.print_json(&views);
    }
    let mut table = Table::default();
    table.row(["CA", "", "", "ENDS", "LAST CERTIFICATE", "LIST UNTIL", "KEY"]);
    for view in &views {
        table.row([
            &view.serial,
            &view.tier,
            view.state,
            &view.not_after,
            view.last_certificate.as_deref().unwrap_or("-"),
            view.list_next_update.as_deref().unwrap_or("-"),
            if view.key_here { "here" } else { "elsewhere" },
        ]);
    }
    context.print(&table.to_text())
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
    let (authority, passphrase) = context.open_with_passphrase(passphrase)?;
    let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_slice());
    let key = root.obtain_for(&authority, passphrase)?;
    let is_news = authority.revoke_issuer(&Actor::Home, &serial, reason, key)?;
    if context.json {
        return context.print_json(&one(&authority, &serial, context)?);
    }
    let crl = authority.home().lists_path().display().to_string();
    context.print(&if is_news {
        format!(
            "Revoked issuing CA {serial} ({reason}), and with it every certificate it has issued\n  the root's list in {crl} says so\n"
        )
    } else {
        format!("Issuing CA {serial} was revoked already; nothing to do\n")
    })
}

impl New {
    fn rotation<'a>(&self, passphrase: Option<&'a [u8]>) -> Rotation<'a> {
        Rotation { key_type: self.key_type, passphrase, at_once: self.now }
    }
}

fn moment(at: UnixTime, context: &Context) -> Result<String, Failure> {
    Ok(format!("{} ({})", date(at), relative(at, context.now()?)))
}

fn one(authority: &Authority, serial: &Serial, context: &Context) -> Result<Option<View>, Failure> {
    let serial = serial.to_string();
    Ok(all(authority, context)?.into_iter().find(|view| view.serial == serial))
}

fn all(authority: &Authority, context: &Context) -> Result<Vec<View>, Failure> {
    let now = context.now()?;
    let home = authority.home();
    Ok(authority.look_up(|ledger| views(home, ledger, now))?)
}

/// Every CA, the newest first.
fn views(
    home: &vouchsafe_ca::Home,
    ledger: &Ledger,
    now: UnixTime,
) -> Result<Vec<View>, vouchsafe_ca::Error> {
    let mut at_work = Vec::new();
    let mut views = Vec::new();
    for (serial, record) in ledger.cas()? {
        let certificate = CaCertificate::from_der(&record.certificate)?;
        let list = ledger.list(&serial)?.map(|list| list.next_update);
        let list = if record.is_retired() { Some(certificate.not_after) } else { list };
        views.push(View {
            serial: serial.to_string(),
            tier: record.tier.to_string(),
            state: state(&record, &mut at_work, now),
            begins: rfc3339(record.begins),
            not_after: rfc3339(certificate.not_after),
            last_certificate: ledger.last_leaf(&serial)?.map(rfc3339),
            list_next_update: list.map(rfc3339),
            key_here: home.key_path(&serial, &record).exists(),
        });
    }
    Ok(views)
}

/// In a word. The first of a tier that may sign and has begun is the one at work.
fn state(record: &CaRecord, at_work: &mut Vec<Tier>, now: UnixTime) -> &'static str {
    if record.is_retired() {
        return "retired";
    }
    if record.revoked.is_some() {
        return "revoked";
    }
    if record.begins > now {
        return "comes";
    }
    if at_work.contains(&record.tier) {
        return "replaced";
    }
    at_work.push(record.tier);
    "signs"
}
