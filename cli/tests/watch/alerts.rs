//! Alerts, and what becomes of a gateway whose alerts nobody takes.

use std::fs::{self, File, Permissions, set_permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::json;
use vouchsafe_tests::{WebServer, identity_in};

use crate::cast;
use crate::home::{Home, VOUCHSAFE};
use crate::lines::PATIENCE;
use crate::receiver::Webhook;
use crate::scrape::Page;
use crate::served::Served;
use crate::serving::{Serving, Talk, replace};

/// A file with the URL that only its owner reads.
fn url_file(home: &Home, url: &str) {
    File::create(home.path("hook")).unwrap().write_all(format!("{url}\n").as_bytes()).unwrap();
    set_permissions(home.path("hook"), Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn whoever_is_revoked_in_mid_session_is_reported_once() {
    let home = cast();
    let webhook = Webhook::answering(&[]);
    url_file(&home, &webhook.url);
    let serving = Serving::notes(&home, &["--alert-url-file", "hook"]);
    let _talks: Vec<_> = (0..3).map(|_| Talk::with(&home, &serving.address, "reader")).collect();
    home.run(&["revoke", "reader"]);
    let (head, alert) = webhook.post();
    assert!(head.starts_with("POST /hooks/s3cret HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    assert_eq!(alert["kind"], "session_cut");
    assert_eq!(alert["gateway"], "spiffe://acme.example/gw");
    assert_eq!(alert["principal"], "spiffe://acme.example/reader");
    assert_eq!(alert["reason"], "revoked");
    let view: serde_json::Value =
        serde_json::from_str(&home.run(&["inspect", "reader", "--json"])).unwrap();
    assert_eq!(alert["serial"], view["serial"]);
    let told = "spiffe://acme.example/gw: a session of spiffe://acme.example/reader was cut: the certificate is revoked";
    assert_eq!(alert["text"], told);
    // The others were cut at the same moment. Another device makes another alert, which comes after theirs.
    let _other = Talk::with(&home, &serving.address, "editor");
    home.run(&["revoke", "editor"]);
    assert_eq!(webhook.post().1["principal"], "spiffe://acme.example/editor");
    let (_, said) = serving.stops(rustix::process::Signal::TERM);
    assert!(!said.iter().any(|line| line.contains("s3cret")), "{said:#?}");
}

#[test]
fn a_burst_of_denials_is_one_alert_however_long_it_lasts_and_is_tried_again() {
    let home = cast();
    let webhook = Webhook::answering(&["503 Service Unavailable", "429 Too Many Requests"]);
    let options = ["--alert-url", &webhook.url, "--alert-denials", "5", "--alert-window", "3600"];
    let serving = Serving::notes(&home, &options);
    let mut talk = Talk::with(&home, &serving.address, "reader");
    for number in 0..20 {
        talk.calls(&format!("wipe_{number}"), &json!({}));
    }
    let alerts = [(); 3].map(|()| webhook.post().1);
    for alert in &alerts {
        assert_eq!((&alert["kind"], &alert["count"]), (&json!("denials"), &json!(5)));
        assert_eq!(
            (&alert["principal"], &alert["reason"]),
            (&json!("spiffe://acme.example/reader"), &json!("not_permitted"))
        );
        assert!(!alert.to_string().contains("wipe_"), "{alert}");
    }
    // It was taken the third time; what comes next is something else.
    home.run(&["revoke", "reader"]);
    assert_eq!(webhook.post().1["kind"], "session_cut");
    assert_eq!(webhook.rest(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_burst_of_handshakes_that_come_to_nothing_is_one_alert() {
    let home = cast();
    let webhook = Webhook::answering(&[]);
    let options = ["--alert-url", &webhook.url, "--alert-handshakes", "3"];
    let serving = Serving::notes(&home, &options);
    home.run(&["revoke", "reader"]);
    serving.says.wait_for(0, "number 2 in force");
    for _ in 0..5 {
        let tools = ["tools", &serving.address, "--identity", "reader"];
        assert!(!home.command(VOUCHSAFE).args(tools).status().unwrap().success());
    }
    let alert = webhook.alert("refused_handshakes");
    assert_eq!((&alert["count"], &alert["reason"]), (&json!(3), &json!("revoked")));
    assert_eq!(alert["principal"], json!(null));
    assert_eq!(webhook.rest(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_list_that_nobody_signs_anew_is_reported_before_it_is_stale_and_when_it_is() {
    let home = cast();
    let webhook = Webhook::answering(&[]);
    let config = home.path("home/ca.toml");
    let settled = fs::read_to_string(&config).unwrap();
    let list = settled.lines().find(|line| line.starts_with("list = ")).unwrap();
    replace(&config, settled.replace(list, "list = \"12s\"").as_bytes());
    home.run(&["crl"]);
    let _serving = Serving::notes(&home, &["--alert-url", &webhook.url]);
    let ending = webhook.alert("list_ending");
    let reason = ending["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the revocation list of the CA ") && reason.contains(" goes stale at "),
        "{reason}"
    );
    let lost = webhook.alert("list_lost");
    let reason = lost["reason"].as_str().unwrap();
    assert!(reason.contains(" has gone stale at "), "{reason}");
    assert_eq!(webhook.rest(), Vec::<serde_json::Value>::new());
}

#[test]
fn a_receiver_that_never_answers_harms_nothing() {
    let home = cast();
    // It takes connections and says nothing, ever.
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", deaf.local_addr().unwrap());
    let options = [
        "--alert-url",
        &url,
        "--alert-denials",
        "1",
        "--alert-window",
        "0",
        "--metrics",
        "127.0.0.1:0",
    ];
    let serving = Serving::notes(&home, &options);
    let page = Page::of(&serving.says);
    let mut talk = Talk::with(&home, &serving.address, "reader");
    // Each denial is an alert, and there is room for 64: one is on its way, the others are dropped.
    let begun = Instant::now();
    for number in 0..200 {
        talk.calls(&format!("wipe_{number}"), &json!({}));
    }
    assert!(begun.elapsed() < PATIENCE);
    assert!(page.value("vouchsafe_alerts_total{outcome=\"dropped\"}") >= 200.0 - 65.0);
    assert!(page.value("vouchsafe_alerts_total{outcome=\"delivered\"}").abs() < f64::EPSILON);
    assert_eq!(
        talk.calls("read_note", &json!({"title": "launch plan"})),
        "We launch on the first of May."
    );
    talk.leaves();
    let (status, _) = serving.stops(rustix::process::Signal::TERM);
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_elsewhere_must_prove_itself_by_the_roots_that_were_named() {
    let home = cast();
    let gw = identity_in(&home.path("gw"));
    let ok = |_: &str| b"HTTP/1.1 204 No Content\r\n\r\n".to_vec();
    let receiver = WebServer::new(&gw, gw.chain.clone(), ok).await;
    let url = format!("https://localhost:{}/hooks/s3cret", receiver.address.port());
    let serve = |roots: &str| {
        let options = ["--alert-url", &url, "--alert-roots", roots, "--metrics", "127.0.0.1:0"];
        let serving = Serving::notes(&home, &[&options[..], &["--alert-denials", "1"]].concat());
        Talk::with(&home, &serving.address, "reader").calls("wipe", &json!({}));
        serving
    };
    let serving = serve("gw/roots.pem");
    Page::of(&serving.says).comes_to("vouchsafe_alerts_total{outcome=\"delivered\"}", 1.0);
    assert!(receiver.heads()[0].starts_with("POST /hooks/s3cret HTTP/1.1\r\n"));
    drop(serving);

    // Of another CA: nothing is sent, however often it is tried.
    home.command(VOUCHSAFE)
        .args(["init", "--trust-domain", "other.example"])
        .env("VOUCHSAFE_HOME", home.path("other"))
        .output()
        .unwrap();
    let roots = home.path("other/root.pem");
    assert!(roots.exists());
    let heard = receiver.heads().len();
    let serving = serve(roots.to_str().unwrap());
    let (_, warned) = serving.says.wait_for(0, "WARNING: alerts do not reach localhost:");
    assert!(warned.contains("does not lead to a trusted root"), "{warned}");
    assert_eq!(receiver.heads().len(), heard);
}

fn serve(home: &Home, options: &[&str]) -> Output {
    let mut command: Command = home.command(VOUCHSAFE);
    command.args(["serve", "--identity", "gw", "--listen", "127.0.0.1:0"]);
    command.args(options).args(["--", "cat"]).output().unwrap()
}

#[test]
fn a_url_that_cannot_be_used_is_refused_and_never_repeated() {
    let home = cast();
    let refused = |options: &[&str]| {
        let output = serve(&home, options);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
        said
    };
    let plain = refused(&["--alert-url", "http://hooks.example/s3cret"]);
    assert!(plain.contains("the URL for alerts is plain http to another machine"), "{plain}");
    // Said for nobody.
    for option in ["--alert-denials", "--alert-handshakes", "--alert-window"] {
        let alone = refused(&[option, "5"]);
        assert!(alone.contains("--alert-url"), "{alone}");
    }
    let both = ["--alert-url", "https://a.example/s3cret", "--alert-url-file", "hook"];
    assert!(refused(&both).contains("cannot be used with"));
    url_file(&home, "https://hooks.example/s3cret");
    set_permissions(home.path("hook"), Permissions::from_mode(0o644)).unwrap();
    let open = refused(&["--alert-url-file", "hook"]);
    assert!(
        open.contains("hook has mode 644: others can read the URL\nhint: chmod 600 hook"),
        "{open}"
    );
}

#[test]
fn the_ca_tells_of_revocations_and_of_keys_that_two_hold() {
    let home = Home::new();
    let webhook = Webhook::answering(&[]);
    let ca = Served::start(&home, &["--alert-url", &webhook.url]);
    let operator = "home/operator";
    let invite = ["invite", "build-7", "--allow", "tools:search", "--address", &ca.everybody];
    let said = ca.told(operator, &invite);
    let line = said.split_whitespace().find(|word| word.starts_with("vouchsafe-invitation-1."));
    home.run(&["enroll", line.unwrap(), "--out", "agent"]);
    fs::create_dir(home.path("copy")).unwrap();
    for name in ["certificate.pem", "key.pem", "roots.pem"] {
        fs::copy(home.path("agent").join(name), home.path("copy").join(name)).unwrap();
    }
    let address = ca.operators.replace("127.0.0.1", "localhost");
    home.run(&["renew", "agent", "--ca", &address]);
    let thief = ["renew", "copy", "--ca", &address];
    assert!(!home.command(VOUCHSAFE).args(thief).status().unwrap().success());
    let alert = webhook.alert("lineage_revoked");
    assert_eq!(alert["reason"], "keyCompromise");
    let text = alert["text"].as_str().unwrap();
    assert!(
        text.contains("the CA: revoked the lineage of ") && text.contains("with another key"),
        "{text}"
    );
    let shown = ca.json(operator, &["inspect", "copy/certificate.pem"])["serial"].clone();
    assert_eq!(alert["serial"], shown);

    ca.told(operator, &["revoke", "build-7", "--reason", "superseded"]);
    let alert = webhook.alert("revoked");
    assert_eq!(alert["principal"], "spiffe://acme.example/build-7");
    assert_eq!(alert["reason"], "superseded");
}
