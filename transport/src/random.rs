//! Octets that nobody guesses.

use rustls::crypto::aws_lc_rs;

/// Octets of a name that is a secret as well: 128 bits.
const SECRET_LEN: usize = 16;

/// A new name that nobody guesses, in hexadecimal digits; `None` if the system gives no random octets.
pub(crate) fn secret_name() -> Option<String> {
    let mut octets = [0; SECRET_LEN];
    aws_lc_rs::default_provider().secure_random.fill(&mut octets).ok()?;
    Some(hex(&octets))
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_new_each_time_and_texts_are_compared_whole() {
        let (one, other) = (secret_name().unwrap(), secret_name().unwrap());
        assert!(one.len() == 32 && one.bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert!(is_same(&one, &one) && !is_same(&one, &other));
        for (one, other) in [("a", "b"), ("a", "ab"), ("", "a")] {
            assert!(!is_same(one, other) && !is_same(other, one));
        }
    }
}
