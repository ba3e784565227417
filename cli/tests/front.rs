//! `connect --http`: a front for clients that cannot show a certificate, and nobody else.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
mod loopback;
#[expect(dead_code, reason = "of gateways and of who talks to them, this needs a part")]
mod serving;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use home::{Home, VOUCHSAFE};
use loopback::{Front, post, request};
use rustix::process::Signal;
use serde_json::{Value, json};
use serving::{Serving, replace};

/// A CA, a gateway's identity, and an agent who may use one tool.
fn cast() -> Home {
    let home = Home::new();
    home.run(&["issue", "gw", "--server", "--dns", "localhost", "--ip", "127.0.0.1"]);
    home.run(&["issue", "a", "--allow", "tools:read_note"]);
    home
}

fn note() -> Value {
    json!({"title": "launch plan"})
}

const TEXT: &str = "We launch on the first of May.";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A front that must not come about: how it ended, and what it said.
fn refused(home: &Home, options: &[&str]) -> (Option<i32>, String) {
    let mut connect = home.command(VOUCHSAFE);
    connect.args(["connect", "127.0.0.1:9", "--identity", "a"]).args(options);
    let output = connect.output().unwrap();
    assert!(output.stdout.is_empty(), "there is no URL of a front that is not there");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn its_url_is_printed_once_and_ends_with_it() {
    let home = cast();
    let serving = Serving::notes(&home, &[]);
    let front = Front::start(&home, &serving.address, "a", &[]);
    let session = front.session();
    let listed = session.asks("tools/list", &json!({}));
    assert_eq!(listed["result"]["tools"].as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(session.calls("read_note", &note()), TEXT);
    assert_eq!(session.calls("add_note", &note()), "Unknown tool: add_note");

    let secret = front.path.trim_start_matches('/').trim_end_matches("/mcp").to_owned();
    assert_eq!(secret.len(), 32);
    let (prints, says, address) = (front.prints.clone(), front.says.clone(), front.address.clone());
    assert!(front.stops().success());
    assert_eq!(prints.all().len(), 1);
    assert!(says.all().iter().all(|line| !line.contains(&secret)), "{:#?}", says.all());
    assert!(TcpStream::connect(&address).is_err());
    // Another one has another secret.
    let other = Front::start(&home, &serving.address, "a", &[]);
    assert!(!other.path.contains(&secret));
}

#[test]
fn a_secret_that_is_kept_is_its_users_alone() {
    let home = cast();
    let serving = Serving::notes(&home, &[]);
    let options = ["--secret-file", "secret"];
    let first = Front::start(&home, &serving.address, "a", &options);
    let path = first.path.clone();
    assert_eq!(mode(&home.path("secret")), 0o600);
    assert!(first.stops().success());
    let second = Front::start(&home, &serving.address, "a", &options);
    assert_eq!(second.path, path);
    assert_eq!(second.session().calls("read_note", &note()), TEXT);
    drop(second);

    let exposed = fs::Permissions::from_mode(0o644);
    fs::set_permissions(home.path("secret"), exposed).unwrap();
    let here = ["--http", "127.0.0.1:0", "--secret-file", "secret"];
    let (code, said) = refused(&home, &here);
    assert_eq!(code, Some(1));
    assert!(said.contains("secret has mode 644: others can read the secret"), "{said}");
    assert!(said.contains("chmod 600 secret"), "{said}");

    fs::remove_file(home.path("secret")).unwrap();
    replace(&home.path("secret"), b"0123\n");
    fs::set_permissions(home.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let (code, said) = refused(&home, &here);
    assert_eq!(code, Some(1));
    assert!(said.contains("secret: a secret is 32 hexadecimal digits"), "{said}");
    assert!(said.contains("remove the file"), "{said}");

    let (code, said) = refused(&home, &["--secret-file", "secret"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--http"), "{said}");
}

#[test]
fn whoever_does_not_know_the_secret_or_was_led_here_gets_nothing() {
    let home = cast();
    let serving = Serving::notes(&home, &["--audit", "audit.jsonl"]);
    let front = Front::start(&home, &serving.address, "a", &[]);
    let initialize = request("initialize", &json!({"protocolVersion": "2025-06-18"}));
    let status =
        |path: &str, headers: &str| post(&front.address, path, headers, &initialize).status;
    for path in ["/", "/mcp", "/0123456789abcdef0123456789abcdef/mcp", &front.path[..33]] {
        assert_eq!(status(path, ""), 404, "{path}");
    }
    for headers in [
        "Host: evil.example\r\n",
        "Host: localhost.evil.example\r\n",
        "Origin: https://evil.example\r\n",
        "Origin: null\r\n",
    ] {
        assert_eq!(status(&front.path, headers), 403, "{headers}");
    }
    // None of them got as far as the gateway.
    assert_eq!(fs::read_to_string(home.path("audit.jsonl")).unwrap(), "");
    for headers in ["", "Host: localhost\r\n", "Origin: http://localhost:5173\r\n"] {
        assert_eq!(status(&front.path, headers), 200, "{headers}");
    }
}

#[test]
fn it_is_on_this_machine_alone() {
    let home = cast();
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let (code, said) = refused(&home, &["--http", address]);
        assert_eq!(code, Some(2), "{said}");
        let why = format!(
            "{address} is not on the loopback interface: others could speak in this identity's name"
        );
        assert!(said.contains(&why), "{said}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = refused(&home, &["--http", &address]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains(&format!("cannot listen on {address}: Address already in use")),
        "{said}"
    );
}

#[test]
fn its_clients_have_a_session_each_and_outlive_a_gateway() {
    let home = cast();
    let serving = Serving::notes(&home, &["--audit", "audit.jsonl"]);
    let address = serving.address.clone();
    let front = Front::start(&home, &address, "a", &[]);
    let (first, second) = (front.session(), front.session());
    for session in [&first, &second] {
        assert_eq!(session.calls("read_note", &note()), TEXT);
    }
    let (_, said) = serving.stops(Signal::TERM);
    assert!(!said.is_empty());
    let audit = fs::read_to_string(home.path("audit.jsonl")).unwrap();
    assert_eq!(audit.matches(r#""event":"opened""#).count(), 2, "{audit}");

    let _again = Serving::notes(&home, &["--listen", &address]);
    for session in [&first, &second] {
        assert_eq!(session.calls("read_note", &note()), TEXT);
    }
    assert_eq!(front.session().calls("read_note", &note()), TEXT);
}

#[test]
fn what_keeps_it_from_the_gateway_is_said_where_it_runs() {
    let home = cast();
    let serving = Serving::notes(&home, &[]);
    let front = Front::start(&home, &serving.address, "a", &[]);
    home.run(&["revoke", "a"]);
    serving.says.wait_for(0, "revocation list number");
    let initialize = request("initialize", &json!({"protocolVersion": "2025-06-18"}));
    let said = post(&front.address, &front.path, "", &initialize);
    assert!(said.message().is_some_and(|answer| answer["error"].is_object()), "{said:?}");
    front.says.wait_for(0, "its certificate is revoked");
}
