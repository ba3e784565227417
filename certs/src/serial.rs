//! Which certificate: the pair (issuer, serial) is unique (RFC 5280 §4.1.2.2, §5.3).

use std::fmt::{self, Write as _};
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};

use crate::SerialError;

/// Octets of a serial number that this project draws.
const DRAWN_LEN: usize = 16;

/// RFC 5280 §4.1.2.2: conforming CAs MUST NOT use serial numbers longer than 20 octets.
const MAX_LEN: usize = 20;

/// A positive certificate serial number, kept as 20 octets, so that order is numerical order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; MAX_LEN]);

impl Serial {
    /// Draws 16 random octets: 126 bits nobody can guess, positive, and never shorter in DER.
    ///
    /// # Errors
    /// [`SerialError::Random`] if the random source fails.
    pub fn random() -> Result<Self, SerialError> {
        let mut drawn = [0; DRAWN_LEN];
        aws_lc_rs::rand::fill(&mut drawn).map_err(|_| SerialError::Random)?;
        if let Some(first) = drawn.first_mut() {
            // Positive (top bit clear), and no leading zero octet that DER would drop.
            *first = (*first & 0x7f) | 0x40;
        }
        Self::from_der_content(&drawn)
    }

    /// Reads the content octets of a DER INTEGER.
    ///
    /// # Errors
    /// [`SerialError::NotPositive`] for zero, negative or absent; [`SerialError::TooLong`] beyond 20 octets.
    pub fn from_der_content(content: &[u8]) -> Result<Self, SerialError> {
        if content.first().is_none_or(|first| first & 0x80 != 0) {
            return Err(SerialError::NotPositive);
        }
        Self::from_magnitude(content)
    }

    /// Reads a big-endian number; leading zeros do not count.
    fn from_magnitude(octets: &[u8]) -> Result<Self, SerialError> {
        let significant = octets
            .iter()
            .position(|octet| *octet != 0)
            .and_then(|start| octets.get(start..))
            .ok_or(SerialError::NotPositive)?;
        let mut serial = [0; MAX_LEN];
        let padding = MAX_LEN.checked_sub(significant.len()).ok_or(SerialError::TooLong)?;
        if let Some(tail) = serial.get_mut(padding..) {
            tail.copy_from_slice(significant);
        }
        Ok(Self(serial))
    }

    /// The number, big-endian, without leading zeros.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let start = self.0.iter().position(|octet| *octet != 0);
        start.and_then(|at| self.0.get(at..)).unwrap_or_default()
    }
}

/// Lower-case hexadecimal, two digits an octet.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, self.as_bytes())
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

/// Reads hexadecimal as [`Display`](fmt::Display) and `openssl x509 -serial` write it; colons may stand between octets.
impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        if !digits.len().is_multiple_of(2) || digits.len() > 2 * (MAX_LEN + 1) {
            return Err(SerialError::NotHexadecimal);
        }
        let octets = digits
            .chunks_exact(2)
            .map(|pair| {
                let pair = std::str::from_utf8(pair).ok()?;
                u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))
            })
            .collect::<Option<Vec<u8>>>()
            .ok_or(SerialError::NotHexadecimal)?;
        Self::from_magnitude(&octets)
    }
}

/// Who issued: SHA-256 over the issuer's distinguished name (DER) and its key identifier.
///
/// A CRL and the certificates it speaks of carry the same name and the same authority key
/// identifier (RFC 5280 §5.2.1), so they share one `IssuerId`; two CAs that differ only in their key do not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerId([u8; 32]);

impl IssuerId {
    pub(crate) fn new(name_der: &[u8], key_identifier: &[u8]) -> Self {
        let mut input = Vec::with_capacity(name_der.len() + key_identifier.len());
        input.extend_from_slice(name_der);
        input.extend_from_slice(key_identifier);
        let mut id = [0; 32];
        id.copy_from_slice(digest(&SHA256, &input).as_ref());
        Self(id)
    }
}

impl fmt::Debug for IssuerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuerId(")?;
        write_hex(f, self.0.get(..8).unwrap_or_default())?;
        f.write_str("…)")
    }
}

/// Writes octets as lower-case hexadecimal.
pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    let nibbles = octets.iter().flat_map(|octet| [octet >> 4, octet & 0xf]);
    nibbles
        .flat_map(|nibble| char::from_digit(nibble.into(), 16))
        .try_for_each(|digit| f.write_char(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "cryptography is C")]
    fn a_drawn_serial_is_sixteen_octets_and_positive() {
        for _ in 0..200 {
            let serial = Serial::random().unwrap();
            assert_eq!(serial.as_bytes().len(), DRAWN_LEN);
            assert!(serial.as_bytes()[0] < 0x80);
            assert_eq!(serial.to_string().parse(), Ok(serial));
        }
    }

    #[test]
    fn zero_negative_and_long_serials_are_refused() {
        assert_eq!(Serial::from_der_content(&[]), Err(SerialError::NotPositive));
        assert_eq!(Serial::from_der_content(&[0]), Err(SerialError::NotPositive));
        assert_eq!(Serial::from_der_content(&[0x80]), Err(SerialError::NotPositive));
        assert_eq!(Serial::from_der_content(&[1; 21]), Err(SerialError::TooLong));
        assert!(Serial::from_der_content(&[1; 20]).is_ok());
    }

    #[test]
    fn order_is_numerical() {
        let small = Serial::from_der_content(&[0x00, 0xff]).unwrap();
        let large = Serial::from_der_content(&[0x01, 0x00]).unwrap();
        assert!(small < large);
    }

    #[test]
    fn text_may_hold_colons_and_capitals_but_nothing_else() {
        assert_eq!("01:AB".parse::<Serial>().unwrap().to_string(), "01ab");
        for wrong in ["", "1", "0g", "+1", "0x01", "00"] {
            assert!(wrong.parse::<Serial>().is_err(), "{wrong:?}");
        }
    }
}
