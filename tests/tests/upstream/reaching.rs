//! Whether there is a server, and whether it is the one that was meant.

use std::sync::Arc;

use serde_json::json;
use tokio::net::TcpListener;
use vouchsafe_tests::World;
use vouchsafe_tests::upstream::{HttpServer, json as message};
use vouchsafe_transport::{Endpoint, HttpUpstream, Upstream};

use crate::behind::{client, failed, gateway_with, initialize, result, text, with_session};

#[tokio::test]
async fn a_server_with_a_certificate_must_have_one_of_the_roots_and_its_own_name() {
    let world = World::new();
    let identity = world.server("elsewhere", &[]);
    let server =
        HttpServer::tls(&identity, |asked| with_session(asked, || message(&text(asked, "safe"))));
    let roots =
        |world: &World| world.agent("r", &[]).roots.iter().map(|root| root.der.clone()).collect();
    let port = server.address.port();
    let cases: [(String, Vec<_>, Option<&str>); 3] = [
        (format!("https://localhost:{port}/mcp"), roots(&world), None),
        (format!("https://localhost:{port}/mcp"), roots(&World::new()), Some("UnknownIssuer")),
        (format!("https://127.0.0.2:{port}/mcp"), roots(&world), Some("refused")),
    ];
    for (url, roots, problem) in cases {
        let (notes, mut said) = tokio::sync::mpsc::channel(16);
        let clock = Arc::new(rustls::time_provider::DefaultTimeProvider);
        let endpoint = Endpoint::parse(&url).unwrap();
        let upstream = HttpUpstream::over_tls(endpoint, roots, clock).unwrap().with_notes(notes);
        let gateway =
            world.gateway(|config| config.upstream = Upstream::Http(Box::new(upstream))).await;
        let mut client = client(&world, &gateway).await;
        match problem {
            None => {
                initialize(&mut client).await;
                assert_eq!(client.call("x", json!({})).await, "safe");
            }
            Some(problem) => {
                let answer = client.request("initialize", json!({})).await.unwrap().unwrap();
                let expected = failed("The server cannot be reached at present; try again later");
                assert_eq!(answer["error"], expected);
                // Why is the operator's affair.
                let (session, said) = said.recv().await.unwrap();
                assert!(session == 1 && said.starts_with(&url) && said.contains(problem), "{said}");
            }
        }
    }
    // It gets to know its caller by headers, and not by our certificate.
    assert!(server.asked().iter().all(|asked| asked.header("vouchsafe-serial").is_some()));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_until_it_is_there_again() {
    let world = World::new();
    // An address of its own, so that nobody else is there meanwhile.
    let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let gateway = gateway_with(&world, address, |_| ()).await;
    let mut client = client(&world, &gateway).await;
    let answer = client.request("ping", json!({})).await.unwrap().unwrap();
    let expected = failed("The server cannot be reached at present; try again later");
    assert_eq!(answer["error"], expected);
    let _server = HttpServer::plain_at(address, |asked| message(&result(asked, "{}")));
    let answer = client.request("ping", json!({})).await.unwrap().unwrap();
    assert_eq!(answer["result"], json!({}));
}
