//! What an invitation looks like on its way to a device: one line without spaces, safe in every shell.
//!
//! `vouchsafe-invitation-1.` and base64url (RFC 4648 §5, without padding) of four lines: the SHA-256
//! of the root certificate, the address of the CA, the invitation's id, its secret. The secret comes
//! last, so that a line that was cut short is seen to be malformed rather than taken for a wrong one.
//!
//! The fingerprint is what makes the first contact safe: who enrols trusts no certificate but one
//! that leads to this root. Whoever can read the line can use it; it is a secret for as long as it lives.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use thiserror::Error;
use vouchsafe_certs::Fingerprint;
use zeroize::Zeroizing;

/// The 1 is the version: another layout gets another number.
const PREFIX: &str = "vouchsafe-invitation-1.";

/// More than the longest host name, the fingerprint, the id and the secret together.
const MAX_LEN: usize = 1024;

/// Everything a device needs to enrol.
pub(crate) struct Invitation {
    /// SHA-256 of the root certificate's DER: all that is trusted at first.
    pub(crate) root: Fingerprint,
    /// Where the CA's public listener is, HOST:PORT.
    pub(crate) address: String,
    /// Names the invitation; no secret.
    pub(crate) id: String,
    /// Proves that it was sent to whoever shows it.
    pub(crate) secret: Zeroizing<String>,
}

/// Why a text is no invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum InvitationError {
    #[error("this is no invitation: one begins with {PREFIX}")]
    Prefix,
    #[error("the invitation is incomplete or was changed on its way")]
    Malformed,
}

impl Invitation {
    /// The one line. It holds the secret.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        let Self { root, address, id, secret } = self;
        let fields = Zeroizing::new(format!("{root}\n{address}\n{id}\n{}", secret.as_str()));
        let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(fields.as_bytes()));
        Zeroizing::new(format!("{PREFIX}{}", encoded.as_str()))
    }

    /// Reads the line; space around it does not count.
    pub(crate) fn parse(text: &str) -> Result<Self, InvitationError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(InvitationError::Prefix)?;
        if encoded.len() > MAX_LEN {
            return Err(InvitationError::Malformed);
        }
        let octets = Base64UrlUnpadded::decode_vec(encoded).map(Zeroizing::new);
        let octets = octets.map_err(|_| InvitationError::Malformed)?;
        let fields = std::str::from_utf8(&octets).map_err(|_| InvitationError::Malformed)?;
        let mut fields = fields.split('\n');
        let mut next = || fields.next().ok_or(InvitationError::Malformed);
        let (root, address, id, secret) = (next()?, next()?, next()?, next()?);
        let id_fits = id.len() == vouchsafe_ca::INVITATION_ID_LEN
            && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let secret_fits = secret.len() == vouchsafe_ca::INVITATION_SECRET_LEN
            && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if fields.next().is_some() || !id_fits || !secret_fits || !is_address(address) {
            return Err(InvitationError::Malformed);
        }
        Ok(Self {
            root: root.parse().map_err(|_| InvitationError::Malformed)?,
            address: address.to_owned(),
            id: id.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
        })
    }
}

/// `HOST:PORT`, where an IPv6 address stands in brackets.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_ipv6 = |host: &str| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let is_name = |host: &str| {
        (1..=253).contains(&host.len())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
    };
    port.parse::<u16>().is_ok_and(|port| port != 0) && (is_ipv6(host) || is_name(host))
}

/// Shows what is no secret.
impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, address, id, secret: _ } = self;
        write!(f, "Invitation({id} at {address}, {root:?}, …)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "Zm9vYmFyYmF6cXV4-_0123";

    fn invitation(address: &str) -> Invitation {
        Invitation {
            root: Fingerprint::of(b"root"),
            address: address.to_owned(),
            id: "00112233445566ff".to_owned(),
            secret: Zeroizing::new(SECRET.to_owned()),
        }
    }

    fn encoded(fields: &str) -> String {
        format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(fields.as_bytes()))
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for address in ["localhost:8445", "ca.acme.example:1", "[::1]:8445", "10.0.0.7:65535"] {
            let sent = invitation(address);
            let text = sent.to_text();
            let read = Invitation::parse(&format!(" {}\n", *text)).unwrap();
            assert_eq!(read.address, address);
            assert_eq!((read.root, &read.id), (sent.root, &sent.id));
            assert_eq!(read.secret, sent.secret);
        }
    }

    #[test]
    fn no_shell_makes_anything_of_it() {
        let text = invitation("[::1]:8445").to_text();
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        assert!(text.bytes().all(harmless), "{}", *text);
    }

    #[test]
    fn a_line_that_was_cut_short_is_malformed_and_not_a_wrong_secret() {
        let text = invitation("localhost:8445").to_text();
        for length in PREFIX.len()..text.len() {
            let read = Invitation::parse(&text[..length]);
            assert_eq!(read.unwrap_err(), InvitationError::Malformed, "{length}");
        }
        assert_eq!(Invitation::parse(&text[1..]).unwrap_err(), InvitationError::Prefix);
        assert_eq!(Invitation::parse("").unwrap_err(), InvitationError::Prefix);
    }

    #[test]
    fn anything_else_is_malformed() {
        let root = Fingerprint::of(b"root");
        let id = "00112233445566ff";
        assert!(Invitation::parse(&encoded(&format!("{root}\na:1\n{id}\n{SECRET}"))).is_ok());
        for fields in [
            format!("{root}\na:1\n{id}\n{SECRET}\n"),
            format!("{root}\na:1\n{id}\n{SECRET}A"),
            format!("{root}\na:1\n{id}\n{}!", &SECRET[1..]),
            format!("{root}\na:1\n../../{}\n{SECRET}", &id[6..]),
            format!("{root}\na b:1\n{id}\n{SECRET}"),
            format!("{root}\na:0\n{id}\n{SECRET}"),
            format!("{root}\na\n{id}\n{SECRET}"),
            format!("{root}\n[::1:1\n{id}\n{SECRET}"),
            format!("{root}\n$(id):1\n{id}\n{SECRET}"),
            format!("beef\na:1\n{id}\n{SECRET}"),
            format!("{root}\n{}:1\n{id}\n{SECRET}", "a".repeat(254)),
            "\u{0}".repeat(500),
        ] {
            let read = Invitation::parse(&encoded(&fields));
            assert_eq!(read.unwrap_err(), InvitationError::Malformed, "{fields:?}");
        }
        let long = format!("{PREFIX}{}", "A".repeat(MAX_LEN + 4));
        assert_eq!(Invitation::parse(&long).unwrap_err(), InvitationError::Malformed);
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", invitation("localhost:8445"));
        assert!(shown.contains("00112233445566ff") && !shown.contains(SECRET), "{shown}");
    }
}
