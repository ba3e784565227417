//! Principals and permissions as text, and the algebra of permission sets against a second opinion.
//!
//! Lines: a principal, a kind, a name; then one permission each, into the left set, or with `>` before it into the right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vouchsafe_certs::{Permission, PermissionSet, Principal, TrustDomain};
use vouchsafe_fuzz::permission::{allows, is_within, witnesses};

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    parse_principal(lines.next().unwrap_or_default());
    let kind = lines.next().unwrap_or_default();
    let name = lines.next().unwrap_or_default();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for line in lines.take(32) {
        let (side, text) = match line.strip_prefix('>') {
            Some(text) => (&mut right, text),
            None => (&mut left, line),
        };
        side.extend(parse_permission(text).then_some(text));
    }
    compare(&left, &right, kind, name);
});

fn parse_principal(text: &str) {
    let Ok(principal) = Principal::parse(text) else { return };
    assert_eq!(principal.to_string(), text);
    assert_eq!(principal.trust_domain().principal(principal.name()).as_ref(), Ok(&principal));
    assert!(TrustDomain::parse(principal.trust_domain().as_str()).is_ok());
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    assert!(principal.name().chars().all(allowed) && !principal.name().contains("//"));
}

fn parse_permission(text: &str) -> bool {
    let Ok(permission) = Permission::parse(text) else { return false };
    assert!(permission.as_str() == text || text == "*");
    assert_eq!(format!("{}:{}", permission.kind(), permission.pattern()), permission.as_str());
    true
}

fn set_of(texts: &[&str]) -> PermissionSet {
    texts.iter().map(|text| Permission::parse(text).expect("was parsed once")).collect()
}

/// What the sets say, against what the texts say that they were made of.
fn compare(left_texts: &[&str], right_texts: &[&str], kind: &str, name: &str) {
    let (left, right) = (&set_of(left_texts), &set_of(right_texts));
    assert_eq!(
        left.is_within(right),
        is_within(left_texts, right_texts),
        "{left:?} within {right:?}"
    );
    let both = left.intersection(right);
    assert!(both.is_within(left) && both.is_within(right));
    let mut names = witnesses(left_texts);
    names.extend(witnesses(right_texts));
    names.push((kind.to_owned(), name.to_owned()));
    for (kind, name) in &names {
        let expected = [left_texts, right_texts].map(|texts| allows(texts, kind, name));
        for (set, expected) in [left, right].into_iter().zip(expected) {
            assert_eq!(set.allows(kind, name), expected, "{set:?} {kind} {name}");
            assert!(!expected || set.allows_some(kind, name));
        }
        assert_eq!(
            both.allows(kind, name),
            expected == [true; 2],
            "{left:?} and {right:?}: {kind} {name}"
        );
    }
    let some = Permission::parse(&format!("{kind}:{name}*"));
    // With a colon in it, the text would be read as another kind.
    if let Some(some) = some.ok().filter(|some| some.kind() == kind && kind != "*") {
        let overlaps = !left.intersection(&[some].into_iter().collect()).is_empty();
        assert_eq!(left.allows_some(kind, name), overlaps, "{left:?} {kind} {name}");
    }
}
