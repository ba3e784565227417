//! What a client may do to a connection of HTTP/2, over a pipe instead of TLS.

use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::StatusCode;
use hyper::body::Frame;
use hyper::client::conn::http2::{self as client, SendRequest};
use hyper_util::rt::TokioExecutor;
use tokio::io::duplex;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::http::HttpLimits;

const SECOND: Duration = Duration::from_secs(1);

/// Octets of a body that come as the test says.
struct Slow(mpsc::UnboundedReceiver<Bytes>);

impl hyper::body::Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|octets| Some(Ok(Frame::data(octets?))))
    }
}

/// A body that never ends.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// A body that says little less than it may, as far as the other side lets it in, and never ends.
struct Hoard {
    sent: Arc<AtomicUsize>,
    left: usize,
}

impl hyper::body::Body for Hoard {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const PIECE: Bytes = Bytes::from_static(&[b' '; 256]);
        let Some(left) = self.left.checked_sub(PIECE.len()) else { return Poll::Pending };
        self.left = left;
        self.sent.fetch_add(PIECE.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(PIECE))))
    }
}

type Sending = UnsyncBoxBody<Bytes, Infallible>;

struct Served {
    sender: SendRequest<Sending>,
    /// Told to be cut: what either side says goes nowhere, and neither learns of it.
    cable: Arc<Notify>,
    serving: JoinHandle<()>,
}

impl Served {
    /// Answers with the length of the body; `/slow` takes a minute, `/endless` never ends its answer.
    async fn start() -> Self {
        let answer = Answer::new(|request| {
            Box::pin(async move {
                match request.uri().path() {
                    "/slow" => sleep(60 * SECOND).await,
                    "/endless" => return Response::new(Body::stream(Endless)),
                    _ => {}
                }
                Response::new(Body::from(request.body().len().to_string()))
            })
        });
        let limits =
            HttpLimits { body_len: 64 * 1024, body: 300 * SECOND, ..HttpLimits::default() };
        let server = Arc::new(Server::new(limits, None));
        let (ours, mut near) = duplex(1024 * 1024);
        let (theirs, mut far) = duplex(1024 * 1024);
        let cable = Arc::new(Notify::new());
        let cut = Arc::clone(&cable);
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = cut.notified() => pending().await,
            }
        });
        let caller = Caller::new("192.0.2.1:1".parse().unwrap(), None);
        let serving = tokio::spawn(async move {
            let (_stop, stopping) = watch::channel(false);
            server.serve_second(theirs, &caller, &answer, stopping).await;
        });
        let handshake = client::handshake(TokioExecutor::new(), TokioIo::new(ours)).await;
        let (sender, connection) = handshake.unwrap();
        tokio::spawn(connection);
        Self { sender, cable, serving }
    }

    fn ask(&self, path: &str, body: Sending) -> JoinHandle<(StatusCode, String)> {
        let mut sender = self.sender.clone();
        let uri = format!("https://localhost{path}");
        let request = Request::post(uri).body(body).unwrap();
        tokio::spawn(async move {
            sender.ready().await.unwrap();
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (head.status, String::from_utf8(body.to_vec()).unwrap())
        })
    }

    /// Asks with a body that does not say how long it is.
    fn begin(
        &self,
        path: &str,
    ) -> (mpsc::UnboundedSender<Bytes>, JoinHandle<(StatusCode, String)>) {
        let (octets, body) = mpsc::unbounded_channel();
        octets.send(Bytes::from_static(b"beginning")).unwrap();
        (octets, self.ask(path, Slow(body).boxed_unsync()))
    }

    /// When the server has closed.
    async fn ended(self) -> Duration {
        let begun = Instant::now();
        self.serving.await.unwrap();
        begun.elapsed()
    }
}

fn nothing() -> Sending {
    Empty::new().boxed_unsync()
}

#[tokio::test(start_paused = true)]
async fn a_third_body_of_unknown_length_waits_for_room_and_not_for_ever() {
    let served = Served::start().await;
    let (first_body, first) = served.begin("/");
    let (second_body, second) = served.begin("/");
    // All that is to come has come.
    sleep(SECOND).await;
    let begun = Instant::now();
    let (_third_body, third) = served.begin("/");
    // However short: it comes behind the third.
    let fourth = served.ask("/", Full::from("fourth").boxed_unsync());
    let (status, said) = third.await.unwrap();
    let waited = HttpLimits::default().answer;
    assert_eq!((status, begun.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, waited));
    assert!(said.contains("no room"), "{said}");
    assert_eq!(fourth.await.unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
    // There is room again with the first that is answered.
    let (fifth_body, fifth) = served.begin("/");
    drop(first_body);
    assert_eq!(first.await.unwrap(), (StatusCode::OK, "9".to_owned()));
    drop(fifth_body);
    assert_eq!(fifth.await.unwrap(), (StatusCode::OK, "9".to_owned()));
    drop(second_body);
    assert_eq!(second.await.unwrap(), (StatusCode::OK, "9".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_come_holds_no_more_room_than_it_takes() {
    let served = Served::start().await;
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let (body, asked) = served.begin("/slow");
            drop(body);
            asked
        })
        .collect();
    let begun = Instant::now();
    for asked in slow {
        assert_eq!(asked.await.unwrap().0, StatusCode::OK);
    }
    // All at the same time.
    assert_eq!(begun.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_ahead_is_no_more_than_bodies_may_hold() {
    let served = Served::start().await;
    let (sent, body) = (Arc::new(AtomicUsize::new(0)), 64 * 1024);
    let hoard = || Hoard { sent: Arc::clone(&sent), left: body - 1024 };
    let asked: Vec<_> = (0..STREAMS).map(|_| served.ask("/", hoard().boxed_unsync())).collect();
    // All that is let in has come.
    sleep(SECOND).await;
    let held = BODIES * body;
    let (ahead, sent) = (window(body) * STREAMS, sent.load(Ordering::Relaxed));
    assert_eq!(usize::try_from(ahead).unwrap(), held);
    // Those that have room, those that wait for it, and of each a piece that is on its way.
    assert!((held..3 * held).contains(&sent), "{sent}");
    drop(asked);
    // A short body or a long one, it is never so little that a request would not fit, nor without bound.
    assert_eq!((window(0), window(256 * 1024), window(usize::MAX)), (1024, 4096, 64 * 1024));
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_is_open_is_closed_in_good_order() {
    let served = Served::start().await;
    let idle = HttpLimits::default().idle;
    for _ in 0..5 {
        assert_eq!(served.ask("/", nothing()).await.unwrap(), (StatusCode::OK, "0".to_owned()));
        sleep(idle - SECOND).await;
    }
    assert!(!served.serving.is_finished());
    let ended = served.ended().await;
    assert!(ended <= idle + SECOND, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_goes_on_keeps_the_connection() {
    let served = Served::start().await;
    let endless = served.ask("/endless", nothing());
    sleep(HttpLimits::default().idle * 5).await;
    assert!(!served.serving.is_finished());
    // Until its reader goes.
    endless.abort();
    let ended = served.ended().await;
    assert!(ended <= HttpLimits::default().idle * 2, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_no_longer_there_is_noticed_while_an_answer_goes_on() {
    let served = Served::start().await;
    let asked = served.ask("/endless", nothing());
    sleep(PING * 5).await;
    assert!(!served.serving.is_finished());
    served.cable.notify_one();
    let ended = served.ended().await;
    assert!(ended <= PING * 2 + HttpLimits::default().write, "{ended:?}");
    drop(asked);
}
