//! What a server asks its client, in the same words in both eras: before 2026-07-28 as a request of
//! its own, since then inside of a result.

use serde_json::{Value, json};

pub(crate) fn elicitation(message: &str, properties: &Value, required: &[&str]) -> Value {
    json!({"method": "elicitation/create", "params": {
        // Before 2025-11-25 there was no other mode, and no word for it.
        "message": message,
        "requestedSchema": {"type": "object", "properties": properties, "required": required},
    }})
}

pub(crate) fn name() -> Value {
    elicitation("What is your name?", &json!({"name": {"type": "string"}}), &["name"])
}

pub(crate) fn confirmation(message: &str, property: &str) -> Value {
    elicitation(message, &json!({property: {"type": "boolean"}}), &[property])
}

pub(crate) fn sampling(prompt: &str, tokens: u32) -> Value {
    json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": prompt}}],
        "maxTokens": tokens,
    }})
}

pub(crate) fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

/// A default of every primitive type (SEP-1034).
pub(crate) fn defaults() -> Value {
    let properties = json!({
        "name": {"type": "string", "description": "Name", "default": "John Doe"},
        "age": {"type": "integer", "description": "Age", "default": 30},
        "score": {"type": "number", "description": "Score", "default": 95.5},
        "status": {
            "type": "string", "description": "Status",
            "enum": ["active", "inactive", "pending"], "default": "active",
        },
        "verified": {"type": "boolean", "description": "Verified", "default": true},
    });
    elicitation("Is all of this right?", &properties, &[])
}

/// Every kind of choice (SEP-1330).
pub(crate) fn choices() -> Value {
    let plain = json!(["option1", "option2", "option3"]);
    let titled = json!([
        {"const": "value1", "title": "First"},
        {"const": "value2", "title": "Second"},
        {"const": "value3", "title": "Third"},
    ]);
    let properties = json!({
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {
            "type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    });
    elicitation("Which of these?", &properties, &[])
}
