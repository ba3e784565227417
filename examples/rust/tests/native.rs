//! The server and the client of these examples, with each other: both as the processes they are.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say so")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use vouchsafe_tests::World;

/// How long the server may take to see that its list file is another.
const PATIENCE: Duration = Duration::from_secs(20);

struct Scene {
    world: World,
    server: Child,
    address: String,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

impl Scene {
    fn new() -> Self {
        let world = World::new();
        let mut server = Command::new(env!("CARGO_BIN_EXE_notes-server"))
            .arg(world.directory(&world.server("notes", &[])))
            .args([world.home().join("crl.pem").to_str().unwrap(), "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut says = BufReader::new(server.stderr.take().unwrap()).lines();
        let first = says.next().unwrap().unwrap();
        let address = first.strip_prefix("listening on 127.0.0.1").unwrap();
        let address = format!("localhost{address}");
        // The rest is the audit; whoever does not read it holds up every call.
        std::thread::spawn(move || says.for_each(drop));
        Self { world, server, address }
    }

    fn agent(&self, name: &str, permissions: &[&str]) -> PathBuf {
        self.world.directory(&self.world.agent(name, permissions))
    }

    fn run(&self, agent: &PathBuf, tool: &str, arguments: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_notes-client"))
            .arg(agent)
            .arg(self.world.home().join("crl.pem"))
            .args([&self.address, tool, arguments])
            .output()
            .unwrap()
    }

    /// What the tool answers.
    fn call(&self, agent: &PathBuf, tool: &str, arguments: &str) -> String {
        let Output { status, stdout, stderr } = self.run(agent, tool, arguments);
        assert!(status.success(), "{}", String::from_utf8(stderr).unwrap());
        String::from_utf8(stdout).unwrap().trim_end().to_owned()
    }

    /// Why there is no answer.
    fn fail(&self, agent: &PathBuf, tool: &str, arguments: &str) -> Option<String> {
        let Output { status, stderr, .. } = self.run(agent, tool, arguments);
        (!status.success()).then(|| String::from_utf8(stderr).unwrap())
    }
}

#[test]
fn a_handler_knows_who_calls_and_the_gateway_whom_it_lets_call() {
    let scene = Scene::new();
    let alice = scene.agent("alice", &["tools:*"]);
    let bob = scene.agent("bob", &["tools:read_note", "tools:write_note"]);

    assert_eq!(scene.call(&alice, "whoami", "{}"), "spiffe://acme.example/alice with tools:*");
    let plan = r#"{"title": "plan", "text": "We launch in May."}"#;
    assert_eq!(scene.call(&alice, "write_note", plan), r#"wrote "plan""#);
    assert_eq!(scene.call(&bob, "read_note", r#"{"title": "plan"}"#), "We launch in May.");

    // The gateway asks for a permission, the handler for the author.
    let hidden = scene.fail(&bob, "whoami", "{}").unwrap();
    assert!(hidden.contains("Unknown tool: whoami"), "{hidden}");
    let other = r#"{"title": "plan", "text": "Never."}"#;
    let said = scene.call(&bob, "write_note", other);
    assert_eq!(said, r#""plan" is by spiffe://acme.example/alice"#);
}

#[test]
fn a_server_of_ones_own_follows_its_revocation_lists() {
    let scene = Scene::new();
    let alice = scene.agent("alice", &["tools:*"]);
    let bob = scene.agent("bob", &["tools:*"]);
    scene.call(&alice, "whoami", "{}");

    scene.world.revoke("alice");
    let begun = Instant::now();
    let refused = loop {
        if let Some(refused) = scene.fail(&alice, "whoami", "{}") {
            break refused;
        }
        assert!(begun.elapsed() < PATIENCE, "the revocation did not arrive");
    };
    assert!(refused.contains("its certificate is revoked"), "{refused}");
    scene.call(&bob, "whoami", "{}");
}
