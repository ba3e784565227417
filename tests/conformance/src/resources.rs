//! The resources.

use rmcp::ErrorData;
use rmcp::model::{
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResponse, ReadResourceResult,
};
use serde_json::json;

use crate::answers::{PNG, result};
use crate::fixture::Answer;

pub(crate) fn list() -> Answer<ListResourcesResult> {
    result(json!({"resources": [
        {"uri": "test://static-text", "name": "text", "description": "Some text",
            "mimeType": "text/plain"},
        {"uri": "test://static-binary", "name": "binary", "description": "An image",
            "mimeType": "image/png"},
        {"uri": "test://watched-resource", "name": "watched", "description": "To be subscribed to",
            "mimeType": "text/plain"},
    ]}))
}

pub(crate) fn templates() -> Answer<ListResourceTemplatesResult> {
    result(json!({"resourceTemplates": [
        {"uriTemplate": "test://template/{id}/data", "name": "template", "description": "By number",
            "mimeType": "application/json"},
    ]}))
}

pub(crate) fn read(uri: &str) -> Answer<ReadResourceResponse> {
    let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
    let contents = match uri {
        "test://static-text" => json!({"uri": uri, "mimeType": "text/plain",
            "text": "This is the content of the static text resource."}),
        "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": PNG}),
        "test://watched-resource" => json!({"uri": uri, "mimeType": "text/plain", "text": "calm"}),
        _ => {
            let id = id.ok_or_else(|| {
                ErrorData::resource_not_found("Resource not found", Some(json!({"uri": uri})))
            })?;
            let data =
                json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            json!({"uri": uri, "mimeType": "application/json", "text": data.to_string()})
        }
    };
    Ok(result::<ReadResourceResult>(json!({"contents": [contents]}))?.into())
}
