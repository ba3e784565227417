//! `serve --share`: one process for everybody, and what it says kept apart.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

mod home;
mod lines;
#[expect(dead_code, reason = "of gateways and of who talks to them, this needs a part")]
mod serving;

use std::path::Path;

use home::Home;
use rustix::process::Signal;
use serde_json::{Value, json};
use serving::{Serving, Talk};
use vouchsafe_tests::children;

/// Calls of each client that are in flight at once.
const CALLS: usize = 5;

/// Says who it is, and answers a call with its text, but first pings whoever is there thousands of
/// times without listening: what it hears meanwhile fills every pipe.
const SERVER: &str = r#"
echo "server $$ of gateway $PPID" >&2
about='"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}'
pongs=0
while IFS= read -r line; do
    id=${line#*\"id\":}
    id=${id%%[,\}]*}
    text=${line#*\"text\":\"}
    text=${text%%\"*}
    case $line in
    *'"method":"initialize"'*) echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{$about}}" ;;
    *'"name":"count"'*)
        echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"$pongs\"}]}}" ;;
    *'"method":"tools/call"'*)
        ping=0
        while [ $ping -lt 5000 ]; do
            echo "{\"jsonrpc\":\"2.0\",\"id\":\"ping-$ping\",\"method\":\"ping\"}"
            ping=$((ping + 1))
        done
        echo "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"$text\"}]}}" ;;
    *'"result":{}'*) pongs=$((pongs + 1)) ;;
    esac
done
"#;

#[test]
fn one_process_serves_two_identities_and_pings_while_answers_wait() {
    let home = Home::new();
    home.run(&["issue", "gw", "--server", "--ip", "127.0.0.1"]);
    home.run(&["issue", "alice", "--allow", "tools:*"]);
    home.run(&["issue", "bob", "--allow", "tools:echo"]);
    let options = ["--share", "--audit", "audit.jsonl"];
    let serving = Serving::start(&home, &options, &["sh", "-c", SERVER]);
    let mut alice = Talk::with(&home, &serving.address, "alice");
    let mut bob = Talk::with(&home, &serving.address, "bob");
    // Under the same ids, all of them at once.
    for id in 100..100 + CALLS {
        for (talk, name) in [(&mut alice, "alice"), (&mut bob, "bob")] {
            let params = json!({"name": "echo", "arguments": {"text": format!("{name}-{id}")}});
            let call =
                json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
            talk.says(&call);
        }
    }
    for (talk, name) in [(&alice, "alice"), (&bob, "bob")] {
        for id in 100..100 + CALLS {
            let (_, line) = talk.hears.wait_for(0, &format!(r#""id":{id},"#));
            let answer: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(answer["result"]["content"][0]["text"], format!("{name}-{id}"));
        }
        // What `initialize` came to, and these: none was pinged, and none heard of the other's.
        assert_eq!(talk.hears.all().len(), 1 + CALLS, "{:#?}", talk.hears.all());
    }

    let (_, said) = serving.says.wait_for(0, "of gateway ");
    let words: Vec<&str> = said.rsplit(' ').collect();
    let (gateway, server) = (words[0], words[3]);
    assert_eq!(children(gateway), [server]);
    let started = serving.says.all().into_iter().filter(|line| line.contains("of gateway "));
    assert_eq!(started.count(), 1);
    // And it was answered itself, as far as there was room for that.
    assert!(pongs(&mut alice) > 0, "no ping was answered");
    let (status, _) = serving.stops(Signal::TERM);
    assert!(status.success());
    assert!(!Path::new("/proc").join(server).exists());
}

/// How often the server was answered so far.
fn pongs(talk: &mut Talk) -> usize {
    talk.says(&json!({"jsonrpc": "2.0", "id": 900, "method": "tools/call", "params": {"name": "count", "arguments": {}}}));
    let (_, line) = talk.hears.wait_for(0, r#""id":900,"#);
    let answer: Value = serde_json::from_str(&line).unwrap();
    answer["result"]["content"][0]["text"].as_str().unwrap().parse().unwrap()
}
