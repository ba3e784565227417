//! The prompts.

use rmcp::ErrorData;
use rmcp::model::{GetPromptRequestParams, GetPromptResponse, GetPromptResult, ListPromptsResult};
use serde_json::{Value, json};

use crate::answers::{PNG, result};
use crate::fixture::Answer;
use crate::{questions, rounds};

const ROUNDS: &str = "test_input_required_result_prompt";

pub(crate) fn list() -> Answer<ListPromptsResult> {
    let argument =
        |name: &str, what: &str| json!({"name": name, "description": what, "required": true});
    result(json!({"prompts": [
        {"name": "test_simple_prompt", "description": "Always the same"},
        {"name": "test_prompt_with_arguments", "description": "Says its arguments", "arguments": [
            argument("arg1", "First"), argument("arg2", "Second"),
        ]},
        {"name": "test_prompt_with_embedded_resource", "description": "Brings a resource",
            "arguments": [argument("resourceUri", "URI of the resource")]},
        {"name": "test_prompt_with_image", "description": "Brings an image"},
        {"name": ROUNDS, "description": "Asks before it answers"},
    ]}))
}

pub(crate) fn get(prompt: &GetPromptRequestParams) -> Answer<GetPromptResponse> {
    let arguments = prompt.arguments.as_ref();
    let said = |name: &str| arguments.and_then(|it| it.get(name)?.as_str()).unwrap_or_default();
    let messages = match &*prompt.name {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (one, other) = (said("arg1"), said("arg2"));
            vec![text(&format!("Prompt with arguments: arg1='{one}', arg2='{other}'"))]
        }
        "test_prompt_with_embedded_resource" => {
            let resource = json!({
                "uri": said("resourceUri"),
                "mimeType": "text/plain",
                "text": "Embedded resource content for testing.",
            });
            let embedded = json!({"type": "resource", "resource": resource});
            vec![message(embedded), text("Please process the embedded resource above.")]
        }
        "test_prompt_with_image" => {
            let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
            vec![message(image), text("Please analyze the image above.")]
        }
        ROUNDS => match &prompt.input_responses {
            Some(responses) if responses.contains_key("user_context") => {
                vec![text("This prompt knows its context.")]
            }
            _ => {
                let asked = "What context should the prompt use?";
                let properties = json!({"context": {"type": "string"}});
                let question = questions::elicitation(asked, &properties, &["context"]);
                return Ok(rounds::missing(json!({"user_context": question}), None)?.into());
            }
        },
        name => return Err(ErrorData::invalid_params(format!("Unknown prompt: {name}"), None)),
    };
    Ok(result::<GetPromptResult>(json!({"messages": messages}))?.into())
}

fn message(content: Value) -> Value {
    json!({"role": "user", "content": content})
}

fn text(text: &str) -> Value {
    message(json!({"type": "text", "text": text}))
}
