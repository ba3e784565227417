//! Tools whose answer is always the same.

use rmcp::model::{CallToolRequestParams, CallToolResult};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::fixture::Answer;

/// A red dot.
pub(crate) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";

/// A moment of silence.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

pub(crate) fn call(call: &CallToolRequestParams) -> Answer<Option<CallToolResult>> {
    let content = match &*call.name {
        "test_simple_text" => {
            json!([{"type": "text", "text": "This is a simple text response for testing."}])
        }
        "test_image_content" => json!([{"type": "image", "data": PNG, "mimeType": "image/png"}]),
        "test_audio_content" => json!([{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]),
        "test_embedded_resource" => json!([{"type": "resource", "resource": {
            "uri": "test://embedded-resource",
            "mimeType": "text/plain",
            "text": "This is an embedded resource content.",
        }}]),
        "test_multiple_content_types" => json!([
            {"type": "text", "text": "Multiple content types test:"},
            {"type": "image", "data": PNG, "mimeType": "image/png"},
            {"type": "resource", "resource": {
                "uri": "test://mixed-content-resource",
                "mimeType": "application/json",
                "text": r#"{"test":"data","value":123}"#,
            }},
        ]),
        "test_error_handling" => {
            let text = "This tool intentionally returns an error for testing";
            return result(json!({"isError": true, "content": [{"type": "text", "text": text}]}))
                .map(Some);
        }
        "json_schema_2020_12_tool" | "test_mirrored_argument" => {
            let told = serde_json::to_string(&call.arguments).unwrap_or_default();
            json!([{"type": "text", "text": told}])
        }
        "greet" => {
            let name = argument(call, "name").and_then(Value::as_str).unwrap_or("nobody");
            json!([{"type": "text", "text": format!("Hello, {name}!")}])
        }
        _ => return Ok(None),
    };
    result(json!({"content": content})).map(Some)
}

pub(crate) fn argument<'a>(call: &'a CallToolRequestParams, name: &str) -> Option<&'a Value> {
    call.arguments.as_ref()?.get(name)
}

/// A result that is complete: what earlier eras do not know of it, rmcp takes out for them.
pub(crate) fn result<T: DeserializeOwned>(mut json: Value) -> Answer<T> {
    if let Some(result) = json.as_object_mut() {
        result.insert("resultType".to_owned(), "complete".into());
    }
    of(json)
}

/// A typed value from the JSON that the suite describes.
pub(crate) fn of<T: DeserializeOwned>(json: Value) -> Answer<T> {
    serde_json::from_value(json)
        .map_err(|error| rmcp::ErrorData::internal_error(error.to_string(), None))
}

/// The string at a JSON pointer (RFC 6901) of what a client has answered.
pub(crate) fn string<'a>(answer: &'a Value, pointer: &str) -> Option<&'a str> {
    answer.pointer(pointer)?.as_str()
}

pub(crate) fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![rmcp::model::ContentBlock::text(text)])
}
