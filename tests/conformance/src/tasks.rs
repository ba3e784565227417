//! Tools that may take longer than a client wants to wait (SEP-2663): they answer with a task, whose
//! result is asked for later.

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
    CreateTaskResult, InputRequest,
};
use rmcp::task_manager::{TaskContext, TaskExit, TaskFuture, TaskManager, TaskOptions};
use serde_json::Value;
use tokio::time::sleep;

use crate::answers::{argument, of, text};
use crate::fixture::{Answer, Context};
use crate::{questions, rounds};

/// How long a job takes that fails.
const JOB: Duration = Duration::from_millis(200);

pub(crate) async fn call(
    call: &CallToolRequestParams,
    tasks: &TaskManager,
    context: &Context,
) -> Answer<Option<CallToolResponse>> {
    let may_be_task = context.client_capabilities().is_some_and(|it| it.supports_tasks());
    let task = |work: TaskFuture| {
        let task = tasks.spawn(TaskOptions::new().with_poll_interval_ms(200), |_| work);
        CallToolResponse::from(CreateTaskResult::new(task))
    };
    let response = match &*call.name {
        // The one that does without a task where the client knows none.
        "slow_compute" if !may_be_task => {
            sleep(seconds(call)).await;
            text("computed").into()
        }
        "slow_compute" => {
            let duration = seconds(call);
            spawn(tasks, move |task| Box::pin(compute(task, duration)))
        }
        "failing_job"
        | "protocol_error_job"
        | "confirm_delete"
        | "multi_input"
        | "test_tool_with_task"
            if !may_be_task =>
        {
            let required = ClientCapabilities::builder().enable_tasks().build();
            return Err(ErrorData::missing_required_client_capability(required));
        }
        "failing_job" => task(Box::pin(async {
            sleep(JOB).await;
            Ok(CallToolResult::error(vec![ContentBlock::text("the job failed")]))
        })),
        "protocol_error_job" => task(Box::pin(async {
            sleep(JOB).await;
            Err(TaskExit::Error(ErrorData::internal_error("the job broke", None)))
        })),
        "confirm_delete" => spawn(tasks, |task| Box::pin(ask(task, &["confirm"]))),
        "multi_input" => spawn(tasks, |task| Box::pin(ask(task, &["first", "second"]))),
        "test_tool_with_task" => match rounds::name_in(call.input_responses.as_ref()) {
            Some(name) => {
                let greeting = format!("Hello, {name}!");
                task(Box::pin(async { Ok(text(greeting)) }))
            }
            None => {
                let question = serde_json::json!({"user_name": questions::name()});
                rounds::missing(question, None)?.into()
            }
        },
        _ => return Ok(None),
    };
    Ok(Some(response))
}

fn spawn(tasks: &TaskManager, work: impl FnOnce(TaskContext) -> TaskFuture) -> CallToolResponse {
    let task = tasks.spawn(TaskOptions::new().with_poll_interval_ms(200), work);
    CreateTaskResult::new(task).into()
}

fn seconds(call: &CallToolRequestParams) -> Duration {
    Duration::from_secs(argument(call, "seconds").and_then(Value::as_u64).unwrap_or_default())
}

async fn compute(task: TaskContext, duration: Duration) -> Result<CallToolResult, TaskExit> {
    tokio::select! {
        () = task.cancelled() => Err(TaskExit::Cancelled),
        () = sleep(duration) => Ok(text("computed")),
    }
}

/// Asks everything at once and waits for the last answer.
async fn ask(task: TaskContext, keys: &[&str]) -> Result<CallToolResult, TaskExit> {
    let mut asked = tokio::task::JoinSet::new();
    for key in keys {
        let question: InputRequest = of(questions::confirmation("Go on?", "confirm"))?;
        let (task, key) = (task.clone(), (*key).to_owned());
        asked.spawn(async move { task.request_input(key, question).await });
    }
    for answer in asked.join_all().await {
        answer?;
    }
    Ok(text("confirmed"))
}
