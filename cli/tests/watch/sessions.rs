//! `vouchsafe sessions`: somebody at the gateway's machine looks who is connected, and ends one.

use std::fs::{DirBuilder, Permissions, set_permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};
use serde_json::{Value, json};
use vouchsafe_tests::{Client, identity_in, is_installed};

use crate::home::{Home, VOUCHSAFE};
use crate::lines::PATIENCE;
use crate::serving::{Serving, Talk};

/// With a directory for sockets.
fn cast() -> Home {
    let home = crate::cast();
    DirBuilder::new().mode(0o700).create(home.path("sockets")).unwrap();
    home
}

fn sessions(home: &Home, options: &[&str]) -> (i32, String, String) {
    let output = home.command(VOUCHSAFE).arg("sessions").args(options).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const AT: [&str; 2] = ["--control", "sockets/gw"];

fn listed(home: &Home) -> Vec<Value> {
    let (code, out, err) = sessions(home, &[&AT[..], &["--json"]].concat());
    assert_eq!((code, err.as_str()), (0, ""));
    serde_json::from_str::<Value>(&out).unwrap().as_array().unwrap().clone()
}

#[test]
fn who_is_connected_is_listed_with_what_they_have_done() {
    let home = cast();
    let serving = Serving::notes(&home, &AT);
    assert_eq!(sessions(&home, &AT), (0, "no sessions\n".into(), String::new()));
    let mut reader = Talk::with(&home, &serving.address, "reader");
    let _editor = Talk::with(&home, &serving.address, "editor");
    reader.calls("read_note", &json!({"title": "launch plan"}));

    let found = listed(&home);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0]["principal"], "spiffe://acme.example/reader");
    assert_eq!((&found[0]["session"], &found[0]["calls"]), (&json!(1), &json!(2)));
    assert_eq!((&found[1]["session"], &found[1]["calls"]), (&json!(2), &json!(1)));
    assert!(found[0]["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    let octets = |way: &str| (found[0][way].as_u64().unwrap(), found[1][way].as_u64().unwrap());
    let ((received, less), (sent, fewer)) = (octets("received"), octets("sent"));
    assert!(received > less && less > 100 && sent > fewer && fewer > 100, "{found:?}");
    assert!(found[0]["since"].as_str() < found[0]["not_after"].as_str(), "{found:?}");

    assert_eq!((&found[0]["speaks"], &found[1]["speaks"]), (&json!("lines"), &json!("lines")));
    let url = format!("https://{}/mcp", serving.address);
    let over_http = Talk::with_options(&home, &url, "editor", &["--server-name", "localhost"]);
    let spoken = || {
        let all = listed(&home);
        all.iter().map(|session| session["speaks"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // A connection or more, and the session behind them.
    assert!(spoken().contains(&"http".to_owned()), "{:?}", spoken());
    assert!(spoken().contains(&"http-connection".to_owned()), "{:?}", spoken());
    let (_, table, _) = sessions(&home, &AT);
    assert!(table.contains("  HTTP connection  ") && table.contains("  lines  "), "{table}");
    over_http.leaves();

    let (_, table, _) = sessions(&home, &AT);
    assert!(table.starts_with("SESSION  PRINCIPAL"), "{table}");
    assert!(
        table.contains("spiffe://acme.example/editor") && table.contains("in 24 hours"),
        "{table}"
    );
    reader.leaves();
    let begun = Instant::now();
    while listed(&home).len() > 1 {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_closed_is_told_and_everybody_else_goes_on() {
    let home = cast();
    // A server that never answers.
    let serving = Serving::start(&home, &AT, &["sleep", "1000"]);
    let address = serving.address.parse().unwrap();
    let mut reader = Client::connect(address, &identity_in(&home.path("reader"))).await;
    let mut editor = Client::connect(address, &identity_in(&home.path("editor"))).await;
    let request = b"{\"jsonrpc\":\"2.0\",\"id\":\"w\",\"method\":\"tools/list\"}\n";
    reader.write(request).await.unwrap();
    editor.write(request).await.unwrap();
    let begun = Instant::now();
    while listed(&home).iter().filter(|session| session["calls"] == 1).count() < 2 {
        assert!(begun.elapsed() < PATIENCE);
    }
    let number = listed(&home)
        .iter()
        .find(|session| session["principal"] == "spiffe://acme.example/reader")
        .unwrap()["session"]
        .to_string();

    let close = |number: &str| sessions(&home, &[&AT[..], &["--close", number]].concat());
    assert_eq!(close(&number), (0, format!("session {number} is closed\n"), String::new()));
    // What was in flight has an answer, and the end a reason.
    let told = "The session is closed: the operator closed the session";
    let answer = reader.line().await.unwrap().unwrap();
    assert_eq!((&answer["id"], &answer["error"]["message"]), (&json!("w"), &json!(told)));
    let farewell = reader.line().await.unwrap().unwrap();
    assert_eq!((farewell.get("id"), &farewell["error"]["message"]), (None, &json!(told)));
    assert_eq!(reader.ending().await, "closed");
    let (_, record) = serving.says.wait_for(0, "\"event\":\"closed\"");
    assert!(record.contains("\"reason\":\"the operator closed the session\""), "{record}");
    assert!(record.contains("spiffe://acme.example/reader"), "{record}");

    let left = listed(&home);
    assert_eq!((left.len(), &left[0]["principal"]), (1, &json!("spiffe://acme.example/editor")));
    editor.write(request).await.unwrap();
    let refused = editor.line().await.unwrap().unwrap();
    assert_eq!(refused["error"]["message"], "Refused: a request with this id is in flight");
    let (code, out, err) = close(&number);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with(&format!("error: there is no session {number}\nhint: ")), "{err}");
    // It is closed, not locked out: that takes a revocation.
    let _again = Client::connect(address, &identity_in(&home.path("reader"))).await;
    while listed(&home).len() < 2 {
        assert!(begun.elapsed() < PATIENCE);
    }
}

#[test]
fn two_gateways_of_one_user_do_not_get_in_each_others_way() {
    let home = cast();
    let (code, _, err) = sessions(&home, &[]);
    assert!(code == 2 && err.starts_with("error: XDG_RUNTIME_DIR is not set"), "{code} {err}");
    DirBuilder::new().mode(0o700).create(home.path("run")).unwrap();
    let (code, _, err) = sessions(&home, &[]);
    assert!(
        code == 3 && err.starts_with("error: no gateway of this user is running"),
        "{code} {err}"
    );

    let one = Serving::notes(&home, &[]);
    assert_eq!(sessions(&home, &[]), (0, "no sessions\n".into(), String::new()));
    let other = Serving::notes(&home, &[]);
    let (code, _, err) = sessions(&home, &[]);
    assert!(code == 2 && err.starts_with("error: 2 gateways are running: "), "{code} {err}");
    // Each is asked by name, and the socket of one that is gone is gone as well.
    let _talk = Talk::with(&home, &other.address, "reader");
    assert!(one.stops(Signal::TERM).0.success());
    let (code, table, _) = sessions(&home, &[]);
    assert!(code == 0 && table.contains("spiffe://acme.example/reader"), "{code} {table}");

    // The same socket is not taken from whoever answers there, but from whoever was killed.
    let third = Serving::notes(&home, &AT);
    let serve = ["serve", "--identity", "gw", "--listen", "127.0.0.1:0"];
    let refused =
        home.command(VOUCHSAFE).args(serve).args(AT).args(["--", "cat"]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("error: sockets/gw is in use\nhint: another gateway"), "{said}");
    third.stops(Signal::KILL);
    let (code, _, err) = sessions(&home, &AT);
    assert!(code == 3 && err.starts_with("error: nothing serves at sockets/gw: "), "{code} {err}");
    let _fourth = Serving::notes(&home, &AT);
    assert_eq!(sessions(&home, &AT).0, 0);
}

#[test]
fn nobody_else_gets_near_the_socket() {
    let home = cast();
    let serving = Serving::notes(&home, &AT);
    let mode = |path: &str| home.path(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("sockets/gw"), mode("sockets")), (0o600, 0o700));
    // What is no question, or too long for one, is not answered.
    for asked in [b"\"everything\"\n".to_vec(), vec![b'x'; 10_000], b"\n".to_vec()] {
        let mut stream = UnixStream::connect(home.path("sockets/gw")).unwrap();
        // Whoever is cut off in the middle of a sentence has been heard enough.
        drop(stream.write_all(&asked));
        drop(stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        assert!(answer.is_empty());
    }
    assert_eq!(sessions(&home, &AT).0, 0);
    drop(serving);

    // A directory that others can enter is none for a socket, on either side.
    set_permissions(home.path("sockets"), Permissions::from_mode(0o755)).unwrap();
    let refused = home
        .command(VOUCHSAFE)
        .args(["serve", "--identity", "gw", "--listen", "127.0.0.1:0"])
        .args(AT)
        .args(["--", "cat"])
        .output()
        .unwrap();
    let expected =
        "error: sockets is not a directory that only this user can enter (mode 755)\nhint: ";
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains(expected), "{said}");
    let (code, _, err) = sessions(&home, &AT);
    assert!(code == 1 && err.starts_with(expected), "{err}");
}

/// Asks as another user, whom only the system tells apart.
const ASKS: &str = "import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
try:
    s.sendall(b'\"sessions\"\\n')
    print(s.makefile().read(), end='')
except OSError:
    print('closed')";

#[test]
fn another_user_is_not_answered_even_where_the_files_let_them_through() {
    if !geteuid().is_root() || !is_installed("python3") {
        eprintln!("left out: it takes root and python3 to ask as somebody else");
        return;
    }
    let home = cast();
    let _serving = Serving::notes(&home, &AT);
    for (path, mode) in [("", 0o711), ("sockets", 0o711), ("sockets/gw", 0o666)] {
        set_permissions(home.path(path), Permissions::from_mode(mode)).unwrap();
    }
    let asked_by = |user: u32| {
        let mut asks = home.command("python3");
        asks.args(["-c", ASKS, "sockets/gw"]).env("PATH", "/usr/bin:/bin:/usr/local/bin");
        let output = asks.uid(user).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(asked_by(0), "{\"sessions\":[]}\n");
    // Whether the end comes before the question or after it.
    assert!(["", "closed\n"].contains(&asked_by(65534).as_str()));
}
