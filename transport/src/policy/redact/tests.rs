//! What is taken out and what is not. The secrets are put together here, so that none stands in the code.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn a(len: usize) -> String {
    "aB3".repeat(len).chars().take(len).collect()
}

fn upper(len: usize) -> String {
    "AB2".repeat(len).chars().take(len).collect()
}

/// One of every kind.
fn secrets() -> Vec<String> {
    let pem = |kind: &str| {
        format!(
            "-----BEGIN {kind}PRIVATE KEY-----\nDEK-Info: AES-128\n\n{}\n-----END {kind}PRIVATE KEY-----",
            a(64)
        )
    };
    vec![
        pem(""),
        pem("RSA "),
        pem("OPENSSH "),
        format!("-----BEGIN PRIVATE KEY-----\n{}", a(64)),
        format!("-----BEGIN PRIVATE KEY-----\\n{}", a(64)),
        format!(
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{}\n-----END PGP PRIVATE KEY BLOCK-----",
            a(9)
        ),
        format!("eyJ{}.{}.{}", a(20), a(30), a(43)),
        format!("Bearer {}", a(20)),
        format!("Authorization: Basic {}==", a(14)),
        format!("AKIA{}", upper(16)),
        format!("ASIA{}", upper(16)),
        format!("ghp_{}", a(36)),
        format!("ghs_{}", a(36)),
        format!("github_pat_{}_{}", a(22), a(59)),
        format!("glpat-{}", a(20)),
        format!("xoxb-{}-{}", 1_234_567_890, a(24)),
        format!("xapp-1-{}", upper(20)),
        format!("https://hooks.slack.com/services/T{}/B{}/{}", upper(8), upper(8), a(24)),
        format!("sk-ant-api03-{}", a(40)),
        format!("sk-proj-{}", a(48)),
        format!("sk-{}", a(48)),
        format!("AIza{}", a(35)),
        format!("ya29.{}", a(40)),
        format!("GOCSPX-{}", a(28)),
        format!("sk_live_{}", a(24)),
        format!("whsec_{}", a(32)),
        format!("npm_{}", a(36)),
        format!("pypi-AgE{}", a(60)),
        format!("hf_{}", a(34)),
        format!("SG.{}.{}", a(22), a(43)),
        format!("vouchsafe-invitation-1.{}", a(100)),
        "://admin:correct-horse@".to_owned(),
        format!("aws_secret_access_key = {}", a(40)),
        format!("SecretAccessKey\": \"{}", a(40)),
    ]
}

const HARMLESS: [&str; 16] = [
    "The bearer of good news is internationally known",
    "basic authorization: see RFC 7617",
    "5133bcaaa3417b2922c81db37d3940ad5133bcaa",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "http://localhost:8443/mcp and user@example.org, http://[::1]:80/",
    "See https://example.org/a:b@c and ssh://git@example.org:22/x",
    "sk-learn, task-ant-farm, risk-analysis-of-all-the-things-there-are",
    "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
    "A file that begins with -----BEGIN PRIVATE KEY----- is a key.",
    "eyJhbGciOiJub25lIn0.eyJzdWIiOiJub2JvZHkifQ.",
    "AKIA is how they begin; MAKIAABCDEFGHIJKLMNOP is none",
    "ghp_ and glpat- and xoxb- are prefixes",
    "npm_config_registry=https://registry.example.org",
    "spiffe://acme.example/team-a/build-7",
    "aws_secret_access_key is read from the environment",
];

static REDACTION: LazyLock<Redaction> = LazyLock::new(|| Redaction::new().unwrap());

fn redacted(json: &str, rules: WalkRules) -> (String, usize) {
    let (mut text, mut secrets, mut moved) = (json.to_owned(), 0, 0_isize);
    for replaced in REDACTION.of(json, rules) {
        let at = |end: usize| end.checked_add_signed(moved).unwrap();
        text.replace_range(at(replaced.span.start)..at(replaced.span.end), &replaced.text);
        moved += isize::try_from(replaced.text.len()).unwrap()
            - isize::try_from(replaced.span.len()).unwrap();
        secrets += replaced.secrets;
    }
    (text, secrets)
}

#[test]
fn every_kind_is_found_wherever_it_stands() {
    for secret in secrets() {
        for text in [secret.clone(), format!("x {secret}; y"), format!("\u{e4}\"{secret}\"\n")] {
            let (without, count) =
                REDACTION.without_secrets(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(count, 1, "{text}: {without}");
            assert_eq!(without, text.replace(&secret, REDACTED), "{text}");
        }
    }
}

#[test]
fn what_is_no_secret_stays() {
    for text in HARMLESS {
        assert_eq!(REDACTION.without_secrets(text), None, "{text}");
    }
}

#[test]
fn beginnings_without_an_end_take_no_longer_than_other_texts() {
    let begun = format!("-----BEGIN PRIVATE KEY-----\n{}", a(64));
    let many = 20_000;
    let (without, secrets) = REDACTION.without_secrets(&begun.repeat(many)).unwrap();
    assert_eq!((without, secrets), (REDACTED.repeat(many), many));
}

#[test]
fn passwords_within_passwords_hide_nothing() {
    let nested =
        |depth: usize| format!("x{}{}y", "://user:hun".repeat(depth), "ter22@db".repeat(depth));
    assert_eq!(REDACTION.without_secrets(&nested(1)), Some(("x[redacted]dby".to_owned(), 1)));
    for depth in 2..20 {
        let (left, _) = REDACTION.without_secrets(&nested(depth)).unwrap();
        assert_eq!(REDACTION.without_secrets(&left), None, "{left}");
    }
}

#[test]
fn escapes_hide_nothing() {
    let key = format!("AKIA{}", upper(16));
    let escaped: String = key.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
    let pem = format!("-----BEGIN PRIVATE KEY-----\\n{}\\n-----END PRIVATE KEY-----", a(64));
    let json =
        format!(r#"{{"content":[{{"type":"text","text":"{escaped}"}},{{"text":"\u2028{pem}"}}]}}"#);
    let (text, secrets) = redacted(&json, WalkRules::Result);
    assert_eq!(secrets, 2);
    let expected = json!({"content": [{"type": "text", "text": "[redacted]"}, {"text": "\u{2028}[redacted]"}]});
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
}

#[test]
fn what_the_protocol_hands_back_and_forth_is_left_alone() {
    let key = format!("ghp_{}", a(36));
    let result = json!({
        "nextCursor": key, "requestState": key, "taskId": key, "_meta": {"a": [key]},
        "content": [
            {"type": "image", "data": key, "mimeType": "image/png"},
            {"type": "resource", "resource": {"uri": key, "blob": key}},
            {"type": "resource", "resource": {"uri": key, "text": key}},
        ],
        "structuredContent": {"data": key, "uri": [key, {"_meta": key}], key.clone(): 1},
        "contents": [{"uri": key, "text": key}],
    });
    let (text, secrets) = redacted(&result.to_string(), WalkRules::Result);
    assert_eq!(secrets, 5);
    let mut expected = result;
    expected["content"][2]["resource"]["text"] = REDACTED.into();
    expected["contents"][0]["text"] = REDACTED.into();
    for place in
        ["/structuredContent/data", "/structuredContent/uri/0", "/structuredContent/uri/1/_meta"]
    {
        *expected.pointer_mut(place).unwrap() = REDACTED.into();
    }
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    // Of an error, and of a line of a log, `data` is what is said.
    let error = json!({"code": 1, "message": key, "data": key}).to_string();
    assert_eq!(redacted(&error, WalkRules::Words).1, 2);
    let error =
        json!({"data": {"url": key, "type": [key], "elicitations": [{"url": key}]}, "uri": key});
    assert_eq!(redacted(&error.to_string(), WalkRules::Words).1, 2);
}

#[test]
fn operators_add_what_they_know_of() {
    let mut redaction = REDACTION.clone();
    redaction.add(r"(?i)project \w+").unwrap();
    let found = redaction.without_secrets(&format!("Project Manhattan, npm_{}", a(36)));
    assert_eq!(found, Some(("[redacted], [redacted]".into(), 2)));
    for (pattern, expected) in [
        ("x*", "matches where there is nothing"),
        ("(", "unclosed group"),
        (r"(?=a)", "look-around"),
        ("((a{1000}){1000}){1000}", "size limit"),
    ] {
        let error = redaction.add(pattern).unwrap_err().to_string();
        assert!(error.contains(expected), "{pattern}: {error}");
    }
}

/// A JSON string in any of its spellings.
fn spelled(text: &str, escape: bool) -> String {
    if !escape {
        return Value::from(text).to_string();
    }
    let escaped = |unit: u16| format!("\\u{unit:04X}");
    format!("\"{}\"", text.encode_utf16().map(escaped).collect::<String>())
}

/// JSON text, in which some texts hold a secret.
fn json_text() -> impl Strategy<Value = String> {
    let planted = (any::<prop::sample::Index>(), "\\PC{0,5}", any::<bool>()).prop_map(
        |(index, around, escape)| {
            let secrets = secrets();
            spelled(&format!("{around} {} {around}", index.get(&secrets)), escape)
        },
    );
    let plain = ("\\PC{0,12}|[\"\\\\{}\\[\\],:\n]{0,6}", any::<bool>())
        .prop_map(|(text, escape)| spelled(&text, escape));
    let leaf = prop_oneof![
        planted,
        plain,
        Just("null".to_owned()),
        any::<i32>().prop_map(|n| n.to_string())
    ];
    let key = prop_oneof![
        "[a-d\"\\\\]{1,2}".prop_map(|key| spelled(&key, false)),
        Just("\"structuredContent\"".to_owned()),
        Just("\"uri\"".to_owned()),
        Just("\"\\u0064ata\"".to_owned()),
    ];
    leaf.prop_recursive(4, 30, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[ {} ]", items.join(", "))),
            prop::collection::hash_map(key.clone(), inner, 0..4).prop_map(|members| {
                let members = members.into_iter().map(|(key, value)| format!("{key} :{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(" ,"))
            }),
        ]
    })
}

/// The one is the other with some texts redacted: how often.
fn differences(before: &Value, after: &Value) -> usize {
    match (before, after) {
        (Value::Array(before), Value::Array(after)) => {
            assert_eq!(before.len(), after.len());
            before.iter().zip(after).map(|(before, after)| differences(before, after)).sum()
        }
        (Value::Object(before), Value::Object(after)) => {
            assert!(before.keys().eq(after.keys()));
            before
                .values()
                .zip(after.values())
                .map(|(before, after)| differences(before, after))
                .sum()
        }
        (Value::String(before), Value::String(after)) if before != after => {
            let expected = REDACTION.without_secrets(before);
            assert_eq!(expected.as_ref().map(|(text, _)| text), Some(after));
            1
        }
        (before, after) => {
            assert_eq!(before, after);
            0
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What comes out is JSON, and differs in the texts that held a secret and in nothing else.
    #[test]
    fn only_secrets_are_changed(text in json_text()) {
        let before: Value = serde_json::from_str(&text).unwrap();
        let (without, secrets) = redacted(&text, WalkRules::Words);
        let after: Value = serde_json::from_str(&without).unwrap();
        let changed = differences(&before, &after);
        prop_assert!(changed <= secrets);
        if secrets == 0 {
            prop_assert_eq!(&without, &text);
        }
        // Once is enough.
        prop_assert_eq!(redacted(&without, WalkRules::Words).1, 0);
    }
}
