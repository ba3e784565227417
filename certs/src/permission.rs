//! What a principal may do: `kind:pattern`, and sets of it.

use std::fmt;
use std::str::FromStr;

use crate::PermissionError;

const MAX_KIND_LEN: usize = 64;
const MAX_PATTERN_LEN: usize = 255;

/// Everything.
const EVERYTHING: &str = "*:*";

/// One permission, `kind:pattern`.
///
/// The kind is `[a-z][a-z0-9-]*`. The pattern is 1 to 255 octets of UTF-8 without control
/// characters; a `*` as its last character means "anything that begins like this" and may stand
/// nowhere else. `*:*` is everything. Names are compared octet by octet: no case folding, no
/// normalisation. There is no deny, so sets intersect and narrow cleanly.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    text: Box<str>,
}

impl Permission {
    /// Reads a permission; a bare `*` is short for `*:*`.
    ///
    /// # Errors
    /// The first rule of the grammar that is broken.
    pub fn parse(text: &str) -> Result<Self, PermissionError> {
        let text = if text == "*" { EVERYTHING } else { text };
        let (kind, pattern) = text.split_once(':').ok_or(PermissionError::NoColon)?;
        check_pattern(pattern)?;
        match (kind, pattern) {
            ("*", "*") => {}
            ("*", _) => return Err(PermissionError::StarKind),
            _ if is_kind(kind) => {}
            _ => return Err(PermissionError::Kind),
        }
        Ok(Self { text: text.into() })
    }

    /// The text, `kind:pattern`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the first colon: `tools`, `resources`, `*` …
    #[must_use]
    pub fn kind(&self) -> &str {
        self.parts().0
    }

    /// What stands after the first colon, a final `*` included.
    #[must_use]
    pub fn pattern(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.text.split_once(':').unwrap_or_default()
    }

    /// What every allowed name begins with, and whether anything may follow it.
    fn reach(&self) -> (&str, bool) {
        let pattern = self.pattern();
        match pattern.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (pattern, false),
        }
    }

    fn covers_kind(&self, kind: &str) -> bool {
        &*self.text == EVERYTHING || self.kind() == kind
    }

    /// Whether this permission allows `name` of `kind`.
    #[must_use]
    pub fn allows(&self, kind: &str, name: &str) -> bool {
        self.covers_kind(kind)
            && match self.reach() {
                (prefix, true) => name.starts_with(prefix),
                (exact, false) => name == exact,
            }
    }

    /// Whether this permission allows some name of `kind` that begins with `prefix`.
    #[must_use]
    pub fn allows_some(&self, kind: &str, prefix: &str) -> bool {
        self.covers_kind(kind)
            && match self.reach() {
                (own, true) => own.starts_with(prefix) || prefix.starts_with(own),
                (exact, false) => exact.starts_with(prefix),
            }
    }

    /// Whether `other` allows everything that this permission allows.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        if *other.text == *EVERYTHING {
            return true;
        }
        if self.kind() != other.kind() {
            return false;
        }
        match (self.reach(), other.reach()) {
            ((own, _), (prefix, true)) => own.starts_with(prefix),
            ((own, false), (exact, false)) => own == exact,
            // Endlessly many names are not within one.
            ((_, true), (_, false)) => false,
        }
    }
}

/// The kind's grammar: a lower-case letter, then letters, digits and dashes.
fn is_kind(kind: &str) -> bool {
    kind.len() <= MAX_KIND_LEN
        && kind.starts_with(|first: char| first.is_ascii_lowercase())
        && kind.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn check_pattern(pattern: &str) -> Result<(), PermissionError> {
    if !(1..=MAX_PATTERN_LEN).contains(&pattern.len()) {
        return Err(PermissionError::PatternLength);
    }
    if pattern.chars().any(char::is_control) {
        return Err(PermissionError::ControlCharacter);
    }
    match pattern.find('*') {
        Some(at) if at + 1 != pattern.len() => Err(PermissionError::InnerStar),
        _ => Ok(()),
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Permission {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, PermissionError> {
        Self::parse(text)
    }
}

/// A set of permissions in its one canonical form: sorted, without duplicates.
///
/// The empty set allows nothing, and is the default.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct PermissionSet(Vec<Permission>);

impl PermissionSet {
    /// Whether some permission of the set allows `name` of `kind`.
    #[must_use]
    pub fn allows(&self, kind: &str, name: &str) -> bool {
        self.0.iter().any(|permission| permission.allows(kind, name))
    }

    /// Whether the set allows every name of `kind`.
    #[must_use]
    pub fn allows_all(&self, kind: &str) -> bool {
        let reaches_all = |permission: &Permission| permission.reach() == ("", true);
        self.0.iter().any(|permission| permission.covers_kind(kind) && reaches_all(permission))
    }

    /// Whether the set allows some name of `kind` that begins with `prefix`.
    #[must_use]
    pub fn allows_some(&self, kind: &str, prefix: &str) -> bool {
        self.0.iter().any(|permission| permission.allows_some(kind, prefix))
    }

    /// Whether `other` allows every name that this set allows.
    ///
    /// Looking at one permission at a time is exact: a prefix pattern reaches more names than
    /// 256 others could cover together unless one of them covers it alone.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.iter().all(|own| other.covers(own))
    }

    fn covers(&self, permission: &Permission) -> bool {
        self.0.iter().any(|own| permission.is_within(own))
    }

    /// The set that allows exactly what both sets allow.
    ///
    /// Two patterns either contain one another or have no name in common, so the smaller ones make up the result.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mine = self.0.iter().filter(|own| other.covers(own));
        let theirs = other.0.iter().filter(|own| self.covers(own));
        mine.chain(theirs).cloned().collect()
    }

    /// The permissions, in canonical order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Permission> {
        self.0.iter()
    }

    /// How many permissions the set holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set holds none, and so allows nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let mut permissions: Vec<Permission> = permissions.into_iter().collect();
        permissions.sort_unstable();
        permissions.dedup();
        Self(permissions)
    }
}

/// The permissions, separated by spaces, in canonical order.
impl fmt::Display for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, permission) in self.0.iter().enumerate() {
            let gap = if nth == 0 { "" } else { " " };
            write!(f, "{gap}{permission}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(texts: &[&str]) -> PermissionSet {
        texts.iter().map(|text| Permission::parse(text).unwrap()).collect()
    }

    #[test]
    fn the_grammar() {
        for good in
            ["tools:a", "tools:*", "*", "*:*", "a-1:b", "resources:file:///x y/*", "tools:é"]
        {
            assert!(Permission::parse(good).is_ok(), "{good}");
        }
        for (wrong, error) in [
            ("tools", PermissionError::NoColon),
            ("", PermissionError::NoColon),
            (":a", PermissionError::Kind),
            ("Tools:a", PermissionError::Kind),
            ("1:a", PermissionError::Kind),
            ("to_ols:a", PermissionError::Kind),
            ("tools:", PermissionError::PatternLength),
            ("tools:a*b", PermissionError::InnerStar),
            ("tools:**", PermissionError::InnerStar),
            ("tools:a\n", PermissionError::ControlCharacter),
            ("tools:\u{85}", PermissionError::ControlCharacter),
            ("*:a", PermissionError::StarKind),
            ("**", PermissionError::NoColon),
        ] {
            assert_eq!(Permission::parse(wrong), Err(error), "{wrong:?}");
        }
        assert!(Permission::parse(&format!("a:{}", "b".repeat(255))).is_ok());
        assert_eq!(
            Permission::parse(&format!("a:{}", "b".repeat(256))),
            Err(PermissionError::PatternLength)
        );
    }

    #[test]
    fn names_are_compared_octet_by_octet() {
        let held = set(&["tools:read", "resources:file:///docs/*"]);
        assert!(held.allows("tools", "read"));
        assert!(!held.allows("tools", "Read"));
        assert!(!held.allows("tools", "read_all"));
        assert!(!held.allows("prompts", "read"));
        assert!(held.allows("resources", "file:///docs/"));
        assert!(held.allows("resources", "file:///docs/a/b"));
        assert!(!held.allows("resources", "file:///doc"));
        assert!(!PermissionSet::default().allows("tools", ""));
        assert!(set(&["*"]).allows("anything", "at all"));
        assert!(set(&["*"]).allows_all("tools") && set(&["tools:*"]).allows_all("tools"));
        assert!(
            !set(&["tools:a*"]).allows_all("tools") && !set(&["tools:*"]).allows_all("prompts")
        );
    }

    #[test]
    fn some_name_under_a_prefix() {
        let held = set(&["resources:demo://text/*", "resources:file:///a.md"]);
        assert!(held.allows_some("resources", "demo://"));
        assert!(held.allows_some("resources", "demo://text/7/"));
        assert!(held.allows_some("resources", "file:///"));
        assert!(!held.allows_some("resources", "file:///a.md/"));
        assert!(!held.allows_some("tools", "demo://"));
    }

    /// Few letters, so that patterns meet often.
    fn permissions() -> impl Strategy<Value = PermissionSet> {
        let permission = prop_oneof![
            8 => "[ab]:([xy]{1,3}|[xy]{0,2}\\*)",
            1 => Just("*".to_owned()),
        ];
        prop::collection::vec(permission, 0..5)
            .prop_map(|texts| texts.iter().map(|t| Permission::parse(t).unwrap()).collect())
    }

    /// Every name that could tell two such sets apart.
    fn names() -> Vec<(&'static str, String)> {
        let mut names = vec![String::new()];
        for length in 0..4 {
            let longer: Vec<String> = names
                .iter()
                .filter(|name| name.len() == length)
                .flat_map(|name| ["x", "y", "z"].map(|letter| format!("{name}{letter}")))
                .collect();
            names.extend(longer);
        }
        let kinds = ["a", "b", "c"];
        kinds.iter().flat_map(|kind| names.iter().map(|name| (*kind, name.clone()))).collect()
    }

    proptest! {
        #[test]
        fn within_means_no_name_more(small in permissions(), large in permissions()) {
            let exceeds = names().iter().any(|(kind, name)| small.allows(kind, name) && !large.allows(kind, name));
            prop_assert_eq!(small.is_within(&large), !exceeds);
        }

        #[test]
        fn the_intersection_allows_what_both_allow(one in permissions(), two in permissions()) {
            let both = one.intersection(&two);
            for (kind, name) in names() {
                prop_assert_eq!(both.allows(kind, &name), one.allows(kind, &name) && two.allows(kind, &name));
            }
            prop_assert!(both.is_within(&one) && both.is_within(&two));
        }

        #[test]
        fn some_name_is_allowed_iff_one_can_be_found(held in permissions(), prefix in "[xy]{0,2}") {
            let found = names().iter().any(|(kind, name)| *kind == "a" && name.starts_with(&prefix) && held.allows(kind, name));
            prop_assert_eq!(held.allows_some("a", &prefix), found);
        }
    }
}
