//! The tools, in the order in which they are listed: always the same.

use rmcp::model::{JsonObject, Tool};
use serde_json::{Value, json};

/// Tools that take nothing. The first must need nothing else either: the suite calls it to try headers.
const PLAIN: [(&str, &str); 31] = [
    ("test_simple_text", "Text"),
    ("test_image_content", "An image"),
    ("test_audio_content", "Some audio"),
    ("test_embedded_resource", "A resource"),
    ("test_multiple_content_types", "Text, an image and a resource"),
    ("test_error_handling", "Fails, and says so in its result"),
    ("test_tool_with_logging", "Sends three log messages"),
    ("test_tool_with_progress", "Reports progress three times"),
    ("test_reconnection", "Answers after a while"),
    ("test_elicitation_sep1034_defaults", "Asks with defaults"),
    ("test_elicitation_sep1330_enums", "Asks with choices"),
    ("test_missing_capability", "Needs a client that samples"),
    ("test_streaming_elicitation", "Asks within its result"),
    ("test_logging_tool", "Sends log messages to whoever wants them"),
    ("test_trigger_tool_change", "Changes the list of tools"),
    ("test_trigger_prompt_change", "Changes the list of prompts"),
    ("test_input_required_result_elicitation", "Asks for a name"),
    ("test_input_required_result_sampling", "Asks for a completion"),
    ("test_input_required_result_list_roots", "Asks for roots"),
    ("test_input_required_result_request_state", "Asks, and wants its state back"),
    ("test_input_required_result_multiple_inputs", "Asks for three things at once"),
    ("test_input_required_result_multi_round", "Asks twice"),
    ("test_input_required_result_tampered_state", "Asks, and looks at the state that comes back"),
    ("test_input_required_result_capabilities", "Asks for what the client can answer"),
    ("failing_job", "A task that fails"),
    ("protocol_error_job", "A task that breaks"),
    ("confirm_delete", "A task that asks once"),
    ("multi_input", "A task that asks two things at once"),
    ("test_tool_with_task", "Asks, then becomes a task"),
    ("greet", "Greets, and is never a task"),
    ("slow_compute", "A task that takes as long as it is told"),
];

pub(crate) fn all() -> Vec<Tool> {
    let plain = PLAIN.into_iter().map(|(name, what)| tool(name, what, json!({"type": "object"})));
    let more = [
        tool("test_sampling", "Asks for a completion", needing("prompt")),
        tool("test_elicitation", "Asks the user", needing("message")),
        tool("test_mirrored_argument", "Has an argument that HTTP repeats in a header", mirrored()),
        tool("json_schema_2020_12_tool", "Has a schema with everything", json_schema()),
    ];
    plain.chain(more).collect()
}

fn tool(name: &'static str, what: &'static str, schema: Value) -> Tool {
    let schema = match schema {
        Value::Object(schema) => schema,
        _ => JsonObject::new(),
    };
    Tool::new(name, what, schema)
}

fn needing(name: &str) -> Value {
    json!({"type": "object", "properties": {name: {"type": "string"}}, "required": [name]})
}

/// SEP-2243.
fn mirrored() -> Value {
    json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
    }})
}

/// SEP-1613 and SEP-2106: keywords that must reach the client as they are.
fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}
