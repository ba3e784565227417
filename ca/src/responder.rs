//! The OCSP responder: says of single certificates whether they are revoked (RFC 6960), for
//! verifiers that do not read lists.
//!
//! It answers by a key of its own, which lives in memory for a day at most and which the issuing CA
//! has certified for nothing else. The issuing CA's key signs no octet that a stranger has chosen.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::SigningKey;
use rustls_pki_types::UnixTime;
use vouchsafe_certs::ocsp::{Answer, Asked, NoAnswer, Question, QuestionError, State, signed};
use vouchsafe_certs::{CaCertificate, Certificate, IssuerId, KeyType, PrivateKey};

use crate::authority::Authority;
use crate::error::Error;
use crate::issuer::{Delegation, Issuer, SigningError};
use crate::issuers::Signer;
use crate::ledger::Ledger;

/// How long an answer may be relied on. Whoever wants to know better asks again.
const FRESH: Duration = Duration::from_secs(60 * 60);

/// Answers for every issuing CA of an authority.
#[derive(Default)]
pub struct Responder {
    delegates: Mutex<HashMap<IssuerId, Arc<Delegate>>>,
}

/// A key that may answer for one issuing CA.
struct Delegate {
    key: PrivateKey,
    delegation: Delegation,
}

impl Delegate {
    fn new(issuer: &Issuer, now: UnixTime) -> Result<Self, Error> {
        // Of one type whatever the CA's is: P-256 is what every verifier knows.
        let key = PrivateKey::generate(KeyType::P256)?;
        let delegation = issuer.delegate(&key.public_key()?, now)?;
        Ok(Self { key, delegation })
    }

    /// Whether it is in the first half of its life, so that no answer outlives it.
    fn is_fresh(&self, now: UnixTime) -> bool {
        let Delegation { not_before, not_after, .. } = self.delegation;
        let half = (not_before.as_secs() + not_after.as_secs()) / 2;
        (not_before.as_secs()..=half).contains(&now.as_secs())
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Responder")
    }
}

impl Responder {
    /// Answers an OCSPRequest with an OCSPResponse. What cannot be answered is said in the response.
    ///
    /// # Errors
    /// See [`Error`]: the CA's memory cannot be read, or nothing can be signed.
    pub fn answer(&self, authority: &Authority, question: &[u8]) -> Result<Vec<u8>, Error> {
        let Ok(question) = Question::from_der(question) else {
            return Ok(NoAnswer::MalformedRequest.to_der().to_vec());
        };
        let now = authority.now()?;
        let issuers = authority.issuers()?;
        let is_asked = |signer: &&Signer| {
            let known = signer.issuer.certificate();
            question.asked.iter().any(|asked| asked.is_of(known))
        };
        let Some(signer) = issuers.iter().find(is_asked) else {
            return Ok(NoAnswer::Unauthorized.to_der().to_vec());
        };
        let issuer = &signer.issuer;
        let known = issuer.certificate();
        let states = authority.look_up(|ledger| {
            question.asked.iter().map(|asked| state(asked, known, ledger)).collect()
        });
        let states: Vec<State> = states?;
        let delegate = self.delegate(issuer, now)?;
        let fresh = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + FRESH);
        let next_update = fresh.min(delegate.delegation.not_after);
        let answer = Answer { question: &question, states: &states, now, next_update };
        let to_be_signed = answer.to_be_signed(&delegate.key).map_err(unwritable)?;
        let signature = delegate.key.sign(&to_be_signed).map_err(SigningError::from)?;
        Ok(signed(&to_be_signed, &signature, &delegate.delegation.der).map_err(unwritable)?)
    }

    /// The key that answers for an issuing CA now.
    fn delegate(&self, issuer: &Issuer, now: UnixTime) -> Result<Arc<Delegate>, Error> {
        let mut delegates = self.delegates.lock().unwrap_or_else(PoisonError::into_inner);
        let id = issuer.certificate().id;
        if let Some(delegate) = delegates.get(&id).filter(|delegate| delegate.is_fresh(now)) {
            return Ok(Arc::clone(delegate));
        }
        let delegate = Arc::new(Delegate::new(issuer, now)?);
        delegates.insert(id, Arc::clone(&delegate));
        Ok(delegate)
    }
}

/// What was asked can be written, so what cannot is the time.
fn unwritable(_: QuestionError) -> SigningError {
    SigningError::Date
}

fn state(asked: &Asked, issuer: &CaCertificate, ledger: &Ledger) -> Result<State, Error> {
    let Some(serial) = asked.serial.filter(|_| asked.is_of(issuer)) else {
        return Ok(State::Unknown);
    };
    let Some(record) = ledger.certificate(&serial)? else { return Ok(State::Unknown) };
    // Two CAs may have drawn the same number.
    if Certificate::from_der(&record.certificate)?.issuer != issuer.id {
        return Ok(State::Unknown);
    }
    Ok(record.revoked.map_or(State::Good, |revoked| State::Revoked {
        at: revoked.at,
        reason: revoked.reason.code(),
    }))
}
