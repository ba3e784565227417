//! Schemas that servers have, and those that they had better not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn check(schema: &Value, arguments: &Value) -> Result<(), Misfit> {
    Schema::new(&schema.to_string()).check(&arguments.to_string())
}

fn unchecked(schema: &Value, arguments: &Value) -> String {
    match check(schema, arguments) {
        Err(Misfit::Unchecked(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn with(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

#[test]
fn drafts_are_told_apart() {
    // In draft 7 `items` may be an array; from 2020-12 on `prefixItems` is.
    let pair = json!([{"type": "string"}, {"type": "number"}]);
    let mut old = with(json!({"a": {"items": pair}}));
    old["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    let new = with(json!({"a": {"prefixItems": pair}}));
    for schema in [old, new] {
        assert_eq!(check(&schema, &json!({"a": ["x", 1]})), Ok(()));
        assert!(matches!(check(&schema, &json!({"a": [1, 1]})), Err(Misfit::Wrong { .. })));
    }
    let mut unknown = with(json!({}));
    unknown["$schema"] = "http://example.com/of-our-own".into();
    assert!(unchecked(&unknown, &json!({})).starts_with("the tool's schema cannot be used: "));
}

#[test]
fn nothing_is_fetched_and_no_pattern_takes_long() {
    for (schema, expected) in [
        (with(json!({"a": {"$ref": "http://127.0.0.1:1/x"}})), "outside of itself"),
        (with(json!({"a": {"$ref": "file:///etc/passwd"}})), "outside of itself"),
        (with(json!({"a": {"pattern": "^(?=a)("}})), "cannot be used"),
        (with(json!({"a": {"pattern": "(((a{1000}){1000}){1000})"}})), "cannot be used"),
        (with(json!({"a": {"type": "nothing"}})), "cannot be used"),
        (json!(null), "does not describe an object"),
        (json!(true), "does not describe an object"),
    ] {
        let why = unchecked(&schema, &json!({"a": "x"}));
        assert!(why.contains(expected), "{schema}: {why}");
    }
    let many: serde_json::Map<_, _> =
        (0..65).map(|number| (number.to_string(), json!({"pattern": "x"}))).collect();
    assert!(unchecked(&with(many.into()), &json!({})).ends_with("it has too many patterns"));
    let evil = with(json!({"a": {"pattern": "^(a+)+$"}}));
    let long = json!({"a": "a".repeat(100_000) + "!"});
    assert!(matches!(check(&evil, &long), Err(Misfit::Wrong { .. })));
}

#[test]
fn patterns_that_look_around_are_tried_so_often_and_no_more() {
    let mail = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$";
    let schema = with(json!({"a": {"type": "string", "pattern": mail}}));
    assert_eq!(
        check(&schema, &json!({"a": "somebody.of.the.team+lists@mail.acme.example"})),
        Ok(())
    );
    for wrong in ["a..b@acme.example", "nobody"] {
        assert!(matches!(check(&schema, &json!({"a": wrong})), Err(Misfit::Wrong { .. })));
    }
    let long = unchecked(&schema, &json!({"a": "a".repeat(MAX_OCTETS_TRIED)}));
    assert_eq!(long, "they hold too much for this tool's schema");
    // Not even by being negated does it pass what takes too long to tell.
    let evil = json!({"pattern": "^(?=a)(a|a)*(?<!a)$"});
    let text = json!({"a": "a".repeat(1000)});
    for schema in [evil.clone(), json!({"not": evil})] {
        let refused = check(&with(json!({"a": schema})), &text);
        assert!(refused.is_err(), "{refused:?}");
    }
}

#[test]
fn the_longest_way_that_is_taken_fits_onto_a_stack() {
    let mut defs = json!({"d0": {"type": "string"}});
    for link in 1..120 {
        defs[format!("d{link}")] = json!({"allOf": [{"$ref": format!("#/$defs/d{}", link - 1)}]});
    }
    let mut schema = with(json!({"a": {"$ref": "#/$defs/d119"}}));
    schema["$defs"] = defs;
    // As large as that of a thread of the runtime.
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(move || {
        assert_eq!(check(&schema, &json!({"a": "x"})), Ok(()));
        assert!(matches!(check(&schema, &json!({"a": 5})), Err(Misfit::Wrong { .. })));
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn arguments_have_limits_of_their_own() {
    let anything = with(json!({}));
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let arguments = |depth| format!("{{\"a\":{}}}", deep(depth));
    let schema = Schema::new(&anything.to_string());
    assert_eq!(schema.check(&arguments(31)), Ok(()));
    let too_deep = Misfit::Unchecked("they are nested too deeply".into());
    assert_eq!(schema.check(&arguments(32)), Err(too_deep));
    let many = format!("{{\"a\":[{}0]}}", "0,".repeat(MAX_VALUES));
    let too_much = Misfit::Unchecked("they hold too much for this tool's schema".into());
    assert_eq!(schema.check(&many), Err(too_much));
    // A long text is one value.
    let long = json!({"a": "{[,".repeat(1_000_000)});
    assert_eq!(check(&anything, &long), Ok(()));
    // Where that would take long, nobody is told what exactly is wrong with ten thousand items.
    let numbers = json!({"a": {"anyOf": [{"items": {"type": "number"}}, {"type": "null"}]}});
    let texts = json!({"a": vec!["x"; 40_000]});
    let expected = Misfit::Wrong { rule: "/".into(), told: "they do not fit the schema".into() };
    assert_eq!(check(&with(numbers), &texts), Err(expected));
}

#[test]
fn what_is_wrong_is_told_without_what_was_sent() {
    let secret = "hunter2";
    for schema in [
        json!({"type": "number"}),
        json!({"enum": ["a", "b"]}),
        json!({"const": 1}),
        json!({"pattern": "^x"}),
        json!({"maxLength": 3}),
        json!({"not": {"type": "string"}}),
        json!({"anyOf": [{"type": "number"}, {"type": "null"}]}),
        json!({"oneOf": [{"type": "string"}, {"maxLength": 50}]}),
    ] {
        let arguments = json!({"a": secret});
        match check(&with(json!({"a": schema})), &arguments) {
            Err(Misfit::Wrong { rule, told }) => {
                assert!(told.starts_with("arguments/a: "), "{told}");
                assert!(!told.contains(secret) && !rule.contains(secret), "{told} {rule}");
            }
            other => panic!("{schema}: {other:?}"),
        }
    }
    for schema in [
        json!({"type": "object", "propertyNames": {"maxLength": 3}}),
        json!({"type": "object", "properties": {"a": {"unevaluatedItems": false}}}),
    ] {
        let arguments = json!({secret: 1, "a": [secret]});
        let Err(Misfit::Wrong { told, .. }) = check(&schema, &arguments) else {
            panic!("{schema}")
        };
        assert!(!told.contains(secret), "{told}");
    }
}

#[test]
fn sessions_share_schemas_and_no_end_of_them() {
    let schemas = Schemas::default();
    let text = with(json!({})).to_string();
    assert!(Arc::ptr_eq(&schemas.of(&text), &schemas.of(&text)));
    for number in 0..3 * MAX_SHARED {
        schemas.of(&json!({"type": "object", "title": number}).to_string());
        assert!(schemas.0.lock().unwrap().len() <= MAX_SHARED);
    }
    let huge = schemas.of(&"x".repeat(MAX_LEN + 1));
    assert!(matches!(huge.check("{}"), Err(Misfit::Unchecked(_))));
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z\"\\\\,{}\\[\\]]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let member = ("[a-c\"\\\\{]{1,2}", inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            prop::collection::vec(member, 0..5).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(count).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

fn nested(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(nested).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(nested).max().unwrap_or(0),
        _ => 0,
    }
}

proptest! {
    /// What is counted before the text is read is what is there.
    #[test]
    fn values_and_depth_are_those_of_the_text(value in json()) {
        let text = value.to_string();
        prop_assert!(values(&text) >= count(&value));
        prop_assert!(values(&text) <= 2 * count(&value));
        prop_assert_eq!(depth(&text), nested(&value));
    }

    /// What a schema without restrictions is asked, it lets pass; what asks for nothing, never.
    #[test]
    fn checks_say_what_the_library_says(value in json()) {
        let arguments = json!({"a": value});
        prop_assert_eq!(check(&with(json!({"a": true})), &arguments), Ok(()));
        let nothing = check(&with(json!({"a": false})), &arguments);
        prop_assert!(nothing.is_err());
        let is_text = check(&with(json!({"a": {"type": "string"}})), &arguments).is_ok();
        prop_assert_eq!(is_text, value.is_string());
    }
}
