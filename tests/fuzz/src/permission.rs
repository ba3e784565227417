//! A second opinion on permissions, short enough to be seen to be right.

use vouchsafe_certs::PermissionSet;

/// Begins with what no pattern may hold, so only a star can reach it.
const BEYOND: &str = "\u{1}beyond";

/// Whether a set allows a name, read off its texts.
pub fn allows(set: &PermissionSet, kind: &str, name: &str) -> bool {
    set.iter().any(|permission| {
        let (own_kind, pattern) = permission.as_str().split_once(':').expect("every permission");
        let fits = match pattern.strip_suffix('*') {
            Some(prefix) => name.as_bytes().starts_with(prefix.as_bytes()),
            None => name == pattern,
        };
        fits && (own_kind == kind || own_kind == "*")
    })
}

/// Names that show how far a set reaches: if another set allows all of them, it allows all that this one allows.
pub fn witnesses(set: &PermissionSet) -> Vec<(String, String)> {
    let reach = |text: &str| {
        let (kind, pattern) = text.split_once(':').expect("every permission");
        // No permission can name a kind with a capital, so only `*:*` reaches it.
        let kind = if kind == "*" { "Unknown" } else { kind };
        match pattern.strip_suffix('*') {
            Some(prefix) => vec![
                (kind.to_owned(), prefix.to_owned()),
                (kind.to_owned(), format!("{prefix}{BEYOND}")),
            ],
            None => vec![(kind.to_owned(), pattern.to_owned())],
        }
    };
    set.iter().flat_map(|permission| reach(permission.as_str())).collect()
}

/// Whether `large` allows everything that `small` allows.
pub fn is_within(small: &PermissionSet, large: &PermissionSet) -> bool {
    witnesses(small).iter().all(|(kind, name)| allows(large, kind, name))
}
