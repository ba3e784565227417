//! Signatures on certificates, computed once.
//!
//! Every agent of a fleet shows the same issuing CA, and most come back with the same leaf. Whether a
//! signature is right depends on its key, its message and itself, and on nothing else. So a digest of
//! the three is kept where it was right, and the same three are right again. Nothing but that is
//! remembered: the path, its dates, purposes and constraints are judged each time by the stock
//! verifier, and revocation by [`Trust`](crate::Trust). The signature by which a peer proves in the
//! handshake that it holds its key is over another message each time, and does not come by here.

use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{
    AlgorithmIdentifier, FipsStatus, InvalidSignature, SignatureVerificationAlgorithm,
};

/// Places for digests, 33 octets each. Each digest has one of them, and takes it from the one before.
const PLACES: usize = 4096;

type Digest = [u8; SHA256_OUTPUT_LEN];

/// The library's algorithms, of which those for certificates remember. There is one set of them in a process.
pub(super) fn remembering(stock: &WebPkiSupportedAlgorithms) -> WebPkiSupportedAlgorithms {
    // What the TLS library takes lives as long as the process, and so there is one memory for all.
    static MEMORY: LazyLock<Memory> = LazyLock::new(Memory::default);
    static ALL: OnceLock<Vec<&'static dyn SignatureVerificationAlgorithm>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let remember = |stock: &_| -> &'static dyn SignatureVerificationAlgorithm {
            Box::leak(Box::new(Remembering { stock: *stock, memory: &MEMORY }))
        };
        stock.all.iter().map(remember).collect()
    });
    WebPkiSupportedAlgorithms { all, mapping: stock.mapping }
}

/// Digests of what was verified, each at the place that its first octets name.
#[derive(Debug)]
struct Memory(Mutex<Vec<Option<Digest>>>);

impl Default for Memory {
    fn default() -> Self {
        Self(Mutex::new(vec![None; PLACES]))
    }
}

impl Memory {
    fn holds(&self, digest: &Digest) -> bool {
        self.lock().get(place_of(digest)) == Some(&Some(*digest))
    }

    fn keep(&self, digest: Digest) {
        if let Some(place) = self.lock().get_mut(place_of(&digest)) {
            *place = Some(digest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Digest>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place_of(digest: &Digest) -> usize {
    let [first, second, ..] = *digest;
    usize::from(u16::from_be_bytes([first, second])) % PLACES
}

/// A stock algorithm that is asked once for every signature that is right.
#[derive(Debug)]
struct Remembering {
    stock: &'static dyn SignatureVerificationAlgorithm,
    memory: &'static Memory,
}

impl Remembering {
    fn digest(&self, parts: [&[u8]; 3]) -> Digest {
        let (key, signature) = (self.stock.public_key_alg_id(), self.stock.signature_alg_id());
        let mut context = Context::new(&SHA256);
        for part in [key.as_ref(), signature.as_ref()].iter().chain(&parts) {
            // With its length, so that no two ways to cut the same octets are one.
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut digest = Digest::default();
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let digest = self.digest([public_key, message, signature]);
        if !self.memory.holds(&digest) {
            self.stock.verify_signature(public_key, message, signature)?;
            self.memory.keep(digest);
        }
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.stock.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.stock.signature_alg_id()
    }

    fn fips_status(&self) -> FipsStatus {
        self.stock.fips_status()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls::crypto::aws_lc_rs;
    use rustls_pki_types::alg_id::{ECDSA_P256, ECDSA_SHA256};

    use super::*;

    /// Takes a signature that is its message backwards, and counts how often it is asked.
    #[derive(Debug, Default)]
    struct Backwards(AtomicUsize);

    impl SignatureVerificationAlgorithm for Backwards {
        fn verify_signature(
            &self,
            _: &[u8],
            message: &[u8],
            signature: &[u8],
        ) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let is_right = message.iter().rev().eq(signature);
            is_right.then_some(()).ok_or(InvalidSignature)
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            ECDSA_SHA256
        }
    }

    fn leaked<T>(value: T) -> &'static T {
        Box::leak(Box::new(value))
    }

    #[test]
    fn what_was_right_is_not_computed_again_and_all_else_is() {
        let stock = leaked(Backwards::default());
        let asked = || stock.0.load(Ordering::Relaxed);
        let remembering = Remembering { stock, memory: leaked(Memory::default()) };
        let verify = |key: &[u8], message: &[u8], signature: &[u8]| {
            remembering.verify_signature(key, message, signature).is_ok()
        };
        assert!(verify(b"key", b"abc", b"cba"));
        assert_eq!(asked(), 1);
        assert!(verify(b"key", b"abc", b"cba"));
        assert_eq!(asked(), 1, "the same three were asked about twice");
        // The same octets cut elsewhere, and any other octet, are another question.
        assert!(!verify(b"keya", b"bc", b"cba"));
        assert!(!verify(b"key", b"abcc", b"ba"));
        assert!(!verify(b"key", b"abd", b"cba"));
        assert!(!verify(b"key", b"abc", b"cbb"));
        assert!(verify(b"kez", b"abc", b"cba"));
        assert_eq!(asked(), 6);
        // What was wrong is not remembered at all.
        assert!(!verify(b"key", b"abc", b"cbb"));
        assert_eq!(asked(), 7);
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_without_harm() {
        let stock = leaked(Backwards::default());
        let remembering = Remembering { stock, memory: leaked(Memory::default()) };
        let number = u32::try_from(PLACES).unwrap() * 3;
        for message in 0..number {
            let message = message.to_be_bytes();
            let signature: Vec<u8> = message.iter().rev().copied().collect();
            for _ in 0..2 {
                remembering.verify_signature(b"key", &message, &signature).unwrap();
            }
        }
        assert_eq!(remembering.memory.0.lock().unwrap().len(), PLACES);
        assert_eq!(stock.0.load(Ordering::Relaxed), PLACES * 3);
    }

    /// The proof of possession is asked for through the mapping, which stays as it is.
    #[test]
    fn certificates_are_remembered_and_the_handshake_s_own_signature_never() {
        let stock = aws_lc_rs::default_provider().signature_verification_algorithms;
        let ours = super::super::provider().signature_verification_algorithms;
        assert!(std::ptr::eq(ours.mapping, stock.mapping));
        assert_eq!(ours.all.len(), stock.all.len());
        assert!(ours.all.iter().all(|each| format!("{each:?}").starts_with("Remembering")));
    }
}
