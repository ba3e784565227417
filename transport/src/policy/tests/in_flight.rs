//! Requests in flight: their ids, their number, their cancellation and progress.

use super::*;

#[test]
fn an_id_in_flight_is_not_used_twice_and_types_of_ids_differ() {
    let mut policy = policy(&["tools:*"]);
    let call = |id: Value| request(id, "tools/call", json!({"name": "a"}));
    policy.passes_from_client(call(json!(1)));
    policy.refuses(call(json!(1)), -32600);
    policy.passes_from_client(call(json!("1")));
    policy.passes_from_server(response(1, json!({})));
    policy.passes_from_client(call(json!(1)));
}

#[test]
fn requests_in_flight_are_limited() {
    let rules = Rules { max_in_flight: 2, ..Rules::default() };
    let mut policy = ClientPolicy::new(held(&[]), Arc::new(rules));
    policy.passes_from_client(request(1, "ping", json!({})));
    policy.passes_from_client(request(2, "ping", json!({})));
    policy.refuses(request(3, "ping", json!({})), -32600);
    policy.passes_from_server(response(1, json!({})));
    policy.passes_from_client(request(3, "ping", json!({})));
}

#[test]
fn cancellation_and_progress_belong_to_requests_in_flight() {
    let mut policy = policy(&["tools:t"]);
    let progress = |token: Value| {
        notification("notifications/progress", json!({"progressToken": token, "progress": 1}))
    };
    let call = json!({"name": "t", "_meta": {"progressToken": "tok"}});
    policy.passes_from_client(request(1, "tools/call", call));
    policy.passes_from_server(progress(json!("tok")));
    assert_eq!(policy.server_says(&progress(json!("other"))), Fate::Dropped);
    assert_eq!(
        policy.client_says(&notification("notifications/cancelled", json!({"requestId": 2}))),
        Fate::Dropped
    );
    policy.passes_from_client(notification("notifications/cancelled", json!({"requestId": 1})));
    assert_eq!(policy.server_says(&progress(json!("tok"))), Fate::Dropped);
    assert_eq!(policy.server_says(&response(1, json!({}))), Fate::Dropped);
}

#[test]
fn an_id_stays_taken_until_a_cancelled_request_is_answered() {
    let mut policy = policy(&["tools:t"]);
    policy.passes_from_client(request(5, "tools/list", json!({})));
    policy.passes_from_client(notification("notifications/cancelled", json!({"requestId": 5})));
    // The answer to the list must not pass as the answer to something that is not filtered.
    policy.refuses(request(5, "ping", json!({})), -32600);
    assert_eq!(
        policy.server_says(&response(5, json!({"tools": [{"name": "hidden"}]}))),
        Fate::Dropped
    );
    policy.passes_from_client(request(5, "ping", json!({})));
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes")]
fn requests_that_were_cancelled_and_never_answered_do_not_block_others() {
    let mut policy = policy(&[]);
    for id in 0..1000 {
        policy.passes_from_client(request(id, "ping", json!({})));
        policy
            .passes_from_client(notification("notifications/cancelled", json!({"requestId": id})));
    }
    policy.passes_from_client(request("next", "ping", json!({})));
}

#[test]
fn requests_that_will_not_be_answered_are_answered_with_an_error() {
    let mut policy = policy(&[]);
    policy.passes_from_client(request("a", "ping", json!({})));
    let answers = policy.abandon("The server ended");
    let answer: Value = serde_json::from_slice(&answers[0]).unwrap();
    assert_eq!((answers.len(), &answer["id"]), (1, &json!("a")));
}
