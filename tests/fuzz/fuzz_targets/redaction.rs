//! Texts of a server in which there may be keys: what looks like one does not reach the client, and nothing else is
//! changed.
//!
//! A first octet of 255 says that the text comes many times in a row, so that a search whose time grows by the square
//! of the length is seen; the rest is the text.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use vouchsafe_certs::Permission;
use vouchsafe_fuzz::json::Meaning;
use vouchsafe_fuzz::secrets::tokens;
use vouchsafe_fuzz::session::read;
use vouchsafe_fuzz::verdict::Fate;
use vouchsafe_transport::{ClientPolicy, Rules};

const CALL: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;
const REDACTED: &str = "[redacted]";

/// Octets of a text that was repeated.
const MAX_LEN: usize = 128 * 1024;

static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    let mut rules = Rules::default();
    rules.redact().expect("the patterns compile");
    Arc::new(rules)
});

fuzz_target!(|octets: &[u8]| {
    let Some((times, text)) = octets.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let is_many = *times == 255;
    let text = text.repeat(if is_many { MAX_LEN / text.len().max(1) } else { 1 });
    let once = redacted(&text);
    assert!(tokens(&once).next().is_none(), "a key remains");
    if !is_many {
        must_only_take_out(&text, &once);
        assert_eq!(redacted(&once), once, "what remains looks like a key");
    }
});

/// What the client gets in a text's place. What is beside it stays what it was.
fn redacted(text: &str) -> String {
    let everything = Permission::parse("*").into_iter().collect();
    let mut policy = ClientPolicy::new(everything, Arc::clone(&RULES));
    assert!(matches!(Fate::of(policy.judge_client(CALL).verdict), Fate::Forwarded(_)));
    let said = serde_json::json!({"jsonrpc": "2.0", "id": 1, "result": {
        "content": [{"type": "text", "text": text}], "structuredContent": {"n": 1.5, "t": [text]}, "_meta": {"m": "kept"},
    }});
    let Fate::Forwarded(told) = Fate::of(policy.judge_server(said.to_string().as_bytes()).verdict)
    else {
        panic!("a result does not pass");
    };
    let told = read(&told);
    let result = told.get("result").expect("a result");
    assert_eq!(result.at(&["_meta", "m"]).and_then(Meaning::text), Some("kept"));
    assert_eq!(result.at(&["structuredContent", "n"]), Some(&Meaning::Float(1.5)));
    let content = result.get("content").and_then(Meaning::list).and_then(<[_]>::first);
    let content = content.and_then(|content| content.get("text")?.text()).expect("a text");
    let structured =
        result.at(&["structuredContent", "t"]).and_then(Meaning::list).and_then(<[_]>::first);
    assert_eq!(structured.and_then(Meaning::text), Some(content), "redacted here and not there");
    content.to_owned()
}

/// What is left are pieces of the text, in their order.
fn must_only_take_out(text: &str, left: &str) {
    if text.contains(REDACTED) {
        return;
    }
    let mut pieces = left.split(REDACTED);
    let first = pieces.next().unwrap_or_default();
    let mut rest = text.strip_prefix(first).expect("the text begins otherwise");
    for piece in pieces {
        let at = rest.find(piece).expect("something else than was there");
        rest = &rest[at + piece.len()..];
    }
}
