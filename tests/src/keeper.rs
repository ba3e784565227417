//! An MCP server with something of everything that belongs to one client: calls in flight, tasks,
//! subscriptions, states. It asks nobody who he is: whoever names a thing gets it, so only what stands
//! before it can keep strangers apart. And it writes down what it hears.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::upstream::{
    Asked, HttpServer, Step, accepted, chunk, end, json as whole, status, stream,
};
use crate::world::binary;

const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// What such a server remembers.
#[derive(Debug)]
pub struct Keeper {
    name: String,
    tasks: usize,
    held: Vec<Value>,
    listening: Vec<Value>,
}

impl Keeper {
    /// Under a name, so that no two of them give the same names to their tasks.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self { name, tasks: 0, held: Vec::new(), listening: Vec::new() }
    }

    /// A message, and what is said to it, the answer last.
    pub fn hears(&mut self, message: &Value) -> Vec<Value> {
        let (id, params) = (&message["id"], &message["params"]);
        let result = match message["method"].as_str().unwrap_or_default() {
            "initialize" => {
                let capabilities =
                    json!({"tools": {}, "resources": {"subscribe": true}, "tasks": {}});
                let about = json!({"name": "keeper", "version": "1"});
                json!({"protocolVersion": params["protocolVersion"], "capabilities": capabilities, "serverInfo": about})
            }
            "notifications/cancelled" => {
                self.held.retain(|held| *held != params["requestId"]);
                self.listening.retain(|listening| listening["id"] != params["requestId"]);
                return Vec::new();
            }
            "tools/list" => {
                let names = ["hold", "release", "task", "touch", "ask"];
                let tools =
                    names.map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
                json!({"tools": tools})
            }
            "tools/call" => return self.call(message),
            "subscriptions/listen" => {
                self.listening.push(message.clone());
                return vec![acknowledged(message)];
            }
            "tasks/result" => text("the result of a task"),
            method if method.starts_with("tasks/") => {
                json!({"resultType": "complete", "taskId": params["taskId"], "status": "working"})
            }
            _ if id.is_null() => return Vec::new(),
            _ => json!({}),
        };
        vec![answer(id, &result)]
    }

    fn call(&mut self, message: &Value) -> Vec<Value> {
        let (id, params) = (&message["id"], &message["params"]);
        let is_stateless = params["_meta"][VERSION].is_string();
        let result = match params["name"].as_str().unwrap_or_default() {
            "hold" => {
                self.held.push(id.clone());
                return progress(params).into_iter().collect();
            }
            "release" => {
                let held = self.held.drain(..).map(|held| answer(&held, &text("released")));
                let mut said: Vec<_> = held.collect();
                said.push(answer(id, &text("done")));
                return said;
            }
            "task" => {
                self.tasks += 1;
                let task = format!("task-{}-{}", self.name, self.tasks);
                match is_stateless {
                    true => json!({"resultType": "task", "taskId": task, "status": "working"}),
                    false => json!({"task": {"taskId": task, "status": "working"}}),
                }
            }
            "touch" => {
                let uri = &params["arguments"]["uri"];
                let listening = self.listening.iter().filter(|listening| listens(listening, uri));
                let mut said: Vec<_> = match is_stateless {
                    true => listening.map(|listening| updated(uri, &listening["id"])).collect(),
                    false => vec![updated(uri, &Value::Null)],
                };
                said.push(answer(id, &text("touched")));
                return said;
            }
            // MCP 2026-07-28: a server that needs something more says so, and what it knows by now.
            _ => match params.get("requestState") {
                None => json!({"resultType": "input_required", "requestState": "step 1"}),
                Some(state) => text(state.as_str().unwrap_or_default()),
            },
        };
        vec![answer(id, &result)]
    }
}

fn answer(id: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn text(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

fn progress(params: &Value) -> Option<Value> {
    let token = params["_meta"].get("progressToken")?;
    let progress = json!({"progressToken": token, "progress": 1});
    Some(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}))
}

fn acknowledged(listen: &Value) -> Value {
    let meta = json!({SUBSCRIPTION_ID: listen["id"]});
    let params = json!({"_meta": meta, "notifications": listen["params"]["notifications"]});
    json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params})
}

fn updated(uri: &Value, subscription: &Value) -> Value {
    let mut params = json!({"uri": uri});
    if !subscription.is_null() {
        params["_meta"] = json!({SUBSCRIPTION_ID: subscription});
    }
    json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params})
}

fn listens(listen: &Value, uri: &Value) -> bool {
    let uris = listen["params"]["notifications"]["resourceSubscriptions"].as_array();
    uris.is_some_and(|uris| uris.contains(uri))
}

/// Where such a server writes down what it hears, and the command that starts one.
#[derive(Debug, Clone)]
pub struct Journal(PathBuf);

impl Journal {
    /// In this folder.
    #[must_use]
    pub fn within(folder: &Path) -> Self {
        Self(folder.join("heard.jsonl"))
    }

    /// The command of a server of lines that writes there.
    #[must_use]
    pub fn command(&self) -> [std::ffi::OsString; 2] {
        [binary("keeper-server").into_os_string(), self.0.clone().into_os_string()]
    }

    /// What all of them have heard.
    #[must_use]
    pub fn heard(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        text.split_inclusive('\n').filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// One such server over HTTP, for all sessions.
#[must_use]
pub fn keeper_over_http() -> HttpServer {
    let (keeper, sessions) = (Mutex::new(Keeper::new("http".to_owned())), AtomicUsize::new(0));
    let (said, _) = watch::channel(Vec::new());
    HttpServer::plain(move |asked| {
        let is_call = |tool: &str| asked.body["params"]["name"] == tool;
        match asked.method() {
            "GET" => return status("405 Method Not Allowed", "", ""),
            "subscriptions/listen" => return listening(asked, &said),
            "tools/call" if is_call("hold") => return holding(asked, &said),
            "tools/call" if is_call("release") => {
                said.send_modify(|said| said.push(RELEASE.into()))
            }
            "tools/call" if is_call("touch") => {
                let uri = asked.body["params"]["arguments"]["uri"].as_str().unwrap();
                said.send_modify(|said| said.push(uri.into()));
            }
            _ => {}
        }
        let mut says = keeper.lock().unwrap().hears(&asked.body);
        let Some(last) = says.pop() else { return accepted() };
        if asked.method() == "initialize" {
            let number = sessions.fetch_add(1, Ordering::Relaxed);
            let headers = format!("Mcp-Session-Id: {number}\r\nContent-Type: application/json\r\n");
            return status("200 OK", &headers, &last.to_string());
        }
        match says.is_empty() {
            true => whole(&last.to_string()),
            false => {
                says.push(last);
                [vec![stream()], says.iter().map(event).collect(), vec![end()]].concat()
            }
        }
    })
}

const RELEASE: &str = "release";

fn event(message: &Value) -> Step {
    chunk(&format!("data: {message}\n\n"))
}

type Said = watch::Sender<Vec<String>>;

/// Until this has been said once more, or twice, from now on.
fn until(said: &Said, word: &str, times: usize) -> Step {
    let so_far = said.borrow().iter().filter(|said| *said == word).count();
    Step::Until(said.subscribe(), word.to_owned(), so_far + times)
}

fn holding(asked: &Asked, said: &Said) -> Vec<Step> {
    let mut steps = vec![stream()];
    steps.extend(progress(&asked.body["params"]).as_ref().map(event));
    let released = answer(&asked.body["id"], &text("released"));
    steps.extend([until(said, RELEASE, 1), event(&released), end()]);
    steps
}

fn listening(asked: &Asked, said: &Said) -> Vec<Step> {
    let mut steps = vec![stream(), event(&acknowledged(&asked.body))];
    let uri = &asked.body["params"]["notifications"]["resourceSubscriptions"][0];
    for times in 1..=3 {
        steps.push(until(said, uri.as_str().unwrap(), times));
        steps.push(event(&updated(uri, &asked.body["id"])));
    }
    steps.push(Step::Wait);
    steps
}
