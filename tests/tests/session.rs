//! A session from handshake to end, over real TLS and real children.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so"
)]

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use vouchsafe_tests::{Client, World, binary, command, eventually};
use vouchsafe_transport::{Service, Upstream};

#[tokio::test]
async fn an_agent_sees_and_uses_what_its_certificate_permits() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut client = Client::connect(gateway.address, &world.agent("a", &["tools:echo"])).await;
    let listed = client.request("tools/list", json!({})).await.unwrap().unwrap();
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 1);
    assert_eq!(client.call("echo", json!({"text": "hello"})).await, "hello");
    let denied = client.try_call("environment", json!({})).await.unwrap().unwrap();
    assert_eq!(denied["error"], json!({"code": -32602, "message": "Unknown tool: environment"}));

    client.close().await;
    let closed = gateway.wait_for("closed", "client closed").await;
    assert_eq!(closed["calls"], 2);
    let events = gateway.events();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["opened", "allowed", "answered", "allowed", "answered", "denied", "closed"]);
    let denied = &events[5];
    assert_eq!(denied["principal"], "spiffe://acme.example/a");
    assert_eq!((&denied["method"], &denied["name"]), (&json!("tools/call"), &json!("environment")));
    assert!(!std::fs::read_to_string(&gateway.audit).unwrap().contains("hello"));
}

#[tokio::test]
async fn a_child_gets_a_clean_environment_that_names_its_principal() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let agent = world.agent("team/a", &["tools:*", "prompts:p"]);
    let mut client = Client::connect(gateway.address, &agent).await;
    let environment = client.call("environment", json!({})).await;
    let allowed = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SHELL"];
    // The permissions stand one a line.
    let environment = environment.replace("prompts:p\ntools:*", "prompts:p");
    for line in environment.lines() {
        let (name, value) = line.split_once('=').unwrap();
        match name {
            "VOUCHSAFE_PRINCIPAL" => assert_eq!(value, "spiffe://acme.example/team/a"),
            "VOUCHSAFE_PERMISSIONS" => assert_eq!(value, "prompts:p"),
            "VOUCHSAFE_SERIAL" => assert_eq!(value, agent.certificate.serial.to_string()),
            // The child sets it itself where it is built to be measured (tests/coverage).
            "__LLVM_PROFILE_RT_INIT_ONCE" => {}
            other => assert!(allowed.contains(&other), "{line}"),
        }
    }
    assert!(environment.contains("VOUCHSAFE_PRINCIPAL="));
}

#[tokio::test]
async fn a_server_that_prints_to_stdout_and_floods_stderr_does_no_harm() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut client = Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await;
    assert_eq!(client.call("junk", json!({})).await, "said junk");
    assert_eq!(client.call("flood_stderr", json!({})).await, "flooded");
    assert_eq!(client.call("large", json!({"octets": 9_000_000})).await.len(), 9_000_000);
    client.close().await;
    assert_eq!(gateway.wait_for("closed", "client closed").await["junk"], 2);
}

#[tokio::test]
async fn requests_in_flight_are_answered_when_the_server_leaves() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let mut client = Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await;
    let answer = client.try_call("leave", json!({})).await.unwrap().unwrap();
    assert_eq!(answer["error"]["message"], "The server ended");
    assert_eq!(client.ending().await, "closed");
}

#[tokio::test]
async fn a_server_that_cannot_be_started_is_said_so() {
    let world = World::new();
    let gateway = world.gateway(|config| config.upstream = command(&["/does/not/exist"])).await;
    let mut client = Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await;
    let told = client.line().await.unwrap().unwrap();
    assert_eq!(told["error"]["message"], "The session is closed: the server could not be started");
    assert_eq!(client.ending().await, "closed");
}

#[tokio::test]
async fn no_process_outlives_its_session() {
    let world = World::new();
    let mark = format!("{}", world.folder().display());
    let script = format!("echo {mark} >/dev/null; sleep 1000 & cat >/dev/null; sleep 1000");
    let gateway = world
        .gateway(|config| {
            config.upstream = command(&["sh", "-c", &script]);
            config.limits.child_grace = Duration::from_millis(100);
        })
        .await;
    let agent = world.agent("a", &["tools:*"]);
    let client = Client::connect(gateway.address, &agent).await;
    let _other = Client::connect(gateway.address, &agent).await;
    wait_until(|| processes_with(&mark) == 2).await;
    // One session ends by its client, the other with the gateway.
    drop(client);
    wait_until(|| processes_with(&mark) == 1).await;
    gateway.stop().await;
    assert_eq!(processes_with(&mark), 0);
}

#[tokio::test]
async fn what_a_server_leaves_behind_goes_with_its_session() {
    let world = World::new();
    let mark = format!("{}", world.folder().display());
    let server = binary("echo-server");
    let script = format!("sh -c 'echo {mark} >/dev/null; sleep 1000' & exec {}", server.display());
    let gateway = world.gateway(|config| config.upstream = command(&["sh", "-c", &script])).await;
    let mut client = Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await;
    client.call("echo", json!({"text": "x"})).await;
    // A shell that is just starting another process is two of the same name for a moment.
    wait_until(|| processes_with(&mark) == 1).await;
    // The server itself leaves when its stdin is closed.
    client.close().await;
    wait_until(|| processes_with(&mark) == 0).await;
}

#[tokio::test]
async fn a_place_is_free_again_only_when_its_child_is_gone() {
    let world = World::new();
    let gateway = world
        .gateway(|config| {
            config.upstream = command(&["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]);
            config.limits.sessions_per_principal = 1;
            config.limits.child_grace = Duration::from_millis(500);
        })
        .await;
    let agent = world.agent("a", &["tools:*"]);
    drop(Client::connect(gateway.address, &agent).await);
    gateway.wait_for("closed", "client broke off").await;
    let told = Client::connect(gateway.address, &agent).await.line().await.unwrap().unwrap();
    assert_eq!(told["error"]["code"], 429);
    // Two graces later it has been killed.
    for _ in 0..100 {
        let mut client = Client::connect(gateway.address, &agent).await;
        let read = client.line();
        if tokio::time::timeout(Duration::from_millis(100), read).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the place was never free again");
}

#[tokio::test]
async fn a_client_that_reads_nothing_and_then_breaks_a_limit_is_let_go() {
    let world = World::new();
    let gateway = world
        .gateway(|config| {
            config.limits.line = 1024 * 1024;
            config.limits.drain = Duration::from_millis(500);
            config.limits.write = Duration::from_secs(30);
        })
        .await;
    let mut client = Client::connect(gateway.address, &world.agent("a", &["tools:*"])).await;
    for id in 0..40 {
        let params = json!({"name": "large", "arguments": {"octets": 900_000}});
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        client.write(format!("{call}\n").as_bytes()).await.unwrap();
    }
    // By the time the first is answered, the gateway writes to a client that does not read.
    wait_until(|| gateway.events().iter().any(|event| event["event"] == "answered")).await;
    client.write(&vec![b'x'; 1024 * 1024]).await.unwrap();
    gateway.wait_for("closed", "longer than").await;
}

async fn wait_until(condition: impl Fn() -> bool) {
    let came_about = eventually(|| condition().then_some(())).await;
    came_about.unwrap_or_else(|| panic!("it did not come about"));
}

fn processes_with(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(mark)).count()
}

#[tokio::test]
async fn sessions_are_limited_and_the_one_too_many_is_told() {
    let world = World::new();
    let gateway = world
        .gateway(|config| {
            config.limits.sessions_per_principal = 1;
            config.limits.sessions = 2;
        })
        .await;
    let (a, b, c) =
        (world.agent("a", &["tools:*"]), world.agent("b", &["tools:*"]), world.agent("c", &[]));
    let mut first = Client::connect(gateway.address, &a).await;
    first.call("echo", json!({"text": "x"})).await;
    let told = Client::connect(gateway.address, &a).await.line().await.unwrap().unwrap();
    assert_eq!(
        told["error"]["message"],
        "The session is closed: this principal has too many sessions open"
    );
    let mut second = Client::connect(gateway.address, &b).await;
    second.call("echo", json!({"text": "x"})).await;
    let told = Client::connect(gateway.address, &c).await.line().await.unwrap().unwrap();
    assert_eq!(told["error"]["message"], "The session is closed: too many sessions are open");
    // A place that was left can be taken.
    drop(first);
    gateway.wait_for("closed", "client broke off").await;
    Client::connect(gateway.address, &a).await.call("echo", json!({"text": "x"})).await;
}

#[tokio::test]
async fn a_revoked_device_is_cut_in_mid_session_and_refused_at_the_door() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let (stolen, other) = (world.agent("stolen", &["tools:*"]), world.agent("other", &["tools:*"]));
    let mut live = Client::connect(gateway.address, &stolen).await;
    let mut stays = Client::connect(gateway.address, &other).await;
    live.call("echo", json!({"text": "x"})).await;
    stays.call("echo", json!({"text": "x"})).await;
    world.revoke("stolen");
    live.ending().await;
    gateway.wait_for("cut", "revoked").await;
    let again = Client::connect(gateway.address, &stolen).await.ending().await;
    assert_eq!(again, "received fatal alert: CertificateRevoked");
    gateway.wait_for("refused", "revoked").await;
    stays.call("echo", json!({"text": "still here"})).await;
}

#[tokio::test]
async fn a_session_ends_with_its_certificate() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let agent = world.short_lived_agent("brief", &["tools:*"], "2s");
    let mut client = Client::connect(gateway.address, &agent).await;
    client.call("echo", json!({"text": "x"})).await;
    client.ending().await;
    gateway.wait_for("cut", "expired").await;
    let again = Client::connect(gateway.address, &agent).await.ending().await;
    assert_eq!(again, "received fatal alert: CertificateExpired");
}

/// An MCP server within the process that echoes, says when it is gone, and when asked to ends.
fn service(gone: mpsc::UnboundedSender<String>) -> Upstream {
    Upstream::Service(Service::new(move |peer, stream| {
        let leaving = Leaving(peer.principal.name().to_owned(), gone.clone());
        async move {
            let _leaving = leaving;
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.is_ok_and(|len| len > 0) {
                let request: serde_json::Value = serde_json::from_str(&line).unwrap();
                let name = request["params"]["name"].as_str().unwrap_or_default();
                match name {
                    "leave" => return,
                    "panic" => panic!("as the test asks for"),
                    "linger" => std::future::pending().await,
                    _ => {}
                }
                let content = json!([{"type": "text", "text": peer.principal.to_string()}]);
                let answer = json!({
                    "jsonrpc": "2.0", "id": request["id"], "result": {"content": content},
                });
                stream.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
                line.clear();
            }
        }
    }))
}

/// Tells of its end.
struct Leaving(String, mpsc::UnboundedSender<String>);

impl Drop for Leaving {
    fn drop(&mut self) {
        drop(self.1.send(std::mem::take(&mut self.0)));
    }
}

#[tokio::test]
async fn a_service_within_the_process_stands_behind_the_same_policy_and_the_same_cuts() {
    let world = World::new();
    let (gone, mut left) = mpsc::unbounded_channel();
    let gateway = world.gateway(|config| config.upstream = service(gone)).await;
    let permissions = ["tools:who", "tools:linger"];
    let mut polite = Client::connect(gateway.address, &world.agent("polite", &permissions)).await;
    assert_eq!(polite.call("who", json!({})).await, "spiffe://acme.example/polite");
    let denied = polite.try_call("leave", json!({})).await.unwrap().unwrap();
    assert_eq!(denied["error"]["message"], "Unknown tool: leave");
    // The end of what the client says reaches the service as the end of its stream.
    polite.close().await;
    assert_eq!(left.recv().await.unwrap(), "polite");

    // A service that is at work is dropped where it waits once its client is not trusted any more.
    let mut stolen = Client::connect(gateway.address, &world.agent("stolen", &permissions)).await;
    stolen.call("who", json!({})).await;
    let call =
        json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "linger"}});
    stolen.write(format!("{call}\n").as_bytes()).await.unwrap();
    world.revoke("stolen");
    assert_eq!(left.recv().await.unwrap(), "stolen");
    gateway.wait_for("cut", "revoked").await;
}

#[tokio::test]
async fn a_service_that_leaves_or_panics_ends_its_session_alone() {
    let world = World::new();
    let (gone, mut left) = mpsc::unbounded_channel();
    let gateway = world.gateway(|config| config.upstream = service(gone)).await;
    let agent = world.agent("a", &["tools:*"]);
    let mut other = Client::connect(gateway.address, &world.agent("other", &["tools:*"])).await;
    for end in ["leave", "panic"] {
        let mut client = Client::connect(gateway.address, &agent).await;
        let answer = client.try_call(end, json!({})).await.unwrap().unwrap();
        assert_eq!(answer["error"]["message"], "The server ended");
        assert_eq!(client.ending().await, "closed");
        assert_eq!(left.recv().await.unwrap(), "a");
    }
    assert_eq!(other.call("who", json!({})).await, "spiffe://acme.example/other");
}

#[tokio::test]
async fn a_service_that_does_not_end_by_itself_is_ended_and_holds_its_place_until_then() {
    let world = World::new();
    let (gone, mut left) = mpsc::unbounded_channel();
    let gateway = world
        .gateway(|config| {
            config.upstream = service(gone);
            config.limits.sessions_per_principal = 1;
            config.limits.drain = Duration::from_millis(50);
            config.limits.child_grace = Duration::from_millis(400);
        })
        .await;
    let agent = world.agent("a", &["tools:*"]);
    let mut client = Client::connect(gateway.address, &agent).await;
    let call =
        json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "linger"}});
    client.write(format!("{call}\n").as_bytes()).await.unwrap();
    gateway.wait_until(|events| events.iter().any(|event| event["event"] == "allowed")).await;
    client.close().await;
    let mut second = Client::connect(gateway.address, &agent).await;
    let told = second.line().await.unwrap().unwrap();
    assert!(told["error"]["message"].as_str().unwrap().contains("too many sessions"), "{told}");
    assert_eq!(left.recv().await.unwrap(), "a");
    let mut third = Client::connect(gateway.address, &agent).await;
    assert_eq!(third.call("who", json!({})).await, "spiffe://acme.example/a");
    gateway.stop().await;
}
