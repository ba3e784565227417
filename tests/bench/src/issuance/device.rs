//! Those who enrol at `vouchsafe ca` by EST (RFC 7030 §4.2): devices with an invitation, and with a new key
//! for every certificate, for the same key would get the same certificate again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::applicant::{Applicant, Manners};
use super::{http, operator};
use crate::client::{Client, stranger};
use crate::server::Ca;
use crate::world::World;

const MANNERS: Manners =
    Manners { is_whole: http::is_whole, certificate: b"smime-type=certs-only" };

/// The service lets one address ask 400 times at once and 100 times a second, and one invitation serve
/// 1,000 keys. Whoever goes on is another device, at another address and with another invitation.
const LASTS: u32 = 350;

/// Which crowd's operator invites: one with sessions to spare.
const INVITER: u32 = 1;

/// Loopback addresses nobody has used yet.
static ADDRESSES: AtomicU32 = AtomicU32::new(Ipv4Addr::new(127, 1, 0, 1).to_bits());

/// An operator who invites.
struct Inviter {
    session: Client,
    invitations: u32,
}

pub(crate) fn crowd(world: &World, ca: &Ca, clients: u32) -> Result<Vec<Applicant>> {
    let session = operator::session(world, ca.operators, INVITER)?;
    let inviter = Arc::new(Mutex::new(Inviter { session, invitations: 0 }));
    let config = stranger(&world.path(&operator::name(INVITER)).join("roots.pem"))?;
    let address = ca.everybody;
    let one = |nth| {
        let name = format!("team/device-{clients}-{nth}");
        let credential = Arc::new(Mutex::new(String::new()));
        let (inviter, config, shown) = (inviter.clone(), config.clone(), credential.clone());
        let connect = move || {
            let mut inviter = inviter.lock().unwrap_or_else(PoisonError::into_inner);
            let invited = inviter.invite(&name, address)?;
            *shown.lock().unwrap_or_else(PoisonError::into_inner) = invited;
            let source = Ipv4Addr::from_bits(ADDRESSES.fetch_add(1, Ordering::Relaxed));
            Client::connect_from(source, address, &config)
        };
        let next = move || {
            let credential = credential.lock().unwrap_or_else(PoisonError::into_inner);
            request(&credential)
        };
        Applicant::connecting(connect, LASTS, MANNERS, next)
    };
    Ok((0..clients).map(one).collect())
}

impl Inviter {
    /// Invites a device; answers with what it shows, as HTTP has it (RFC 7617).
    fn invite(&mut self, name: &str, address: SocketAddr) -> Result<String> {
        self.invitations += 1;
        let arguments = json!({
            "name": name, "allow": operator::GRANTED, "uses": 1000, "expires": "24h",
            "address": address.to_string(),
        });
        let params = json!({ "name": "invite", "arguments": arguments });
        let id = self.invitations;
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        self.session.call(format!("{call}\n").as_bytes(), b"vouchsafe-invitation-1.")?;
        let answer: Value = serde_json::from_slice(self.session.answer())?;
        let line = answer.pointer("/result/structuredContent/invitation").and_then(Value::as_str);
        let (_, encoded) = line.and_then(|line| line.split_once('.')).context("no invitation")?;
        let fields = String::from_utf8(Base64UrlUnpadded::decode_vec(encoded).unwrap_or_default())?;
        let mut fields = fields.lines().skip(2);
        let (id, secret) = fields.next().zip(fields.next()).context("a strange invitation")?;
        Ok(Base64::encode_string(format!("{id}:{secret}").as_bytes()))
    }
}

/// `simpleenroll` with a key of its own.
fn request(credential: &str) -> Result<Vec<u8>> {
    let request = CertificateParams::default().serialize_request(&KeyPair::generate()?)?;
    let fields = format!("Authorization: Basic {credential}\r\n");
    let body = Base64::encode_string(request.der());
    Ok(http::post("/.well-known/est/simpleenroll", "application/pkcs10", &fields, &body))
}
