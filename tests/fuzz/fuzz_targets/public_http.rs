//! A stranger's connection to the CA's public listener: hyper's grammar, our bounds, and what the CA reads out of a
//! request before it knows anything of who asks.
//!
//! The first eight octets are the sizes of the pieces in which the rest comes.

#![no_main]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Request, Response};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncWriteExt, duplex};
use vouchsafe_certs::CertificateRequest;
use vouchsafe_fuzz::pieces::pieces;
use vouchsafe_fuzz::talking::{in_its_own_time, say};
use vouchsafe_fuzz::wire::{Plain, answers};
use vouchsafe_transport::fuzzing::serve_public;
use vouchsafe_transport::{Handler, HttpLimits};

#[path = "../../../cli/src/service/web/asked.rs"]
mod asked;

const BODY_LEN: usize = 2048;
const HEADER_FIELDS: usize = 16;

/// More than a head and the refusal of it.
const MAX_ANSWER: usize = 4096;

fuzz_target!(|octets: &[u8]| {
    let Some((sizes, sent)) = octets.split_at_checked(8) else { return };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = in_its_own_time(exchange(sizes, sent, &asked));
    let asked = asked.lock().expect("nobody panics with it").split_off(0);
    let is_head = sent.starts_with(b"HEAD ");
    let answers = match is_head {
        // Which answers have a body is known to whoever has asked.
        true => Vec::new(),
        false => answers(&heard, false),
    };
    assert!(is_head || answers.len() >= asked.len(), "asked and not answered");
    assert!(heard.len() <= MAX_ANSWER * (asked.len() + 1), "an answer without bounds");
    for answer in &answers {
        assert!(
            matches!(answer.status, 200 | 400 | 408 | 413 | 414 | 431 | 505),
            "{}",
            answer.status
        );
    }
    must_be_what_was_sent(sent, &asked);
});

/// A request as it reached whoever answers it.
struct Asked {
    method: String,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

async fn exchange(sizes: &[u8], sent: &[u8], asked: &Arc<Mutex<Vec<Asked>>>) -> Vec<u8> {
    let asked = Arc::clone(asked);
    let handler: Handler = Arc::new(move |_, request: Request<Bytes>| {
        must_be_read_well(&request);
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.to_string(), head.uri.to_string());
        let request = Asked { method, path, headers: head.headers, body };
        asked.lock().expect("nobody panics with it").push(request);
        Box::pin(async { Response::new(Bytes::from_static(b"answered")) })
    });
    let mut limits = HttpLimits::default();
    (limits.body_len, limits.header_fields, limits.head_len) = (BODY_LEN, HEADER_FIELDS, 8 * 1024);
    let (mut near, far) = duplex(64 * 1024);
    let serving = tokio::spawn(async move { serve_public(far, limits, &handler).await });
    for piece in pieces(sent, sizes) {
        drop(near.write_all(piece).await);
        tokio::task::yield_now().await;
    }
    let heard = say(&mut near, b"").await;
    drop(near);
    let ended = tokio::time::timeout(Duration::from_secs(120), serving).await;
    ended.expect("a connection that is closed ends").expect("nobody panics");
    heard
}

/// What the CA reads out of any request.
fn must_be_read_well(request: &Request<Bytes>) {
    let (headers, body) = (request.headers(), request.body());
    assert!(body.len() <= BODY_LEN && headers.len() <= HEADER_FIELDS, "beyond the limits");
    if let Some(der) = asked::decoded(body) {
        let letters: Vec<u8> =
            body.iter().copied().filter(|octet| !octet.is_ascii_whitespace()).collect();
        assert_eq!(base64(&der), letters, "two texts for the same octets");
        let _ = CertificateRequest::from_der(&der);
    }
    if let Some(credential) = asked::Credential::shown(headers) {
        assert!(!credential.id.contains(':'));
        let shown = format!("{}:{}", credential.id, credential.secret.as_str());
        let said = headers["authorization"].to_str().expect("it was text");
        assert_eq!(
            said.split_once(' ').map(|(_, said)| said.trim().as_bytes()),
            Some(&*base64(shown.as_bytes()))
        );
    }
    assert!(asked::preferred_wait(headers).is_none_or(|wait| wait <= asked::LONGEST_WAIT));
    if asked::matches(headers, &HeaderValue::from_static("\"tag\"")) {
        let named = headers.get_all("if-none-match").iter().map(HeaderValue::as_bytes);
        assert!(
            named
                .into_iter()
                .any(|value| value.windows(5).any(|part| part == b"\"tag\"")
                    || value.contains(&b'*'))
        );
    }
    let path = request.uri().path();
    if let Some(der) = path.strip_prefix("/ocsp/").and_then(asked::question_in) {
        assert!(der.len() < path.len());
    }
    let _ = asked::has_content_type(headers, "application/pkcs10");
}

/// The handler gets what a plain reading finds, request by request.
fn must_be_what_was_sent(mut sent: &[u8], asked: &[Asked]) {
    let mut asked = asked.iter();
    while let Some((plain, rest)) = Plain::read(sent) {
        if plain.body.len() > BODY_LEN
            || plain.field_count() > HEADER_FIELDS
            || sent.len() - rest.len() > 8 * 1024
        {
            return;
        }
        let Some(asked) = asked.next() else {
            // hyper refuses some, CONNECT for instance, that read well.
            return;
        };
        assert_eq!((&*asked.method, &*asked.body), (plain.method, plain.body));
        assert!(
            plain.path.starts_with(&*asked.path) || asked.path.starts_with(plain.path),
            "{} {}",
            asked.path,
            plain.path
        );
        assert_eq!(asked.headers.len(), plain.field_count());
        for (name, value) in &asked.headers {
            assert!(plain.all(name.as_str()).any(|own| own.as_bytes() == value), "{name}");
        }
        sent = rest;
    }
}

/// RFC 4648 §4, from the beginning.
fn base64(octets: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for three in octets.chunks(3) {
        let bits = three
            .iter()
            .chain(&[0; 2])
            .take(3)
            .fold(0, |bits, octet| bits << 8 | usize::from(*octet));
        for nth in 0..4 {
            let letter = LETTERS[bits >> (18 - 6 * nth) & 63];
            text.push(if nth <= three.len() { letter } else { b'=' });
        }
    }
    text
}
