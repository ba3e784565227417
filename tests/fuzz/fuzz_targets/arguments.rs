//! A tool's schema, which the server writes, and a call's arguments, which the client writes: neither may cost more
//! than is borne, and of plain schemas a second opinion says the same.
//!
//! The first line is the schema, the second the arguments.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vouchsafe_certs::Permission;
use vouchsafe_fuzz::json::Meaning;
use vouchsafe_fuzz::schema::{Opinion, opinion};
use vouchsafe_fuzz::verdict::Fate;
use vouchsafe_transport::{ClientPolicy, Decision, Refusal, Rules};

const LIST: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let (Some(schema), Some(arguments), None) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    let mut rules = Rules::default();
    rules.validate_arguments();
    let everything = Permission::parse("*").into_iter().collect();
    let mut policy = ClientPolicy::new(everything, Arc::new(rules));
    assert!(matches!(Fate::of(policy.judge_client(LIST).verdict), Fate::Forwarded(_)));
    let tools = format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{{"name":"t","inputSchema":{schema}}}]}}}}"#
    );
    let is_listed =
        matches!(Fate::of(policy.judge_server(tools.as_bytes()).verdict), Fate::Forwarded(_));
    let call = format!(
        r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"t","arguments":{arguments}}}}}"#
    );
    let judgement = policy.judge_client(call.as_bytes());
    let refusal = judgement.record.as_ref().and_then(|record| match &record.decision {
        Decision::Denied(refusal) => Some(refusal.clone()),
        _ => None,
    });
    let is_forwarded = matches!(Fate::of(judgement.verdict), Fate::Forwarded(_));
    assert!(!is_forwarded || refusal.is_none());
    if !is_listed {
        return;
    }
    let (Ok(schema), Ok(arguments)) =
        (Meaning::read(schema.as_bytes()), Meaning::read(arguments.as_bytes()))
    else {
        return;
    };
    match opinion(&schema, &arguments) {
        Opinion::Fits => assert!(
            is_forwarded || !is_misfit(refusal.as_ref()),
            "fits, and is refused: {refusal:?}"
        ),
        Opinion::DoesNotFit => assert!(!is_forwarded, "does not fit, and is forwarded"),
        Opinion::None => {}
    }
});

fn is_misfit(refusal: Option<&Refusal>) -> bool {
    matches!(refusal, Some(Refusal::Arguments { .. }))
}
