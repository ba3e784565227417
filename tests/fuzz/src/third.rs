//! A third opinion on JSON: jiter, which reads what serde_json reads without a line of code in common.

use jiter::JsonValue;

use crate::json::Meaning;

/// Panics unless jiter reads in `text` what serde_json has read there.
pub fn must_mean_the_same(text: &[u8], meaning: &Meaning) {
    let other = JsonValue::parse(text, false);
    let other = other.unwrap_or_else(|error| panic!("accepted, but not JSON to jiter: {error}"));
    assert!(is_same(meaning, &other), "serde_json reads {meaning:?}, jiter {other:?}");
}

fn is_same(one: &Meaning, other: &JsonValue<'_>) -> bool {
    match (one, other) {
        (Meaning::Null, JsonValue::Null) => true,
        (Meaning::Bool(one), JsonValue::Bool(other)) => one == other,
        (Meaning::Text(one), JsonValue::Str(other)) => one == other,
        (Meaning::List(one), JsonValue::Array(other)) => {
            one.len() == other.len()
                && one.iter().zip(other.iter()).all(|(one, other)| is_same(one, other))
        }
        // Here jiter keeps every member, also those whose keys are there twice; so the numbers of members differ then.
        (Meaning::Map(one), JsonValue::Object(other)) => {
            one.len() == other.len()
                && other
                    .iter()
                    .all(|(key, other)| one.get(&**key).is_some_and(|one| is_same(one, other)))
        }
        (Meaning::Integer(one), JsonValue::Int(other)) => *one == i128::from(*other),
        (Meaning::Integer(one), JsonValue::BigInt(other)) => one.to_string() == other.to_string(),
        // Beyond 64 bits the one has a float and the other all digits.
        (Meaning::Float(one), JsonValue::BigInt(other)) => other.to_string().parse() == Ok(*one),
        (Meaning::Float(one), JsonValue::Float(other)) => one == other,
        // -0
        (Meaning::Float(one), JsonValue::Int(other)) => *one == 0.0 && *other == 0,
        _ => false,
    }
}
