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
        match line.strip_prefix('>') {
            Some(line) => right.extend(parse_permission(line)),
            None => left.extend(parse_permission(line)),
        }
    }
    compare(&left.into_iter().collect(), &right.into_iter().collect(), kind, name);
});

fn parse_principal(text: &str) {
    let Ok(principal) = Principal::parse(text) else { return };
    assert_eq!(principal.to_string(), text);
    assert_eq!(principal.trust_domain().principal(principal.name()).as_ref(), Ok(&principal));
    assert!(TrustDomain::parse(principal.trust_domain().as_str()).is_ok());
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    assert!(principal.name().chars().all(allowed) && !principal.name().contains("//"));
}

fn parse_permission(text: &str) -> Option<Permission> {
    let permission = Permission::parse(text).ok()?;
    assert!(permission.as_str() == text || text == "*");
    assert_eq!(format!("{}:{}", permission.kind(), permission.pattern()), permission.as_str());
    Some(permission)
}

fn compare(left: &PermissionSet, right: &PermissionSet, kind: &str, name: &str) {
    assert_eq!(left.is_within(right), is_within(left, right), "{left:?} within {right:?}");
    let both = left.intersection(right);
    assert!(both.is_within(left) && both.is_within(right));
    let mut names = witnesses(left);
    names.extend(witnesses(right));
    names.push((kind.to_owned(), name.to_owned()));
    for (kind, name) in &names {
        for set in [left, right] {
            assert_eq!(set.allows(kind, name), allows(set, kind, name), "{set:?} {kind} {name}");
            assert!(!set.allows(kind, name) || set.allows_some(kind, name));
        }
        let expected = allows(left, kind, name) && allows(right, kind, name);
        assert_eq!(both.allows(kind, name), expected, "{left:?} and {right:?}: {kind} {name}");
    }
    let some = Permission::parse(&format!("{kind}:{name}*"));
    // With a colon in it, the text would be read as another kind.
    if let Some(some) = some.ok().filter(|some| some.kind() == kind && kind != "*") {
        let overlaps = !left.intersection(&[some].into_iter().collect()).is_empty();
        assert_eq!(left.allows_some(kind, name), overlaps, "{left:?} {kind} {name}");
    }
}
