//! The commands of a session, as somebody at a terminal meets them: what they say, and how they end.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
mod serving;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use home::{Home, VOUCHSAFE};
use lines::PATIENCE;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use serving::{Serving, Talk, replace};

/// A CA, a gateway's identity `gw`, and agents.
fn cast(agents: &[(&str, &[&str])]) -> Home {
    let home = Home::new();
    let server = ["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"];
    home.run(&server);
    for (name, permissions) in agents {
        issue(&home, name, permissions);
    }
    home
}

fn issue(home: &Home, name: &str, permissions: &[&str]) {
    let mut arguments = vec!["issue", name];
    for permission in permissions {
        arguments.extend(["--allow", permission]);
    }
    home.run(&arguments);
}

/// How a command ended, and what it said: standard output, standard error.
fn run(home: &Home, arguments: &[&str]) -> (i32, String, String) {
    let command = home.command(VOUCHSAFE).args(arguments).spawn().unwrap();
    let process = Pid::from_child(&command);
    let (ended, has_ended) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if has_ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            // Whoever waits for it sees that it was killed.
            let _ = kill_process(process, Signal::KILL);
        }
    });
    let output = command.wait_with_output().unwrap();
    drop(ended);
    let text = |octets| String::from_utf8(octets).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    let code = output.status.code();
    (code.unwrap_or_else(|| panic!("{arguments:?} did not end: {stderr}")), stdout, stderr)
}

/// One command of `call` or `tools` against a gateway.
fn at(
    home: &Home,
    serving: &Serving,
    verb: &str,
    agent: &str,
    more: &[&str],
) -> (i32, String, String) {
    run(home, &[&[verb, &serving.address, "--identity", agent], more].concat())
}

fn said(text: &str) -> (i32, String, String) {
    (0, text.to_owned(), String::new())
}

fn failed(code: i32, text: &str) -> (i32, String, String) {
    (code, String::new(), text.to_owned())
}

const PLAN: &str = r#"{"title":"launch plan"}"#;

#[test]
fn each_agent_uses_what_its_certificate_permits() {
    let home = cast(&[("reader", &["tools:read_*"]), ("editor", &["tools:*"]), ("idle", &[])]);
    let serving = Serving::notes(&home, &[]);
    let (_, said_first) = serving.says.wait_for(0, "  as ");
    assert!(said_first.starts_with("  as          spiffe://acme.example/gw"), "{said_first}");
    let tools = |agent| at(&home, &serving, "tools", agent, &[]);
    assert_eq!(tools("reader"), said("TOOL       DESCRIPTION\nread_note  The text of a note\n"));
    assert_eq!(
        tools("editor"),
        said(
            "TOOL          DESCRIPTION
delete_note   Delete a note for good
read_note     The text of a note
search_notes  Titles of the notes that hold a text
"
        )
    );
    let none = "no tools: this certificate permits none of those that the server has\n";
    assert_eq!(tools("idle"), said(none));

    let call = |agent, more: &[&str]| at(&home, &serving, "call", agent, more);
    assert_eq!(call("reader", &["read_note", PLAN]), said("We launch on the first of May.\n"));
    let unknown = "error: Unknown tool: delete_note (code -32602)\n";
    assert_eq!(call("reader", &["delete_note", PLAN]), failed(1, unknown));
    let unknown = "error: Unknown tool: no_such_tool (code -32602)\n";
    assert_eq!(call("reader", &["no_such_tool"]), failed(1, unknown));
    // Each session has a server of its own, so nothing that one deletes is missing from another.
    assert_eq!(call("editor", &["delete_note", PLAN]), said("deleted \"launch plan\"\n"));
    assert_eq!(call("reader", &["read_note", PLAN]), said("We launch on the first of May.\n"));

    let json = |run: (i32, String, String)| -> Value {
        assert_eq!((run.0, run.2.as_str()), (0, ""));
        serde_json::from_str(&run.1).unwrap()
    };
    let tools = json(at(&home, &serving, "tools", "reader", &["--json"]));
    assert_eq!(tools[0]["name"], "read_note");
    assert_eq!(tools[0]["inputSchema"]["required"], json!(["title"]));
    assert_eq!(tools.as_array().unwrap().len(), 1);
    let result = json(call("reader", &["read_note", PLAN, "--json"]));
    let content = json!([{"type": "text", "text": "We launch on the first of May."}]);
    assert_eq!(result["content"], content);
}

#[test]
fn a_client_that_knows_nothing_of_this_talks_through_connect() {
    let home = cast(&[("reader", &["tools:read_note"])]);
    let serving = Serving::notes(&home, &[]);
    let mut talk = Talk::with(&home, &serving.address, "reader");
    let listed = talk.asks("tools/list", &json!({}));
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 1);
    let text = talk.calls("read_note", &json!({"title": "launch plan"}));
    assert_eq!(text, "We launch on the first of May.");
    assert_eq!(talk.calls("delete_note", &json!({"title": "x"})), "Unknown tool: delete_note");
    talk.leaves();
    // By another name of the gateway, and by none that it has.
    let port = serving.address.rsplit_once(':').unwrap().1;
    Talk::with(&home, &format!("localhost:{port}"), "reader").leaves();
    let elsewhere = ["--server-name", "elsewhere.example"];
    let refused = at(&home, &serving, "connect", "reader", &elsewhere);
    assert_eq!((refused.0, refused.1.as_str()), (1, ""));
    let expected = "error: the gateway is not trusted: the certificate does not carry the name elsewhere.example";
    assert!(refused.2.starts_with(expected), "{}", refused.2);
}

#[test]
fn whoever_is_revoked_or_expired_is_told_so() {
    let home = cast(&[("stolen", &["tools:*"]), ("other", &["tools:*"])]);
    home.run(&["issue", "brief", "--ttl", "3s"]);
    let serving = Serving::notes(&home, &[]);
    let brief = Talk::begin(&home, &serving.address, "brief", &[]);
    let live = Talk::with(&home, &serving.address, "stolen");
    let mut other = Talk::with(&home, &serving.address, "other");
    home.run(&["revoke", "stolen"]);
    let revoked = "error: the gateway refused this identity: its certificate is revoked";
    assert_eq!(live.ended(), (Some(1), revoked.into()));
    assert_eq!(
        Talk::begin(&home, &serving.address, "stolen", &[]).ended(),
        (Some(1), revoked.into())
    );
    for (verb, more) in [("call", &["read_note", PLAN][..]), ("tools", &[])] {
        let refused = at(&home, &serving, verb, "stolen", more);
        assert_eq!(refused, failed(1, &format!("{revoked}\n")));
    }
    let expired =
        "error: the gateway refused this identity: its certificate has expired or is not yet valid";
    let (code, said) = brief.ended();
    let warned = "vouchsafe: WARNING: the certificate in brief has not been renewed and ends in";
    assert!(said.starts_with(warned) && said.ends_with(expired), "{said}");
    assert_eq!(code, Some(1));
    assert_eq!(at(&home, &serving, "tools", "brief", &[]), failed(1, &format!("{expired}\n")));
    assert_eq!(other.calls("search_notes", &json!({"text": "May"})), "launch plan");
    // The audit goes to standard error, where no file is named.
    for (event, reason) in [("cut", "revoked"), ("cut", "has expired"), ("refused", "has expired")]
    {
        let is_it = |line: &String| {
            line.contains(&format!("\"event\":\"{event}\"")) && line.contains(reason)
        };
        assert!(serving.says.all().iter().any(is_it), "{event} {reason}");
    }
    // The other way round: the gateway is revoked, and the agent has a list.
    home.run(&["revoke", "gw"]);
    let list = ["--crl", "home/crl.pem"];
    let refused = at(&home, &serving, "tools", "other", &list);
    let expected = "error: the gateway is not trusted: the certificate is revoked\n";
    assert_eq!(refused, failed(1, expected));
}

#[test]
fn strangers_do_not_meet() {
    let home = cast(&[("a", &["tools:*"])]);
    let strange = cast(&[("a", &["tools:*"])]);
    let serving = Serving::notes(&home, &[]);
    let refused = at(&strange, &serving, "tools", "a", &[]);
    let expected =
        "error: the gateway is not trusted: the certificate does not lead to a trusted root\n";
    assert_eq!(refused, failed(1, expected));
    // One that trusts both roots is refused by the gateway.
    let both = [&home, &strange].map(|home| fs::read(home.path("home/root.pem")).unwrap()).concat();
    replace(&strange.path("a/roots.pem"), &both);
    let expected = "error: the gateway refused this identity: its certificate is from a CA that the gateway does not trust";
    assert_eq!(at(&strange, &serving, "tools", "a", &[]), failed(1, &format!("{expected}\n")));
    let ended = Talk::begin(&strange, &serving.address, "a", &[]).ended();
    assert_eq!(ended, (Some(1), expected.into()));
    serving.says.wait_for(0, "the certificate does not lead to a trusted root");
}

#[test]
fn nobody_there_and_wrong_usage_differ_from_refusal() {
    let home = cast(&[("a", &["tools:*"])]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (verb, more) in [("connect", &[][..]), ("tools", &[]), ("call", &["x"])] {
        let ended = run(&home, &[&[verb, &free, "--identity", "a"], more].concat());
        let expected = format!(
            "error: {free} cannot be reached: Connection refused (os error 111)\nhint: see that the gateway is running and that the address is right\n"
        );
        assert_eq!(ended, failed(3, &expected), "{verb}");
    }
    let serve = ["serve", "--identity", "gw", "--listen", "127.0.0.1:0"];
    let with = |more: &[&'static str]| [&serve[..], more].concat();
    for (arguments, expected) in [
        (vec!["connect", "--identity", "a"], "<ADDR>"),
        (
            vec!["connect", "localhost", "--identity", "a"],
            "error: localhost is no address: write HOST:PORT\n",
        ),
        (
            vec!["tools", "a b:1", "--identity", "a"],
            "error: a b is neither a host name nor an IP address\n",
        ),
        (
            vec!["call", "localhost:1", "--identity", "a", "x", "[]"],
            "error: [] is not a JSON object\n",
        ),
        (
            with(&[]),
            "error: there is no server to serve: neither COMMAND nor --upstream is given\n",
        ),
        (with(&["--require", "x", "--", "y"]), "error: --require x: write TOOL=PERMISSION\n"),
        (
            with(&["--require", "x=y", "--", "y"]),
            "error: --require x=y: a permission is written kind:pattern, such as tools:search\n",
        ),
        (
            with(&["--require", "x=tools:*", "--", "y"]),
            "error: --require x=tools:*: '*' stands only at the end of a pattern\n",
        ),
        (
            with(&["--env", "NO_SUCH", "--", "y"]),
            "error: --env NO_SUCH: there is no such variable\n",
        ),
    ] {
        let (code, stdout, stderr) = run(&home, &arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn serve_begins_only_where_it_can_tell_who_is_revoked() {
    let home = cast(&[("a", &["tools:*"])]);
    let serve = |identity, more: &[&str]| {
        let listen = ["serve", "--identity", identity, "--listen", "127.0.0.1:0"];
        run(&home, &[&listen[..], more, &["--", "true"]].concat())
    };
    assert_eq!(
        serve("gw", &["--home", "nowhere"]),
        failed(
            2,
            "error: there is no revocation list to follow\nhint: follow the CA with --ca ADDR, or a file with --crl FILE; on the CA's machine `vouchsafe crl --out FILE` writes it\n"
        )
    );
    assert_eq!(
        serve("gw", &["--crl", "nothing.pem"]),
        failed(1, "error: nothing.pem cannot be read: No such file or directory (os error 2)\n")
    );
    replace(&home.path("garbage.pem"), b"no list");
    assert_eq!(
        serve("gw", &["--crl", "garbage.pem"]),
        failed(
            1,
            "error: the revocation list in garbage.pem is not taken: there is no revocation list in it\n"
        )
    );
    fs::copy(Home::new().path("home/crl.pem"), home.path("strange.pem")).unwrap();
    assert_eq!(
        serve("gw", &["--crl", "strange.pem"]),
        failed(
            1,
            "error: the revocation list in strange.pem is not taken: the revocation list is by a CA that is not trusted here\n"
        )
    );
    assert_eq!(
        serve("a", &[]),
        failed(
            1,
            "error: a holds an agent's certificate\nhint: issue one for a gateway: vouchsafe issue NAME --server --dns HOST --out DIR\n"
        )
    );
    let (code, _, stderr) = serve("nobody", &[]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error: cannot read nobody/"), "{stderr}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&home, &["serve", "--identity", "gw", "--listen", &address, "--", "true"]);
    let expected =
        format!("error: cannot listen on {address}: Address already in use (os error 98)\n");
    assert_eq!(ended, failed(1, &expected));
}

#[test]
fn operators_adjust_what_is_asked_for_and_what_is_explained() {
    let home = cast(&[("notes", &["notes:read"]), ("tools", &["tools:*"])]);
    let options = ["--require", "read_note=notes:read", "--explain-denials"];
    let serving = Serving::notes(&home, &options);
    let read = |agent| at(&home, &serving, "call", agent, &["read_note", PLAN]);
    assert_eq!(read("notes"), said("We launch on the first of May.\n"));
    let denied = "error: Denied: needs the permission notes:read (code -32602)\n";
    assert_eq!(read("tools"), failed(1, denied));
    let delete = at(&home, &serving, "call", "notes", &["delete_note", PLAN]);
    let denied = "error: Denied: needs the permission tools:delete_note (code -32602)\n";
    assert_eq!(delete, failed(1, denied));
    let listed = at(&home, &serving, "tools", "notes", &[]).1;
    assert_eq!(listed, "TOOL       DESCRIPTION\nread_note  The text of a note\n");
    let listed = at(&home, &serving, "tools", "tools", &[]).1;
    assert!(!listed.contains("read_note") && listed.contains("delete_note"), "{listed}");
}

#[test]
fn servers_get_the_environment_that_they_are_given() {
    let home = cast(&[("a", &["tools:*"])]);
    let script = "echo \"given=$GIVEN passed=$PASSED secret=$SECRET who=$VOUCHSAFE_PRINCIPAL home=$VOUCHSAFE_HOME\" >&2; cat >/dev/null";
    let options = ["--env", "GIVEN=a=b", "--env", "PASSED"];
    let serving = Serving::start(&home, &options, &["sh", "-c", script]);
    let _talk = Talk::begin(&home, &serving.address, "a", &[]);
    let (_, line) = serving.says.wait_for(0, "given=");
    let expected = "given=a=b passed=on secret= who=spiffe://acme.example/a home=";
    assert_eq!(line, format!("[server of session 1] {expected}"));
}

#[test]
fn the_audit_is_for_its_owner_alone_and_is_never_begun_anew() {
    let home = cast(&[("a", &["tools:read_note"])]);
    for calls in [1, 2] {
        let serving = Serving::notes(&home, &["--audit", "audit.jsonl"]);
        assert_eq!(at(&home, &serving, "call", "a", &["read_note", PLAN]).0, 0);
        assert!(serving.stops(Signal::TERM).0.success());
        let audit = fs::read_to_string(home.path("audit.jsonl")).unwrap();
        let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let calls_made =
            events.filter(|event| event["name"] == "read_note" && event["event"] == "allowed");
        assert_eq!(calls_made.count(), calls);
        assert!(!audit.contains("launch plan"), "{audit}");
    }
    let mode = fs::metadata(home.path("audit.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn serve_ends_when_asked_and_leaves_nobody_behind() {
    let home = cast(&[("a", &["tools:*"])]);
    // A server that has a helper and does not leave when its stdin is closed; and one that does not
    // leave at all.
    let server = "sleep 1000 & echo \"pids $$ $!\" >&2; cat >/dev/null; wait";
    let stubborn = format!("trap '' TERM; {server}");
    for (signal, script) in [(Signal::INT, server), (Signal::TERM, &stubborn)] {
        let serving = Serving::start(&home, &[], &["sh", "-c", script]);
        let talk = Talk::begin(&home, &serving.address, "a", &[]);
        let (_, line) = serving.says.wait_for(0, "pids ");
        let pids: Vec<_> = line.split_ascii_whitespace().rev().take(2).map(str::to_owned).collect();
        let is_alive = |pid: &String| Path::new("/proc").join(pid).exists();
        assert!(pids.iter().all(is_alive));
        let begun = Instant::now();
        let (status, lines) = serving.stops(signal);
        assert_eq!(status.code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        assert!(lines.contains(&"stopping: every session is closed".to_owned()), "{lines:#?}");
        // The helper's parent is gone, so it is reaped by whoever adopts it.
        let deadline = Instant::now() + Duration::from_secs(5);
        while pids.iter().any(is_alive) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!pids.iter().any(is_alive));
        assert_ne!(talk.ended().0, Some(0));
    }
}

#[test]
fn the_demo_tells_the_whole_story() {
    let home = Home::new();
    let begun = Instant::now();
    let (code, stdout, stderr) = run(&home, &["demo"]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let mut rest = stdout.as_str();
    for step in [
        " 1  A certificate authority for demo.example",
        " 2  Certificates for a gateway and for two agents",
        "reader          may use tools:read_note tools:search_notes",
        "editor          may use tools:*",
        " 3  A gateway on 127.0.0.1:",
        " 4  Each agent asks which tools there are",
        "reader          sees read_note, search_notes",
        "editor          sees delete_note, read_note, search_notes",
        " 5  reader calls read_note, which its certificate permits",
        "answer          We launch on the first of May.",
        " 6  reader calls delete_note, which it does not",
        "answer          Unknown tool: delete_note (code -32602)",
        " 7  A strange CA of the same name issues a certificate to \"reader\" for everything",
        "answer          the gateway refused this identity: its certificate is from a CA that the gateway does not trust",
        " 8  reader's key is stolen: the device is revoked while it is calling",
        "its session     was cut ",
        "the gateway refused this identity: its certificate is revoked",
        "editor          goes on: search_notes finds \"launch plan\"",
        " 9  The gateway's audit holds ",
        "That took ",
    ] {
        let at = rest.find(step).unwrap_or_else(|| panic!("{step:?} does not follow in {stdout}"));
        rest = &rest[at + step.len()..];
    }
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let home = cast(&[("a", &[])]);
    let key = home.path("a/key.pem");
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let (code, _, said) = run(&home, &["tools", "localhost:1", "--identity", "a"]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&format!("key.pem has mode {mode:o}: others can")), "{said}");
    }
}

#[test]
fn what_goes_on_while_a_list_is_stale_must_be_named_and_asked_for() {
    let home = cast(&[]);
    for (more, what) in [
        (&["--on-stale", "read-only"][..], "nothing would go on while the list is stale"),
        (&["--stale-allow", "tools:a"], "says nothing without --on-stale read-only"),
    ] {
        let serve = ["serve", "--identity", "gw"];
        let (code, _, said) = run(&home, &[&serve[..], more, &["--", "cat"]].concat());
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(what), "{said}");
    }
}
