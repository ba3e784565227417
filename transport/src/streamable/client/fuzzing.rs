//! A talk with a server over connections that there are already.

use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio::sync::Semaphore;

use super::connection::Connection;
use super::{Near, Notes, Reach, Server, begin};
use crate::{Endpoint, Limits};

/// Talks with a server over these connections; more cannot be opened.
pub async fn talk(streams: Vec<DuplexStream>, limits: Limits) -> Near {
    let mut idle = Vec::new();
    for stream in streams {
        idle.extend(Connection::on(stream, None).await);
    }
    // No name, so there is nothing to look up and nothing to connect to.
    let endpoint = Endpoint::parse("http://0.0.0.0:0/mcp").expect("a URL of a server");
    let headers = hyper::HeaderMap::new();
    let (notes, places) = (Notes::default(), Arc::new(Semaphore::new(0)));
    let server = Server { endpoint, reach: Reach::Plain, headers, notes, limits, places };
    begin(server, idle, Box::new(()))
}
