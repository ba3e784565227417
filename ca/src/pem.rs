//! PEM texts (RFC 7468). Reading them is `rustls_pki_types::pem`'s.

use base64ct::{Base64, Encoding};

const LINE_LEN: usize = 64;

/// Certificates, one after the other, as every TLS tool reads them.
#[must_use]
pub fn certificates<D: AsRef<[u8]>>(chain: impl IntoIterator<Item = D>) -> String {
    chain.into_iter().map(|der| encode("CERTIFICATE", der.as_ref())).collect()
}

/// Revocation lists, one after the other.
#[must_use]
pub fn revocation_lists<D: AsRef<[u8]>>(lists: impl IntoIterator<Item = D>) -> String {
    lists.into_iter().map(|der| encode("X509 CRL", der.as_ref())).collect()
}

/// Octets of one revocation list of so many octets of DER.
pub(crate) fn revocation_list_len(der_len: usize) -> usize {
    let base64 = der_len.div_ceil(3) * 4;
    revocation_lists([""]).len() + base64 + base64.div_ceil(LINE_LEN)
}

/// A certificate signing request.
#[must_use]
pub fn certificate_request(der: &[u8]) -> String {
    encode("CERTIFICATE REQUEST", der)
}

fn encode(label: &str, der: &[u8]) -> String {
    let base64 = Base64::encode_string(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: every index is a character boundary.
        let (line, more) = rest.split_at(rest.len().min(LINE_LEN));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [1, 47, 48, 49, 500] {
            let (one, two) = (vec![7; length], vec![9; length + 1]);
            let text = certificates([&one, &two]);
            assert!(text.lines().all(|line| line.len() <= LINE_LEN));
            let read: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
                .map(|der| der.unwrap().to_vec())
                .collect();
            assert_eq!(read, [one.clone(), two]);
            let list = revocation_lists([&one]);
            assert_eq!(list.len(), revocation_list_len(length));
            let read = CertificateRevocationListDer::from_pem_slice(list.as_bytes()).unwrap();
            assert_eq!(read.as_ref(), one);
        }
    }
}
