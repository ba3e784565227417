//! A second opinion on what a key looks like: some kinds of which the makers say how long they are, found without
//! regular expressions.

/// How tokens begin, and how many letters and digits follow at least.
const KINDS: [(&str, usize); 6] =
    [("ghp_", 36), ("gho_", 36), ("npm_", 36), ("hf_", 34), ("sk_live_", 16), ("xoxb-", 10)];

/// The tokens in a text that stand by themselves.
pub fn tokens(text: &str) -> impl Iterator<Item = &str> {
    KINDS.into_iter().flat_map(move |(begin, len)| {
        let found = text.match_indices(begin).filter(move |(at, _)| {
            let before = text[..*at].bytes().next_back();
            let is_apart =
                !before.is_some_and(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
            let letters =
                text[at + begin.len()..].bytes().take_while(u8::is_ascii_alphanumeric).count();
            // npm's and Hugging Face's have that length and no other.
            let is_long = match begin {
                "npm_" | "hf_" => {
                    let after = text.as_bytes().get(at + begin.len() + letters);
                    letters == len && after != Some(&b'_')
                }
                _ => letters >= len,
            };
            is_apart && is_long
        });
        found.map(|(at, _)| &text[at..])
    })
}
