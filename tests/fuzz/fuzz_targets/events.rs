//! A server's stream of events: the same events however it is cut into pieces, and those that the standard's own
//! words make of it.
//!
//! The first octet sets the limit of an event, the next eight the sizes of the pieces; the rest is the stream.

#![no_main]

use std::iter;

use libfuzzer_sys::fuzz_target;
use vouchsafe_fuzz::pieces::pieces;
use vouchsafe_transport::fuzzing::{StreamEvent, events};

fuzz_target!(|octets: &[u8]| {
    let Some((head, stream)) = octets.split_at_checked(9) else { return };
    let max_len = 16 * (usize::from(head[0]) + 1);
    let (read, is_bounded) = events(pieces(stream, &head[1..]), max_len);
    assert!(read.iter().all(|(_, _, data, _)| data.len() <= max_len), "beyond the limit");
    let (whole, is_bounded_whole) = events(iter::once(stream), max_len);
    assert_eq!((&read, is_bounded), (&whole, is_bounded_whole), "the pieces make a difference");
    let (all, _) = events(iter::once(stream), usize::MAX);
    assert!(all.starts_with(&read), "the limit makes other events");
    assert_eq!(said(&all), by_the_standard(stream), "read otherwise than the standard reads");
});

/// What reaches a client of the standard: events that have data, the last id, the type.
fn said(events: &[StreamEvent]) -> Vec<(Vec<u8>, bool)> {
    let has_data = |(_, _, data, is_foreign): &StreamEvent| {
        (!data.is_empty()).then(|| (data.clone(), *is_foreign))
    };
    events.iter().filter_map(has_data).collect()
}

/// WHATWG HTML §9.2.6, line by line.
fn by_the_standard(stream: &[u8]) -> Vec<(Vec<u8>, bool)> {
    let stream = stream.strip_prefix("\u{feff}".as_bytes()).unwrap_or(stream);
    let (mut events, mut data, mut kind) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines(stream) {
        let (field, value) = match line.iter().position(|octet| *octet == b':') {
            Some(0) => continue,
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (&line[..], &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"" => {
                let mut whole: Vec<u8> = std::mem::take(&mut data);
                let kind: Vec<u8> = std::mem::take(&mut kind);
                // What has no data is not dispatched; one line end at the end is taken off.
                whole.pop();
                if !whole.is_empty() {
                    events.push((whole, !matches!(&kind[..], b"" | b"message")));
                }
            }
            b"data" => data.extend(value.iter().chain(b"\n")),
            b"event" => kind = value.to_vec(),
            _ => {}
        }
    }
    events
}

/// Lines that have an end: CR LF, LF or CR.
fn lines(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut lines, mut line) = (Vec::new(), Vec::new());
    let mut octets = stream.iter().peekable();
    while let Some(octet) = octets.next() {
        match octet {
            b'\r' | b'\n' => {
                lines.push(std::mem::take(&mut line));
                if *octet == b'\r' {
                    octets.next_if_eq(&&b'\n');
                }
            }
            _ => line.push(*octet),
        }
    }
    lines
}
