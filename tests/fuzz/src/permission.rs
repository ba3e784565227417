//! A second opinion on permissions, short enough to be seen to be right. It works on the texts that were written, and
//! on nothing that a set makes of them: a set that lost one would otherwise agree with itself.

/// Begins with what no pattern may hold, so only a star can reach it.
const BEYOND: &str = "\u{1}beyond";

/// Whether permissions allow a name.
pub fn allows(texts: &[impl AsRef<str>], kind: &str, name: &str) -> bool {
    texts.iter().any(|text| {
        let (own_kind, pattern) = parts(text.as_ref());
        let fits = match pattern.strip_suffix('*') {
            Some(prefix) => name.as_bytes().starts_with(prefix.as_bytes()),
            None => name == pattern,
        };
        fits && (own_kind == kind || own_kind == "*")
    })
}

/// `*` alone is everything of every kind.
fn parts(text: &str) -> (&str, &str) {
    if text == "*" { ("*", "*") } else { text.split_once(':').expect("every permission") }
}

/// Names that show how far permissions reach: if others allow all of them, they allow all that these allow.
pub fn witnesses(texts: &[impl AsRef<str>]) -> Vec<(String, String)> {
    let reach = |text: &str| {
        let (kind, pattern) = parts(text);
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
    texts.iter().flat_map(|text| reach(text.as_ref())).collect()
}

/// Whether `large` allow everything that `small` allow.
pub fn is_within(small: &[impl AsRef<str>], large: &[impl AsRef<str>]) -> bool {
    witnesses(small).iter().all(|(kind, name)| allows(large, kind, name))
}
