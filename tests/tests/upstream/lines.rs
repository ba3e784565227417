//! Servers that speak MCP in lines, over TCP or a socket of Unix.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};
use vouchsafe_tests::World;
use vouchsafe_transport::{SocketUpstream, Upstream};

use crate::behind::client;

/// Answers each line with the text that it was called with, for as long as its client says anything.
async fn echo(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite) -> usize {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();
    let mut count = 0;
    while let Ok(Some(line)) = lines.next_line().await {
        let call: Value = serde_json::from_str(&line).unwrap();
        let content = json!([{"type": "text", "text": call["params"]["arguments"]["text"]}]);
        let answer = json!({"jsonrpc": "2.0", "id": call["id"], "result": {"content": content}});
        writer.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
        count += 1;
    }
    // It has heard the end; its last word still arrives.
    let log =
        json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "bye"}});
    writer.write_all(format!("{log}\n").as_bytes()).await.unwrap();
    writer.shutdown().await.unwrap();
    count
}

/// Two sessions of a server of lines, each over a connection of its own.
async fn two_sessions(world: &World, upstream: Upstream) {
    let gateway = world.gateway(|config| config.upstream = upstream).await;
    let mut first = client(world, &gateway).await;
    let mut second = client(world, &gateway).await;
    assert_eq!(first.call("echo", json!({"text": "one"})).await, "one");
    assert_eq!(second.call("echo", json!({"text": "two"})).await, "two");
    assert_eq!(first.call("echo", json!({"text": "three"})).await, "three");
    first.close().await;
    second.close().await;
    gateway.wait_for("closed", "client closed").await;
}

#[tokio::test]
async fn servers_of_lines_get_a_connection_for_each_session_which_ends_with_it() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        let mut served = Vec::new();
        for _ in 0..2 {
            served.push(tokio::spawn(echo(listener.accept().await.unwrap().0)));
        }
        let mut counts = Vec::new();
        for served in served {
            counts.push(served.await.unwrap());
        }
        counts.sort_unstable();
        counts
    });
    two_sessions(&world, Upstream::Socket(SocketUpstream::Tcp(address))).await;
    assert_eq!(serving.await.unwrap(), [1, 2]);

    let path = world.folder().join("mcp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let serving = tokio::spawn(async move {
        for _ in 0..2 {
            tokio::spawn(echo(listener.accept().await.unwrap().0));
        }
    });
    two_sessions(&world, Upstream::Socket(SocketUpstream::Unix(path))).await;
    serving.await.unwrap();
}

#[tokio::test]
async fn a_server_of_lines_that_is_not_there_is_told_of_and_recorded() {
    let world = World::new();
    let path = world.folder().join("nobody.sock");
    let upstream = Upstream::Socket(SocketUpstream::Unix(path.clone()));
    let gateway = world.gateway(|config| config.upstream = upstream).await;
    let mut client = client(&world, &gateway).await;
    let told = client.request("ping", json!({})).await.unwrap().unwrap();
    assert_eq!(told["error"]["message"], "The session is closed: the server could not be reached");
    let reason = format!("unix:{} cannot be reached: No such file", path.display());
    gateway.wait_for("closed", &reason).await;
}
