//! Tools and a prompt that need more than one round (SEP-2322): the first answer says what is
//! missing, the client brings it with the next request.

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, InputRequiredResult,
    InputResponses, RequestStateCodec,
};
use serde_json::{Map, Value, json};

use crate::answers::{of, string, text};
use crate::fixture::{Answer, Context};
use crate::questions;

pub(crate) fn call(
    call: &CallToolRequestParams,
    states: &RequestStateCodec,
    context: &Context,
) -> Answer<Option<CallToolResponse>> {
    let responses = call.input_responses.as_ref();
    let response = match &*call.name {
        "test_input_required_result_elicitation" | "test_streaming_elicitation" => {
            match name_in(responses) {
                Some(name) => text(format!("Hello, {name}!")).into(),
                None => missing(json!({"user_name": questions::name()}), None)?.into(),
            }
        }
        "test_input_required_result_sampling" => match given(responses, "capital_question") {
            Some(answer) => text(string(answer, "/content/text").unwrap_or_default()).into(),
            None => {
                let question = questions::sampling("What is the capital of France?", 100);
                missing(json!({"capital_question": question}), None)?.into()
            }
        },
        "test_input_required_result_list_roots" => match given(responses, "client_roots") {
            Some(answer) => text(format!("The roots are {answer}")).into(),
            None => missing(json!({"client_roots": questions::roots()}), None)?.into(),
        },
        "test_input_required_result_request_state"
        | "test_input_required_result_tampered_state" => confirmed(call, states)?,
        "test_input_required_result_multiple_inputs" => several(call, states)?,
        "test_input_required_result_multi_round" => step_by_step(call, states)?,
        "test_input_required_result_capabilities" => {
            let capable = context.client_capabilities().unwrap_or_default();
            missing(questions_for(&capable), None)?.into()
        }
        _ => return Ok(None),
    };
    Ok(Some(response))
}

/// What is missing, and the state that is to come back with it.
pub(crate) fn missing(questions: Value, state: Option<String>) -> Answer<InputRequiredResult> {
    Ok(InputRequiredResult::new(Some(of(questions)?), state))
}

/// The name that was asked for, if the answer holds one.
pub(crate) fn name_in(responses: Option<&InputResponses>) -> Option<&str> {
    string(given(responses, "user_name")?, "/content/name")
}

fn given<'a>(responses: Option<&'a InputResponses>, key: &str) -> Option<&'a Value> {
    responses?.get(key).filter(|answer| answer.is_object())
}

/// A state that comes back as it went out. One that nobody here sealed is an error, not a question.
fn opened(call: &CallToolRequestParams, states: &RequestStateCodec) -> Answer<Option<String>> {
    let Some(sealed) = &call.request_state else { return Ok(None) };
    let open = states.open_with(sealed, call.name.as_bytes());
    let state = open.map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
    Ok(Some(String::from_utf8_lossy(&state).into_owned()))
}

fn sealed(call: &CallToolRequestParams, states: &RequestStateCodec, state: &str) -> String {
    let bound = rmcp::model::SealOptions::new().associated_data(call.name.as_bytes());
    states.seal_with(state.as_bytes(), &bound)
}

fn confirmed(call: &CallToolRequestParams, states: &RequestStateCodec) -> Answer<CallToolResponse> {
    let state = opened(call, states)?;
    if state.is_some() && given(call.input_responses.as_ref(), "confirm").is_some() {
        return Ok(text("state-ok").into());
    }
    let question = json!({"confirm": questions::confirmation("Please confirm", "ok")});
    Ok(missing(question, Some(sealed(call, states, "asked")))?.into())
}

fn several(call: &CallToolRequestParams, states: &RequestStateCodec) -> Answer<CallToolResponse> {
    let questions = json!({
        "user_name": questions::name(),
        "greeting": questions::sampling("Generate a greeting", 50),
        "client_roots": questions::roots(),
    });
    let responses = call.input_responses.as_ref();
    let mut keys = questions.as_object().into_iter().flat_map(Map::keys);
    if opened(call, states)?.is_some() && keys.all(|key| given(responses, key).is_some()) {
        return Ok(text("everything is there").into());
    }
    Ok(missing(questions, Some(sealed(call, states, "asked")))?.into())
}

/// Each round's state holds what the rounds before have brought.
fn step_by_step(
    call: &CallToolRequestParams,
    states: &RequestStateCodec,
) -> Answer<CallToolResponse> {
    let responses = call.input_responses.as_ref();
    let answer = |step, what| given(responses, step).and_then(|answer| string(answer, what));
    let state = opened(call, states)?.unwrap_or_default();
    let name = match state.strip_prefix("step2 ") {
        Some(name) => Some(name.to_owned()),
        None => answer("step1", "/content/name").filter(|_| state == "step1").map(str::to_owned),
    };
    let Some(name) = name else {
        let properties = json!({"name": {"type": "string"}});
        let asked = "Step 1: What is your name?";
        let question = json!({"step1": questions::elicitation(asked, &properties, &["name"])});
        return Ok(missing(question, Some(sealed(call, states, "step1")))?.into());
    };
    match answer("step2", "/content/color") {
        Some(colour) if state != "step1" => Ok(text(format!("{name} likes {colour}")).into()),
        _ => {
            let properties = json!({"color": {"type": "string"}});
            let asked = "Step 2: What is your favorite color?";
            let question = json!({"step2": questions::elicitation(asked, &properties, &["color"])});
            let state = sealed(call, states, &format!("step2 {name}"));
            Ok(missing(question, Some(state))?.into())
        }
    }
}

/// Nothing is asked of a client that has not said it can answer.
fn questions_for(capable: &ClientCapabilities) -> Value {
    let mut questions = Map::new();
    if capable.elicitation.is_some() {
        questions.insert("user_name".to_owned(), questions::name());
    }
    if capable.sampling.is_some() {
        questions.insert("greeting".to_owned(), questions::sampling("Generate a greeting", 50));
    }
    if capable.roots.is_some() {
        questions.insert("client_roots".to_owned(), questions::roots());
    }
    questions.into()
}
