//! Many sessions of one device, each calling as fast as it is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vouchsafe_tests::Client;
use vouchsafe_transport::Identity;

/// Nothing on this machine takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of one session.
pub(crate) struct Life {
    pub(crate) asked: usize,
    /// When each answer came.
    pub(crate) answers: Vec<Instant>,
    /// When and how it was closed; `None` if it lives.
    pub(crate) end: Option<(Instant, String)>,
}

/// Sessions that are open and silent.
pub(crate) struct Gathering(Vec<Client>);

/// Sessions that call.
pub(crate) struct Crowd {
    sessions: Vec<JoinHandle<Life>>,
    enough: Arc<AtomicBool>,
}

impl Gathering {
    /// Opens so many sessions of a device; each has been answered once.
    pub(crate) async fn of(identity: &Identity, address: SocketAddr, size: usize) -> Self {
        let mut clients = Vec::with_capacity(size);
        for _ in 0..size {
            let mut client = Client::connect(address, identity).await;
            let answer = client.try_call("work", json!({})).await.unwrap().unwrap();
            assert!(answer["result"].is_object(), "{answer}");
            clients.push(client);
        }
        Self(clients)
    }

    /// Lets every session call in a loop.
    pub(crate) fn begin(self) -> Crowd {
        let enough = Arc::new(AtomicBool::new(false));
        let begin = |client| tokio::spawn(live(client, Arc::clone(&enough)));
        Crowd { sessions: self.0.into_iter().map(begin).collect(), enough }
    }
}

async fn live(mut client: Client, enough: Arc<AtomicBool>) -> Life {
    // It was answered when it was opened.
    let mut life = Life { asked: 1, answers: vec![Instant::now()], end: None };
    while !enough.load(Ordering::Relaxed) {
        life.asked += 1;
        let how = match client.try_call("work", json!({})).await {
            Ok(Some(answer)) if answer["result"].is_object() => {
                life.answers.push(Instant::now());
                continue;
            }
            Ok(Some(other)) => other.to_string(),
            Ok(None) => "closed".to_owned(),
            Err(error) => error.to_string(),
        };
        life.end = Some((Instant::now(), how));
        break;
    }
    life
}

impl Crowd {
    /// Waits until every session was closed by the gateway.
    pub(crate) async fn until_cut(self) -> Vec<Life> {
        let lives = timeout(PATIENCE, lives(self.sessions)).await;
        lives.unwrap_or_else(|_| panic!("sessions are still open after {PATIENCE:?}"))
    }

    /// Lets every session finish the call it is at.
    pub(crate) async fn disperse(self) -> Vec<Life> {
        self.enough.store(true, Ordering::Relaxed);
        lives(self.sessions).await
    }
}

async fn lives(sessions: Vec<JoinHandle<Life>>) -> Vec<Life> {
    let mut lives = Vec::with_capacity(sessions.len());
    for session in sessions {
        lives.push(session.await.unwrap());
    }
    lives
}
