//! Metrics and health.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use crate::cast;
use crate::home::{Home, VOUCHSAFE};
use crate::lines::{Lines, PATIENCE};
use crate::scrape::Page;
use crate::served::Served;
use crate::serving::{Serving, Talk, replace};

#[test]
fn a_scrape_shows_what_was_just_done() {
    let home = cast();
    let serving = Serving::notes(&home, &["--metrics", "127.0.0.1:0"]);
    let page = Page::of(&serving.says);
    // Before anything has happened, whatever may happen is there, so that the first time is a change.
    for series in [
        "vouchsafe_handshakes_total{outcome=\"accepted\"}",
        "vouchsafe_handshakes_total{outcome=\"revoked\"}",
        "vouchsafe_sessions_cut_total{reason=\"revoked\"}",
        "vouchsafe_calls_total{from=\"client\",method=\"tools/call\",decision=\"denied\"}",
        "vouchsafe_sessions_open",
        "vouchsafe_children",
        "vouchsafe_received_bytes_total",
    ] {
        assert!(page.value(series).abs() < f64::EPSILON, "{series}");
    }

    let mut talk = Talk::with(&home, &serving.address, "reader");
    talk.calls("read_note", &json!({"title": "launch plan"}));
    talk.calls("read_note", &json!({"title": "no such note"}));
    talk.calls("delete_note", &json!({"title": "launch plan"}));
    talk.asks("wiped\"} 7\nvouchsafe_fake 1", &json!({}));
    let call = |decision| {
        format!(
            "vouchsafe_calls_total{{from=\"client\",method=\"tools/call\",decision=\"{decision}\"}}"
        )
    };
    for (series, value) in [
        (call("allowed"), 2.0),
        (call("denied"), 1.0),
        ("vouchsafe_answers_total{method=\"tools/call\",outcome=\"result\"}".into(), 2.0),
        ("vouchsafe_answer_duration_seconds_count{method=\"tools/call\"}".into(), 2.0),
        ("vouchsafe_calls_total{from=\"client\",method=\"other\",decision=\"denied\"}".into(), 1.0),
        ("vouchsafe_denials_total{reason=\"not_permitted\"}".into(), 1.0),
        ("vouchsafe_denials_total{reason=\"unknown_method\"}".into(), 1.0),
        ("vouchsafe_handshakes_total{outcome=\"accepted\"}".into(), 1.0),
        ("vouchsafe_sessions_open".into(), 1.0),
        ("vouchsafe_children".into(), 1.0),
    ] {
        page.comes_to(&series, value);
    }
    let (received, sent) = ("vouchsafe_received_bytes_total", "vouchsafe_sent_bytes_total");
    let counted = (page.value(received), page.value(sent));
    assert!(counted.0 > 500.0 && counted.1 > 500.0, "{counted:?}");
    let (_, text) = page.get("/metrics");
    assert!(
        text.ends_with("# EOF\n") && !text.contains("wiped") && !text.contains("reader"),
        "{text}"
    );

    // Not a word of who it was, and what a session counted is not lost with it.
    home.run(&["revoke", "reader"]);
    page.comes_to("vouchsafe_sessions_cut_total{reason=\"revoked\"}", 1.0);
    page.comes_to("vouchsafe_sessions_open", 0.0);
    page.comes_to("vouchsafe_children", 0.0);
    page.comes_to("vouchsafe_handshakes_total{outcome=\"revoked\"}", 1.0);
    assert!(page.value(received) >= counted.0 && page.value(sent) >= counted.1);
}

#[test]
fn health_is_lost_with_the_list_and_comes_back_with_the_next() {
    let home = cast();
    fs::copy(home.path("home/crl.pem"), home.path("list.pem")).unwrap();
    let options = ["--metrics", "127.0.0.1:0", "--crl", "list.pem"];
    let serving = Serving::notes(&home, &options);
    let page = Page::of(&serving.says);
    assert_eq!(page.get("/healthz"), (200, "serving\n".into()));
    let offer = || {
        home.run(&["crl"]);
        replace(&home.path("list.pem"), &fs::read(home.path("home/crl.pem")).unwrap());
    };
    let until = |status: u16| {
        let begun = Instant::now();
        loop {
            let (found, body) = page.get("/healthz");
            if found == status {
                return body;
            }
            assert!(begun.elapsed() < PATIENCE, "{found} {body}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    };
    let config = home.path("home/ca.toml");
    let settled = fs::read_to_string(&config).unwrap();
    let list = settled.lines().find(|line| line.starts_with("list = ")).unwrap();
    replace(&config, settled.replace(list, "list = \"2s\"").as_bytes());
    offer();
    let reason = until(503);
    assert!(reason.starts_with("the revocation list of the CA "), "{reason}");
    assert!(reason.contains(" has gone stale ") && reason.lines().count() == 1, "{reason}");
    let (_, text) = page.get("/metrics");
    let stale = |line: &&str| line.starts_with("vouchsafe_revocation_list_remaining_seconds{");
    assert!(text.lines().filter(stale).any(|line| line.contains(" -")), "{text}");

    replace(&config, settled.as_bytes());
    offer();
    assert_eq!(until(200), "serving\n");
    // Bytes that are no list close every session, and that is no health either.
    replace(&home.path("list.pem"), b"no list");
    assert_eq!(until(503), "the revocation list cannot be read\n");
}

#[test]
fn only_who_asks_under_a_name_of_ours_is_answered_and_only_what_is_there() {
    let home = cast();
    let options = ["--metrics", "127.0.0.1:0", "--metrics-host", "gw.internal"];
    let serving = Serving::notes(&home, &options);
    let page = Page::of(&serving.says);
    let port = page.0.rsplit_once(':').unwrap().1;
    let status = |method: &str, path: &str, host: &str| {
        let head = format!("{method} {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        page.asked(&head).split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    for (host, expected) in [
        (format!("Host: localhost:{port}\r\n"), 200),
        (format!("Host: [::1]:{port}\r\n"), 200),
        ("Host: gw.internal\r\n".to_owned(), 200),
        // A page from elsewhere whose name has been made to lead here.
        (format!("Host: rebound.example:{port}\r\n"), 421),
        (format!("Host: localhost.rebound.example:{port}\r\n"), 421),
        ("Host: \r\n".to_owned(), 421),
        (String::new(), 421),
    ] {
        assert_eq!(status("GET", "/metrics", &host), expected, "{host:?}");
    }
    let ours = format!("Host: {}\r\n", page.0);
    assert_eq!(status("GET", "/", &ours), 404);
    assert_eq!(status("POST", "/metrics", &ours), 405);
    assert_eq!(status("DELETE", "/healthz", &ours), 405);
    assert_eq!(status("GET", "/metrics", &format!("{ours}Content-Length: 9\r\n")), 413);
    assert_eq!(status("GET", "/metrics", &format!("{ours}X: {}\r\n", "x".repeat(9000))), 431);
    let head = page.asked(&format!("HEAD /metrics HTTP/1.1\r\n{ours}Connection: close\r\n\r\n"));
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    serving.says.wait_for(0, "metrics were asked for under another host's name");

    let serve = ["serve", "--identity", "gw", "--metrics", "localhost:1", "--", "cat"];
    let output = home.command(VOUCHSAFE).args(serve).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("write an IP address and a port, such as 127.0.0.1:9090"), "{said}");
    let serve = ["serve", "--identity", "gw", "--metrics", "0.0.0.0:0", "--", "cat"];
    let refused = home.command(VOUCHSAFE).args(serve).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(said.starts_with("error: --metrics 0.0.0.0:0 is open to the network"), "{said}");
    assert!(said.contains("hint: ") && said.contains("--metrics-host HOST"), "{said}");
}

#[test]
fn notices_are_json_where_that_is_chosen_and_no_level_silences_the_audit() {
    let home = cast();
    let server = ["sh", "-c", "echo 'WARNING: \"mine\"' >&2; sleep 1000"];
    let log = |options: &[&str]| {
        let options = [&["--log-format", "json"], options].concat();
        let mut serve = home.command(VOUCHSAFE);
        serve.args(["serve", "--identity", "gw"]).args(options);
        let mut process =
            serve.arg("--").args(server).env("PATH", "/usr/bin:/bin").spawn().unwrap();
        (Lines::follow(process.stderr.take().unwrap()), process)
    };
    let (says, mut process) = log(&["--listen", "127.0.0.1:0"]);
    let (_, line) = says.wait_for(0, "listening on ");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["level"], "info");
    let address = line["message"].as_str().unwrap().lines().next().unwrap();
    let address = address.strip_prefix("listening on ").unwrap().to_owned();
    drop(Talk::begin(&home, &address, "reader", &[]));
    let (_, line) = says.wait_for(0, "mine");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["session"]), (&json!("debug"), &json!(1)));
    assert_eq!(line["message"], "WARNING: \"mine\"");
    process.kill().unwrap();
    process.wait().unwrap();
    for line in says.all() {
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line["level"].is_string() != line["event"].is_string(), "{line}");
    }

    // Only what somebody should act on, and every decision.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (says, mut process) = log(&["--log-level", "warning", "--listen", &port]);
    let begun = Instant::now();
    while std::net::TcpStream::connect(&port).is_err() {
        assert!(begun.elapsed() < PATIENCE);
    }
    let _talk = Talk::begin(&home, &port, "reader", &[]);
    says.wait_for(0, "\"event\":\"opened\"");
    assert!(!says.all().iter().any(|line| line.contains("level")), "{:?}", says.all());
    process.kill().unwrap();
    process.wait().unwrap();
    let failed = home
        .command(VOUCHSAFE)
        .args(["serve", "--identity", "nobody", "--log-format", "json", "--", "cat"])
        .output()
        .unwrap();
    let last: Value = serde_json::from_slice(&failed.stderr).unwrap();
    assert_eq!(last["level"], "error");
    assert!(last["hint"].as_str().unwrap().contains("vouchsafe issue"), "{last}");
}

/// Counters and gauges are there from the beginning; a histogram says at least what it is.
#[test]
fn the_dashboard_asks_for_nothing_that_is_not_there() {
    let home = cast();
    let serving = Serving::notes(&home, &["--metrics", "127.0.0.1:0"]);
    let (_, text) = Page::of(&serving.says).get("/metrics");
    let dashboard = include_str!("../../../docs/grafana.json");
    let is_of_a_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let names = dashboard.split(|c| !is_of_a_name(c)).filter(|word| word.starts_with("vouchsafe_"));
    let mut asked = 0;
    for name in names {
        let histogram = name.strip_suffix("_bucket").map(|name| format!("# TYPE {name} "));
        let series = [format!("\n{name}{{"), format!("\n{name} ")];
        assert!(series.into_iter().chain(histogram).any(|line| text.contains(&line)), "{name}");
        asked += 1;
    }
    assert!(asked >= 12, "{asked}");
}

#[test]
fn the_ca_is_watched_as_a_gateway_is() {
    let home = Home::new();
    let ca = Served::start(&home, &["--metrics", "127.0.0.1:0"]);
    let page = Page::of(&ca.says);
    assert_eq!(page.get("/healthz"), (200, "serving\n".into()));
    ca.told("home/operator", &["list"]);
    page.comes_to("vouchsafe_handshakes_total{outcome=\"accepted\"}", 1.0);
    page.comes_to("vouchsafe_answers_total{method=\"tools/call\",outcome=\"result\"}", 1.0);
    // Its own part is a service within the process.
    assert!(page.value("vouchsafe_children").abs() < f64::EPSILON);
    // Devices renew over HTTP, which is counted in octets and not in calls.
    let before = page.value("vouchsafe_received_bytes_total");
    let address = ca.operators.replace("127.0.0.1", "localhost");
    home.run(&["renew", "home/operator", "--ca", &address]);
    page.comes_to("vouchsafe_handshakes_total{outcome=\"accepted\"}", 2.0);
    assert!(page.value("vouchsafe_received_bytes_total") > before);
}
