//! The HTTP client: it believes only its CA, and no answer costs more than it may.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on should say so and stop"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Request, Response};
use rustls::time_provider::DefaultTimeProvider;
use rustls_pki_types::{CertificateDer, ServerName};
use vouchsafe_certs::Fingerprint;
use vouchsafe_tests::{WebServer, World, fixed};
use vouchsafe_transport::{
    Anchor, FetchLimits, Fetcher, Handler, HttpLimits, HttpService, Identity, Trust,
};

fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).unwrap()
}

fn short() -> FetchLimits {
    let mut limits = FetchLimits::default();
    limits.handshake = Duration::from_secs(5);
    limits.head = Duration::from_millis(300);
    limits.body = Duration::from_millis(300);
    limits.body_len = 100;
    limits
}

fn fetcher(server: &WebServer, name: &str, anchor: &Anchor) -> Fetcher {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    Fetcher::new(&server.address.to_string(), name, anchor, None, short()).unwrap()
}

fn roots_of(identity: &Identity) -> Anchor {
    Anchor::Trust(Trust::unchecked(
        fixed(Arc::clone(&identity.roots)),
        Arc::new(DefaultTimeProvider),
    ))
}

fn pinned(root: Fingerprint) -> Anchor {
    Anchor::Pin { root, clock: Arc::new(DefaultTimeProvider) }
}

/// A server of this world that shows its root as well.
async fn server(world: &World, answer: &'static [u8]) -> (WebServer, Identity) {
    let identity = world.server("ca", &[]);
    let root = identity.roots[0].der.clone();
    let chain = identity.chain.iter().cloned().chain([root]).collect();
    (WebServer::new(&identity, chain, |_| answer.to_vec()).await, identity)
}

async fn refusal(fetcher: Fetcher) -> String {
    let text = fetcher.fetch(get("/")).await.unwrap_err().to_string();
    text.replace(&fetcher_address(&fetcher), "SERVER")
}

fn fetcher_address(fetcher: &Fetcher) -> String {
    let debug = format!("{fetcher:?}");
    debug.trim_start_matches("Fetcher(").trim_end_matches(')').to_owned()
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let world = World::new();
    let (server, identity) =
        server(&world, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let fetcher = fetcher(&server, "localhost", &roots_of(&identity));
    let mut exchange = fetcher.open().await.unwrap();
    for path in ["/one", "/two"] {
        let answer: Response<Bytes> = exchange.send(get(path)).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"hi"[..]));
    }
    let host = format!("host: {}\r\n\r\n", server.address);
    let heads = ["/one", "/two"].map(|path| format!("GET {path} HTTP/1.1\r\n{host}"));
    assert_eq!(server.heads(), heads);
}

#[tokio::test]
async fn a_server_of_another_ca_or_another_name_hears_nothing() {
    let (world, other) = (World::new(), World::new());
    let (server, identity) = server(&world, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let stranger = other.agent("stranger", &[]);
    let foreign = refusal(fetcher(&server, "localhost", &roots_of(&stranger))).await;
    assert_eq!(foreign, "SERVER is not trusted: the certificate does not lead to a trusted root");
    let named = refusal(fetcher(&server, "ca.example", &roots_of(&identity))).await;
    assert!(
        named.starts_with(
            "SERVER is not trusted: the certificate does not carry the name ca.example"
        ),
        "{named}"
    );
    assert_eq!(server.heads(), [""; 0]);

    // An agent's certificate is no server's, though it is of the right CA.
    let agent = world.agent("agent", &[]);
    let chain = agent.chain.clone();
    let impostor = WebServer::new(&agent, chain, |_| Vec::new()).await;
    let refused = refusal(fetcher(&impostor, "localhost", &roots_of(&agent))).await;
    assert!(
        refused.contains("SERVER is not trusted: the certificate is not a server's"),
        "{refused}"
    );
    assert_eq!(impostor.heads(), [""; 0]);
}

#[tokio::test]
async fn a_pinned_root_is_enough_and_nothing_less_is() {
    let (world, other) = (World::new(), World::new());
    let (shown, identity) = server(&world, b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let root = Fingerprint::of(&identity.roots[0].der);
    let mut exchange = fetcher(&shown, "localhost", &pinned(root)).open().await.unwrap();
    assert_eq!(exchange.send(get("/")).await.unwrap().status().as_u16(), 204);
    let is_root = |der: &&CertificateDer<'_>| Fingerprint::of(der) == root;
    assert_eq!(exchange.chain().iter().filter(is_root).count(), 1);

    // Showing the pinned root is not being vouched for by it.
    let stranger = other.server("ca", &[]);
    let chain = stranger.chain.iter().chain([&identity.roots[0].der]).cloned().collect();
    let thief = WebServer::new(&stranger, chain, |_| Vec::new()).await;
    let expected = "the certificate of SERVER is not from the CA whose root is pinned";
    assert_eq!(refusal(fetcher(&thief, "localhost", &pinned(root))).await, expected);
    // Nor is being vouched for enough where the root is not shown, or is another.
    let silent = WebServer::new(&identity, identity.chain.clone(), |_| Vec::new()).await;
    assert_eq!(refusal(fetcher(&silent, "localhost", &pinned(root))).await, expected);
    let another = Fingerprint::of(&stranger.roots[0].der);
    assert_eq!(refusal(fetcher(&shown, "localhost", &pinned(another))).await, expected);
    // The pin says who vouches; the name still has to be right.
    let named = refusal(fetcher(&shown, "ca.example", &pinned(root))).await;
    assert!(named.contains("does not carry the name ca.example"), "{named}");
    assert!(thief.heads().is_empty() && silent.heads().is_empty());
}

#[tokio::test]
async fn no_answer_costs_more_than_it_may() {
    let world = World::new();
    let long = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n\
        .....................................................................................................\r\n0\r\n\r\n";
    for (answer, expected) in [
        (&b""[..], "SERVER did not answer in time"),
        (b"HTTP/1.1 200 OK\r\nContent-Len", "SERVER did not answer in time"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "SERVER did not answer in time"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
            "the answer of SERVER is longer than 100 octets",
        ),
        (long, "the answer of SERVER is longer than 100 octets"),
        (b"220 mail.example ESMTP\r\n", "SERVER broke off: "),
    ] {
        let (server, identity) = server(&world, answer).await;
        let begun = Instant::now();
        let refused = refusal(fetcher(&server, "localhost", &roots_of(&identity))).await;
        assert!(refused.starts_with(expected), "{refused}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    let limits = short();
    let flood = move |_: &str| [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'x'; 1 << 20]].concat();
    let identity = world.server("ca", &[]);
    let server = WebServer::new(&identity, identity.chain.clone(), flood).await;
    let refused = refusal(fetcher(&server, "localhost", &roots_of(&identity))).await;
    assert!(refused.starts_with("SERVER broke off: "), "{refused} {limits:?}");
}

#[tokio::test]
async fn a_refusal_of_our_own_certificate_is_told_as_such() {
    let world = World::new();
    let handler: Handler = Arc::new(|_, _| Box::pin(async { Response::new(Bytes::new()) }));
    let http = HttpService { handler, limits: HttpLimits::default() };
    let gateway = world.gateway(|config| config.http = Some(http)).await;
    let stolen = world.agent("stolen", &["tools:*"]);
    world.revoke("stolen");
    let name = ServerName::try_from("localhost").unwrap();
    let address = gateway.address.to_string();
    let anchor = roots_of(&stolen);
    let fetcher = Fetcher::new(&address, name, &anchor, Some(&stolen), short()).unwrap();
    // It comes after the handshake, before the request or across it.
    for moments in 0..40 {
        let mut exchange = fetcher.open().await.unwrap();
        for _ in 0..moments {
            tokio::task::yield_now().await;
        }
        let refused = exchange.send(get("/")).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.ends_with("its certificate is revoked"), "{moments}: {refused}");
    }
}
