//! The one line of an invitation: what is read can be written, and is read again as the same.

#![no_main]

// The file takes two lengths from the CA, and nothing else; so the CA and its store stay outside.
extern crate self as vouchsafe_ca;

#[path = "../../../cli/src/invitation.rs"]
mod invitation;

use invitation::{Invitation, is_address};
use libfuzzer_sys::fuzz_target;

pub const INVITATION_ID_LEN: usize = 16;
pub const INVITATION_SECRET_LEN: usize = 22;

fuzz_target!(|text: &str| {
    let Ok(read) = Invitation::parse(text) else { return };
    assert!(is_address(&read.address) && !read.address.contains(char::is_whitespace));
    assert_eq!((read.id.len(), read.secret.len()), (INVITATION_ID_LEN, INVITATION_SECRET_LEN));
    assert!(!format!("{read:?}").contains(read.secret.as_str()), "Debug shows the secret");
    // One invitation has one text, apart from the space around it and the case of the fingerprint.
    let again = Invitation::parse(&read.to_text()).expect("what was read can be written");
    assert_eq!((again.root, &again.address, &again.id), (read.root, &read.address, &read.id));
    assert!(again.secret == read.secret);
    assert_eq!(again.to_text(), read.to_text());
});
