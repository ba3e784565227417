//! An OCSP question, and the answer to it: whatever can be asked can be answered.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::UnixTime;
use vouchsafe_certs::ocsp::{Answer, MAX_ASKED, Question, State};
use vouchsafe_fuzz::issuer;

fuzz_target!(|octets: &[u8]| {
    let Ok(question) = Question::from_der(octets) else { return };
    assert!((1..=MAX_ASKED).contains(&question.asked.len()));
    assert!(Question::from_der(&[octets, b"\0"].concat()).is_err(), "octets after the end");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let states = vec![State::Revoked { at: now, reason: 1 }; question.asked.len()];
    let answer = Answer { question: &question, states: &states, now, next_update: now };
    answer.to_be_signed(&*issuer::KEY).unwrap();
});
