//! The server: which request is answered by which module.

use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
    CompleteResult, CompletionInfo, GetPromptRequestParams, GetPromptResponse, GetTaskParams,
    GetTaskResult, Implementation, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, RequestStateCodec, ServerCapabilities, ServerConfig,
    SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::task_manager::TaskManager;
use rmcp::{ErrorData, RoleServer};
use std::sync::Arc;

use crate::changes::Changes;
use crate::{answers, prompts, resources, rounds, streams, tasks, tools};

/// Whoever tampers with a state must not succeed; who knows the key is of no concern to a fixture.
const STATE_KEY: &[u8; 32] = b"the fixture's key, known to all.";

pub(crate) type Context = RequestContext<RoleServer>;
pub(crate) type Answer<T> = Result<T, ErrorData>;

/// One server for all sessions: tasks and changes are seen by every one of them, because in the
/// stateless era a session is no more than a request.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) changes: Changes,
    pub(crate) tasks: TaskManager,
    pub(crate) states: Arc<RequestStateCodec>,
}

impl Fixture {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let states = Arc::new(RequestStateCodec::try_new(STATE_KEY)?);
        Ok(Self { changes: Changes::default(), tasks: TaskManager::new(), states })
    }
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .build();
        let implementation =
            Implementation::new("vouchsafe-conformance", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities).with_server_info(implementation)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Answer<ListToolsResult> {
        Ok(ListToolsResult::with_all_items(tools::all()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all().into_iter().find(|tool| tool.name == name)
    }

    /// Each module knows its own tools and leaves the others alone.
    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: Context,
    ) -> Answer<CallToolResponse> {
        if let Some(result) = answers::call(&call)? {
            return Ok(result.into());
        }
        if let Some(result) = streams::call(&call, &self.changes, &context).await? {
            return Ok(result.into());
        }
        if let Some(response) = rounds::call(&call, &self.states, &context)? {
            return Ok(response);
        }
        if let Some(response) = tasks::call(&call, &self.tasks, &context).await? {
            return Ok(response);
        }
        Err(ErrorData::invalid_params(format!("Unknown tool: {}", call.name), None))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Answer<ListPromptsResult> {
        prompts::list()
    }

    async fn get_prompt(
        &self,
        prompt: GetPromptRequestParams,
        _: Context,
    ) -> Answer<GetPromptResponse> {
        prompts::get(&prompt)
    }

    async fn complete(&self, _: CompleteRequestParams, _: Context) -> Answer<CompleteResult> {
        let values = ["paris", "park", "party"].map(str::to_owned).to_vec();
        let completion = CompletionInfo::with_all_values(values);
        completion.map(CompleteResult::new).map_err(|error| ErrorData::internal_error(error, None))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Answer<ListResourcesResult> {
        resources::list()
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Answer<ListResourceTemplatesResult> {
        resources::templates()
    }

    async fn read_resource(
        &self,
        asked: ReadResourceRequestParams,
        _: Context,
    ) -> Answer<ReadResourceResponse> {
        resources::read(&asked.uri)
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: Context) -> Answer<()> {
        Ok(())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: Context) -> Answer<()> {
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: Context) -> Answer<()> {
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        self.changes.open();
        Some(requested.clone())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Answer<()> {
        self.changes.tell(&subscription).await;
        Ok(())
    }

    async fn get_task(&self, asked: GetTaskParams, _: Context) -> Answer<GetTaskResult> {
        self.tasks.get_task(&asked.task_id).map(GetTaskResult::new)
    }

    async fn update_task(&self, update: UpdateTaskParams, _: Context) -> Answer<()> {
        self.tasks.update_task(&update.task_id, update.input_responses)
    }

    async fn cancel_task(&self, asked: CancelTaskParams, _: Context) -> Answer<()> {
        self.tasks.cancel_task(&asked.task_id)
    }
}
