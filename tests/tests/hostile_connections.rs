//! Connections that are no sessions, or do not stay one: each is refused with one line, and an
//! honest agent is served all the while.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::server::ServerSessionMemoryCache;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateRevocationListDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vouchsafe_ca::{Tier, pem};
use vouchsafe_tests::audit::{count, refused};
use vouchsafe_tests::hostile::{Forged, Forger, Honest, client_config, ending};
use vouchsafe_tests::{Client, PATIENCE, World};
use vouchsafe_transport::Revocations;

/// The first flight of an honest client.
fn client_hello(world: &World) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let config = Arc::new(client_config(world, None));
    let mut hello = Vec::new();
    ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// What a client says that knows nothing newer than TLS 1.2 (RFC 5246 §7.4.1.2).
fn client_hello_of_tls_1_2() -> Vec<u8> {
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 0x1d, // supported_groups: x25519
        0, 11, 0, 2, 1, 0, // ec_point_formats: uncompressed
        0, 13, 0, 6, 0, 4, 4, 3, 8, 4, // signature_algorithms
    ];
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

/// Writes octets and reads what comes back until the connection ends.
async fn answer_to(address: SocketAddr, octets: &[u8]) -> Vec<u8> {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(octets).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, tcp.read_to_end(&mut answer)).await;
    read.unwrap_or_else(|_| panic!("the connection is open after {PATIENCE:?}")).unwrap();
    answer
}

/// A fatal alert in the clear (RFC 8446 §6).
fn alert(description: u8) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, 2, description]
}

#[tokio::test]
async fn what_is_not_tls_1_3_is_told_so() {
    let world = World::new();
    let gateway =
        world.gateway(|config| config.limits.handshake = Duration::from_millis(300)).await;
    let honest = Honest::of(&world);
    let hello = client_hello(&world);
    let half = hello[..hello.len() / 2].to_vec();
    let mut garbled = hello.clone();
    garbled[5] = 99;
    let too_slow = "the TLS handshake was not finished within 300ms";
    for (octets, reason, answer) in [
        (client_hello_of_tls_1_2(), "the client does not speak TLS 1.3", alert(70)),
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            "what the client sent is not TLS",
            alert(50),
        ),
        (vec![0; 4096], "what the client sent is not TLS", alert(50)),
        (
            garbled,
            "the TLS handshake failed: received unexpected handshake message: got HandshakeType(0x63) when expecting ClientHello",
            alert(10),
        ),
        (half, too_slow, vec![]),
        (vec![], too_slow, vec![]),
        (vec![22], too_slow, vec![]),
    ] {
        let before = gateway.events().len();
        assert_eq!(answer_to(gateway.address, &octets).await, answer, "{reason}");
        honest.sees_refused(&gateway, before, reason).await;
    }
}

#[tokio::test]
async fn other_protocols_are_not_spoken_and_none_means_ours() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let honest = Honest::of(&world);
    let agent = Forged::of(&world.agent("a", &["tools:echo"]));
    let with = |protocols: &[&str]| {
        let mut config = agent.config(&world);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    };
    let before = gateway.events().len();
    let ended = ending(gateway.address, with(&["h3", "mcp/2"])).await;
    assert_eq!(ended, "received fatal alert: NoApplicationProtocol");
    let reason = "the client asks for protocols that are not spoken here";
    honest.sees_refused(&gateway, before, reason).await;
    for protocols in [&[][..], &["mcp/2", "mcp/1"]] {
        let mut client = Client::connect_with(gateway.address, with(protocols)).await.unwrap();
        assert_eq!(client.call("echo", json!({"text": "in"})).await, "in");
    }
}

#[tokio::test]
async fn a_handshake_that_breaks_off_leaves_one_line() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let honest = Honest::of(&world);
    let hello = client_hello(&world);
    for octets in [&[][..], &hello[..100], &hello] {
        let before = gateway.events().len();
        let mut tcp = TcpStream::connect(gateway.address).await.unwrap();
        tcp.write_all(octets).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut rest = Vec::new();
        tcp.read_to_end(&mut rest).await.unwrap();
        let reason = "the connection failed: tls handshake eof";
        honest.sees_refused(&gateway, before, reason).await;
    }
}

/// One connection by hand: what is sent early, what comes back, and how the handshake went.
fn converse(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    early: Option<&[u8]>,
    line: &[u8],
) -> (String, ClientConnection) {
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut tcp = std::net::TcpStream::connect(address).unwrap();
    if let Some(early) = early {
        connection.early_data().unwrap().write_all(early).unwrap();
    }
    let mut answer = vec![0; 16 * 1024];
    let mut stream = rustls::Stream::new(&mut connection, &mut tcp);
    stream.write_all(line).unwrap();
    let read = stream.read(&mut answer).unwrap();
    (String::from_utf8_lossy(&answer[..read]).into_owned(), connection)
}

/// Another server with the gateway's very certificate, that gives tickets and takes early data.
fn generous_server(world: &World) -> SocketAddr {
    let shown = Forged::of(&world.server("gateway", &[])).certified_key();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![b"mcp/1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(10);
    config.max_early_data_size = 10_000;
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tcp = tcp.unwrap();
            let mut stream = rustls::Stream::new(&mut connection, &mut tcp);
            let mut line = [0; 1024];
            let read = stream.read(&mut line).unwrap();
            stream.write_all(&line[..read]).unwrap();
        }
    });
    address
}

fn call(id: u32, text: &str) -> Vec<u8> {
    let params = json!({"name": "echo", "arguments": {"text": text}});
    let request = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
    format!("{request}\n").into_bytes()
}

#[tokio::test]
async fn nobody_comes_back_without_being_judged_again() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let agent = Forged::of(&world.agent("a", &["tools:echo"]));
    let mut config = agent.config(&world);
    config.resumption = Resumption::in_memory_sessions(10);
    config.enable_early_data = true;
    let config = Arc::new(config);
    let address = gateway.address;
    let generous = generous_server(&world);
    let story = move || {
        for _ in 0..2 {
            let (answer, connection) = converse(address, &config, None, &call(1, "plain"));
            assert!(answer.contains("plain"), "{answer}");
            assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(connection.tls13_tickets_received(), 0);
        }
        // A ticket from elsewhere, with early data: neither counts here.
        let (_, connection) = converse(generous, &config, None, b"hello\n");
        assert!(connection.tls13_tickets_received() > 0);
        let (answer, connection) =
            converse(address, &config, Some(&call(7, "early")), &call(8, "later"));
        assert!(!connection.is_early_data_accepted());
        assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
        assert!(answer.contains("later") && !answer.contains("early"), "{answer}");
        // To be sure that the ticket and the early data were good.
        let (_, connection) = converse(generous, &config, None, b"hello\n");
        assert!(connection.tls13_tickets_received() > 0);
        let (_, connection) = converse(generous, &config, Some(b"early"), b"later");
        assert!(connection.is_early_data_accepted());
        assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Resumed));
    };
    tokio::task::spawn_blocking(story).await.unwrap();
    let events = gateway.wait_until(|events| count(events, "closed") == 3).await;
    assert_eq!(count(&events, "allowed"), 3);
}

/// Connections of the gateway that the system still knows, in any state but that of waiting out.
fn connections_at(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{:04X}", address.port());
    let is_ours = |line: &&str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (own, state) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        own.ends_with(&local) && !["06", "0A"].contains(&state)
    };
    table.lines().filter(is_ours).count()
}

/// How many connections this process may hold at once.
fn most_descriptors() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_ascii_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_handshakes_that_never_finish_keep_nobody_out() {
    const HANDSHAKES: usize = 10_000;
    const AT_ONCE: usize = 512;
    let world = World::new();
    let gateway = world.gateway(|config| config.limits.handshakes = AT_ONCE).await;
    let honest = Honest::of(&world);
    let room = most_descriptors().saturating_sub(AT_ONCE + 300).min(HANDSHAKES);
    let (address, half) = (gateway.address, client_hello(&world)[..100].to_vec());
    let flood = tokio::task::spawn_blocking(move || {
        let mut open = VecDeque::new();
        for nth in 0..HANDSHAKES {
            if open.len() == room {
                open.pop_front();
            }
            let mut tcp = std::net::TcpStream::connect(address).unwrap();
            // Some say nothing at all.
            if nth % 2 == 0 {
                // Whoever had to give way already cannot be told.
                drop(tcp.write_all(&half));
            }
            open.push_back(tcp);
        }
        open
    });
    let (mut served, mut turned_away) = (0, 0);
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while !flood.is_finished() {
        pace.tick().await;
        let begun = Instant::now();
        // The crowd may push in; whoever comes again is in soon.
        while !honest.tries(&gateway).await {
            turned_away += 1;
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "only after {:?}", begun.elapsed());
        served += 1;
    }
    let open = flood.await.unwrap();
    // All of them are still there, at their end.
    honest.calls(&gateway).await;
    assert_eq!(open.len(), room);
    assert!(served > 0);
    assert!(turned_away <= served, "{turned_away} times turned away, {served} times served");
    drop(open);
    // Each of them is told or counted, whatever became of honest ones, and the audit is not flooded.
    let events = gateway.wait_until(|events| refused(events) >= HANDSHAKES).await;
    assert!(events.len() < HANDSHAKES / 2, "{} events", events.len());
    for _ in 0..100 {
        if connections_at(address) == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(connections_at(address), 0);
    honest.calls(&gateway).await;
}

#[tokio::test]
async fn a_stale_list_cuts_everybody_until_a_fresh_one_comes() {
    let world = World::new();
    let gateway = world.gateway(|_| ()).await;
    let agent = world.agent("a", &["tools:echo"]);
    let lists = |number: u64, lifetime: Duration| {
        let signed = [Tier::Root, Tier::Issuing].map(|tier| {
            let list = Forger::thief(&world, tier).list(number, lifetime);
            CertificateRevocationListDer::from(list)
        });
        let pem = pem::revocation_lists(signed);
        Revocations::from_pem(pem.as_bytes(), &agent.list_issuers()).unwrap()
    };
    let mut first = Client::connect(gateway.address, &agent).await;
    let mut second = Client::connect(gateway.address, &world.agent("b", &["tools:echo"])).await;
    world.publish_this(lists(100, Duration::from_secs(1)));
    assert_eq!(first.call("echo", json!({"text": "fresh"})).await, "fresh");
    assert_eq!(second.call("echo", json!({"text": "fresh"})).await, "fresh");
    first.ending().await;
    second.ending().await;
    let reason = "the revocation list has gone stale";
    let cut = |event: &&serde_json::Value| event["event"] == "cut" && event["reason"] == reason;
    gateway.wait_until(|events| events.iter().filter(cut).count() == 2).await;
    let again = Client::connect(gateway.address, &agent).await.ending().await;
    assert_eq!(again, "received fatal alert: CertificateUnknown");
    gateway.wait_for("refused", reason).await;
    world.publish_this(lists(101, Duration::from_secs(3600)));
    Honest::of(&world).calls(&gateway).await;
    Client::connect(gateway.address, &agent).await.call("echo", json!({"text": "again"})).await;
}
