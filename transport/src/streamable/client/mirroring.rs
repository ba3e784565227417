//! Arguments in headers (`Mcp-Param-*`, MCP 2026-07-28), where the client has asked for no list of
//! tools that would say which, or the list has changed since.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use tokio::time::Instant;

use super::Talk;
use super::departure::Departure;
use super::exchange::{Ask, Refused};
use super::headers::{mirrored, own_version};
use crate::message::{Id, Message, Outcome};
use crate::streamable::HEADER_MISMATCH;
use crate::streamable::annotations::{Annotations, PAGES, list_tools};

/// For so long a list is not asked for again: what it costs the server, no limit of the client's counts.
const GOOD_FOR: Duration = Duration::from_secs(10);

impl Talk {
    /// The headers that a call should have had, if its server refused it for them: its tools are
    /// listed, and the call is worth another attempt where that has told something new. A server that
    /// wants nothing in headers is asked nothing.
    pub(super) async fn other_headers(&self, ask: &Ask, refused: &Refused) -> Option<HeaderMap> {
        let is_for_headers = refused.said.as_deref().and_then(code) == Some(HEADER_MISMATCH);
        if !ask.is_modern || ask.method != "tools/call" || !is_for_headers {
            return None;
        }
        if !self.was_listed_lately() {
            self.list().await?;
            self.state().listed = Some(Instant::now());
        }
        let Ok(Message::Request { method, params, .. }) = Message::read(&ask.line) else {
            return None;
        };
        let headers = mirrored(&own_version(params)?, &method, params, &self.state().annotations);
        (headers != ask.headers).then_some(headers)
    }

    fn was_listed_lately(&self) -> bool {
        self.state().listed.is_some_and(|listed| listed.elapsed() < GOOD_FOR)
    }

    /// Takes note of what the server's tools want; `None` where it does not say.
    async fn list(&self) -> Option<()> {
        let mut cursor = None;
        for _ in 0..PAGES {
            let id = self.own_id();
            let line = list_tools(&id, cursor.as_deref());
            let ask = own_list(id, line)?;
            if !matches!(self.tried(&ask, ask.headers.clone()).await, Ok(None)) {
                return None;
            }
            cursor = ask.next_page.and_then(OnceLock::into_inner);
            if cursor.is_none() {
                break;
            }
        }
        Some(())
    }

    /// One that the client waits for nothing under, at this moment.
    fn own_id(&self) -> Id {
        let state = self.state();
        let mut ids = (0_u64..).map(|number| Id::Text(format!("vouchsafe-{number}").into()));
        let free = ids.find(|id| !state.in_flight.contains_key(id));
        free.unwrap_or(Id::Integer(0))
    }
}

fn own_list(id: Id, line: Vec<u8>) -> Option<Ask> {
    let headers = {
        let Ok(Message::Request { method, params, .. }) = Message::read(&line) else {
            return None;
        };
        mirrored(&own_version(params)?, &method, params, &Annotations::default())
    };
    let (departure, _) = Departure::new();
    let line = Bytes::from(line);
    let method = "tools/list".to_owned();
    let next_page = Some(OnceLock::new());
    Some(Ask { id, method, headers, line, departure, is_modern: true, is_listen: false, next_page })
}

/// The code of an error.
fn code(line: &[u8]) -> Option<i32> {
    let Ok(Message::Response { outcome: Outcome::Error(error), .. }) = Message::read(line) else {
        return None;
    };
    error.known(["code"]).ok()?.get("code")?.text().parse().ok()
}
