//! `serve --upstream` and `connect https://`, as somebody at a terminal meets them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
#[expect(dead_code, reason = "of how gateways end, this needs a part")]
mod serving;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use home::{Home, VOUCHSAFE};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use serving::{Serving, Talk, replace};
use tokio::runtime::Runtime;
use vouchsafe_tests::identity_in;
use vouchsafe_tests::upstream::{Asked, HttpServer, Step, accepted, status};

/// A CA, a gateway's identity `gw`, and an agent `a` that may use one tool.
fn cast() -> Home {
    let home = Home::new();
    home.run(&["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"]);
    home.run(&["issue", "a", "--allow", "tools:echo"]);
    home
}

/// How a command ended, and what it said on standard error.
fn run(home: &Home, arguments: &[&str]) -> (Option<i32>, String) {
    let output = home.command(VOUCHSAFE).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn answer(asked: &Value) -> Value {
    let about = json!({"name": "echo", "version": "1"});
    let result = match asked["method"].as_str().unwrap() {
        "initialize" => {
            json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": about})
        }
        "tools/call" => {
            json!({"content": [{"type": "text", "text": asked["params"]["arguments"]["text"]}]})
        }
        _ => {
            let error = json!({"code": -32601, "message": "Method not found"});
            return json!({"jsonrpc": "2.0", "id": asked["id"], "error": error});
        }
    };
    json!({"jsonrpc": "2.0", "id": asked["id"], "result": result})
}

fn serve(asked: &Asked) -> Vec<Step> {
    match (&*asked.verb, asked.body.get("id")) {
        ("POST", Some(_)) => {
            let headers = "Content-Type: application/json\r\nMcp-Session-Id: s-1\r\n";
            status("200 OK", headers, &answer(&asked.body).to_string())
        }
        ("POST", None) => accepted(),
        _ => status("405 Method Not Allowed", "", ""),
    }
}

fn upstream(home: &Home, url: &str, options: &[&str]) -> Serving {
    Serving::start(home, &[&["--upstream", url], options].concat(), &[])
}

fn talks(home: &Home, address: &str) {
    let mut talk = Talk::with(home, address, "a");
    assert_eq!(talk.calls("echo", &json!({"text": "hello"})), "hello");
    assert_eq!(talk.calls("other", &json!({})), "Unknown tool: other");
    talk.leaves();
}

#[test]
fn a_server_that_runs_already_stands_behind_the_gateway() {
    let home = cast();
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let plain = HttpServer::plain(serve);
    let tls = HttpServer::tls(&identity_in(&home.path("gw")), serve);
    let url = format!("http://{}/mcp?key=secret", plain.address);
    let serving = upstream(&home, &url, &[]);
    let (_, line) = serving.says.wait_for(0, "  upstream ");
    assert_eq!(line, format!("  upstream    http://{}/mcp", plain.address));
    talks(&home, &serving.address);
    assert!(plain.asked().iter().all(|asked| {
        asked.target == "/mcp?key=secret"
            && asked.header("vouchsafe-principal") == Some("spiffe://acme.example/a")
            && asked.header("vouchsafe-permissions") == Some(r#"["tools:echo"]"#)
    }));

    let url = format!("https://localhost:{}/mcp", tls.address.port());
    let serving = upstream(&home, &url, &["--upstream-roots", "gw/roots.pem"]);
    talks(&home, &serving.address);
    assert!(!tls.asked().is_empty());

    let path = home.path("mcp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            let mut writer = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let asked: Value = serde_json::from_str(&line).unwrap();
                if asked.get("id").is_some() {
                    writeln!(writer, "{}", answer(&asked)).unwrap();
                }
            }
        }
    });
    let serving = upstream(&home, &format!("unix:{}", path.display()), &[]);
    talks(&home, &serving.address);
}

#[test]
fn what_is_wrong_with_a_server_is_said_to_the_operator_and_not_to_the_client() {
    let home = cast();
    let serving = upstream(&home, "http://127.0.0.1:9/mcp", &[]);
    let mut talk = Talk::begin(&home, &serving.address, "a", &[]);
    let told = talk.asks("initialize", &json!({}));
    let message = "The server cannot be reached at present; try again later";
    assert_eq!(told["error"]["message"], message);
    let (_, line) = serving.says.wait_for(0, "[server of session ");
    assert!(line.contains("http://127.0.0.1:9/mcp: The server cannot be reached"), "{line}");
    assert!(line.contains("refused"), "{line}");

    let serving = upstream(&home, "tcp:127.0.0.1:9", &["--audit", "audit.jsonl"]);
    let mut talk = Talk::begin(&home, &serving.address, "a", &[]);
    talk.says(&json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
    let (_, told) = talk.hears.wait_for(0, "error");
    assert!(told.contains("the server could not be reached"), "{told}");
    drop(serving);
    let audit = std::fs::read_to_string(home.path("audit.jsonl")).unwrap();
    assert!(audit.contains("tcp:127.0.0.1:9 cannot be reached: Connection refused"), "{audit}");
}

#[test]
fn plain_text_to_another_machine_is_warned_of() {
    let home = cast();
    for url in ["http://192.0.2.1/mcp", "tcp:192.0.2.1:9"] {
        let serving = upstream(&home, url, &[]);
        let said = serving.says.all();
        assert!(said[0].starts_with("WARNING: ") && said[0].contains("192.0.2.1"), "{said:#?}");
        assert!(said[0].contains("not encrypted"), "{said:#?}");
    }
    let serving = upstream(&home, "http://localhost:9/mcp", &[]);
    assert!(serving.says.all()[0].starts_with("listening on "));
}

#[test]
fn what_makes_no_server_is_wrong_usage() {
    let home = cast();
    let serve = |more: &[&str]| run(&home, &[&["serve", "--identity", "gw"], more].concat());
    let usage = |more: &[&str], what: &str| {
        let (code, said) = serve(more);
        assert_eq!(code, Some(2), "{more:?}: {said}");
        assert!(said.contains(what), "{more:?}: {said}");
    };
    usage(&[], "neither COMMAND nor --upstream is given");
    // Wherever a number is asked for.
    for negative in
        [&["--max-sessions", "-5"][..], &["--max-sessions=-5"], &["--alert-window", "-1"]]
    {
        usage(
            &[negative, &["--", "cat"]].concat(),
            "every number that is asked for here is 0 or more",
        );
    }
    usage(&["--upstream", "http://localhost:1/", "--", "cat"], "cannot be used with");
    usage(&["--upstream", "http://localhost:1/", "--env", "A=b"], "cannot be used with");
    for more in [["--upstream-roots", "gw/roots.pem"], ["--upstream-timeout", "5"]] {
        usage(&[&more[..], &["--", "cat"]].concat(), "cannot be used with");
    }
    for url in ["localhost:1", "ftp://localhost/", "tcp:localhost", "tcp:a:b", "unix:", "http://"] {
        usage(&["--upstream", url], "");
    }
    usage(&["--upstream", "https://user:password@localhost/"], "no user name and no password");
    for url in ["http://localhost:1/", "tcp:localhost:1"] {
        let roots = ["--upstream", url, "--upstream-roots", "gw/roots.pem"];
        usage(&roots, "for servers that show a certificate");
    }
    let (code, said) =
        serve(&["--upstream", "https://localhost/", "--upstream-roots", "gw/key.pem"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no certificate in it"), "{said}");
}

#[test]
fn a_server_is_of_our_own_ca_or_of_another_and_it_is_clear_which() {
    let home = cast();
    let read = |name: &str| std::fs::read_to_string(home.path(name)).unwrap();
    let other = Home::new();
    let others = std::fs::read_to_string(other.path("home/root.pem")).unwrap();
    replace(&home.path("both.pem"), (read("gw/roots.pem") + &others).as_bytes());
    let serve = ["serve", "--identity", "gw", "--upstream", "https://localhost/"];
    let (code, said) = run(&home, &[&serve[..], &["--upstream-roots", "both.pem"]].concat());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("are those of this gateway's own CA, and some are not"), "{said}");

    // Where nothing is named, the system's roots count; where it has none, nobody is trusted.
    replace(&home.path("none.pem"), b"");
    let mut command = home.command(VOUCHSAFE);
    command.env("SSL_CERT_FILE", home.path("none.pem")).args(serve);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no root certificates to judge a server by"), "{said}");
}

#[test]
fn whoever_asks_something_else_than_a_server_of_mcp_is_told_what_it_is() {
    let home = cast();
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let server = HttpServer::tls(&identity_in(&home.path("gw")), |asked| match &*asked.target {
        "/mcp" => serve(asked),
        "/page" => status("200 OK", "Content-Type: text/html\r\n", "<h1>hello</h1>"),
        _ => status("404 Not Found", "", ""),
    });
    let port = server.address.port();
    let ask = |what: &[&str], path: &str| {
        let url = format!("https://localhost:{port}{path}");
        run(&home, &[&[what[0], &url, "--identity", "a"], &what[1..]].concat())
    };
    for what in [&["call", "echo"][..], &["tools"]] {
        let (code, said) = ask(what, "/elsewhere");
        assert_eq!(code, Some(1));
        assert!(said.contains("The server answered with HTTP status 404 Not Found"), "{said}");
        assert!(said.contains("\nhint: ") && said.contains("the path counts"), "{said}");
        let (_, said) = ask(what, "/page");
        assert!(said.contains("neither JSON nor a stream of events"), "{said}");
    }
}

#[test]
fn a_session_over_http_is_deleted_where_the_bridge_is_told_to_stop() {
    let home = cast();
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let server = HttpServer::tls(&identity_in(&home.path("gw")), serve);
    let url = format!("https://localhost:{}/mcp", server.address.port());
    for (number, signal) in [Signal::TERM, Signal::INT].into_iter().enumerate() {
        let mut connect = home.command(VOUCHSAFE);
        connect.args(["connect", &url, "--identity", "a"]).stdin(Stdio::piped());
        let mut bridge = connect.spawn().unwrap();
        let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"},
        }});
        // Kept open, as by a client that lives on.
        let mut stdin = bridge.stdin.take().unwrap();
        writeln!(stdin, "{initialize}").unwrap();
        let mut answers = BufReader::new(bridge.stdout.take().unwrap()).lines();
        assert!(answers.next().unwrap().unwrap().contains("2025-06-18"));
        kill_process(Pid::from_child(&bridge), signal).unwrap();
        let ended = bridge.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()));
        let deleted = server.asked().iter().filter(|asked| asked.verb == "DELETE").count();
        assert_eq!(deleted, number + 1);
    }
}

#[test]
fn a_gateway_is_met_over_http_by_the_same_commands() {
    let home = cast();
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let server = HttpServer::tls(&identity_in(&home.path("gw")), serve);
    let url = format!("https://localhost:{}/mcp", server.address.port());
    let mut talk = Talk::with(&home, &url, "a");
    assert_eq!(talk.calls("echo", &json!({"text": "hello"})), "hello");
    talk.leaves();
    let call = ["call", &url, "--identity", "a", "echo", r#"{"text":"from a script"}"#];
    let output = home.command(VOUCHSAFE).args(call).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "from a script\n");
    // Both sessions were deleted before the commands ended.
    let deleted = server.asked().iter().filter(|asked| asked.verb == "DELETE").count();
    assert_eq!(deleted, 2);

    let (code, said) = run(&home, &["connect", "https://localhost:9/mcp", "--identity", "a"]);
    assert_eq!(code, Some(3));
    assert!(said.starts_with("error: localhost:9 cannot be reached: "), "{said}");
    let elsewhere = ["--server-name", "elsewhere.example"];
    let (code, said) =
        run(&home, &[&["connect", &url, "--identity", "a"], &elsewhere[..]].concat());
    let name = "the certificate does not carry the name elsewhere.example";
    assert_eq!((code, said), (Some(1), format!("error: the gateway is not trusted: {name}\n")));
    let (code, said) = run(&home, &["connect", "http://localhost:1/", "--identity", "a"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("is not encrypted: a gateway is at https://"), "{said}");
}
