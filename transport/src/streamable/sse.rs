//! Server-sent events (WHATWG HTML, §9.2), read with a limit on each.

use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::header::HeaderValue;
use memchr::memchr2;

/// Ids are sent back in a header, and remembered.
const MAX_ID_LEN: usize = 1024;

/// U+FEFF may stand before the first line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// An event beyond the limit; what follows it cannot be told apart any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// One event, or what was said without one: an id and a pause alone are no message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Where the stream can be taken up again.
    pub(super) id: Option<HeaderValue>,
    /// How long to wait before that.
    pub(super) retry: Option<Duration>,
    /// The lines of data, joined by line ends.
    pub(super) data: Vec<u8>,
    /// An event of another type than `message`, which MCP does not know.
    pub(super) is_foreign: bool,
}

/// Reads events from a stream, however it is cut into pieces.
#[derive(Debug)]
pub(super) struct EventReader {
    max_len: usize,
    /// A line that is not at its end yet.
    line: Vec<u8>,
    /// What the lines so far have said.
    event: Option<Event>,
    has_data: bool,
    /// A LF that comes next belongs to the CR before it.
    is_after_cr: bool,
    is_at_start: bool,
}

impl EventReader {
    /// Reads events whose data has at most `max_len` octets.
    pub(super) fn new(max_len: usize) -> Self {
        Self {
            max_len,
            line: Vec::new(),
            event: None,
            has_data: false,
            is_after_cr: false,
            is_at_start: true,
        }
    }

    /// How much of an event that has not ended is held.
    pub(super) fn len(&self) -> usize {
        self.line.len() + self.event.as_ref().map_or(0, |event| event.data.len())
    }

    /// Whether an event has begun and not ended.
    pub(super) fn is_begun(&self) -> bool {
        self.event.is_some() || !self.line.is_empty()
    }

    /// Takes octets off the front, up to the end of an event; `None` once there are no more.
    pub(super) fn read(&mut self, octets: &mut Bytes) -> Result<Option<Event>, TooLong> {
        while !octets.is_empty() {
            if std::mem::take(&mut self.is_after_cr) && octets.first() == Some(&b'\n') {
                octets.advance(1);
                continue;
            }
            let end = memchr2(b'\n', b'\r', octets);
            let piece = octets.split_to(end.unwrap_or(octets.len()));
            if piece.len() + self.len() > self.max_len {
                return Err(TooLong);
            }
            if end.is_none() {
                self.line.extend_from_slice(&piece);
                return Ok(None);
            }
            self.is_after_cr = octets.get_u8() == b'\r';
            let is_whole = if self.line.is_empty() {
                self.take(&piece)
            } else {
                self.line.extend_from_slice(&piece);
                let line = std::mem::take(&mut self.line);
                self.take(&line)
            };
            if is_whole && let Some(event) = self.event.take() {
                self.has_data = false;
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Takes one line; an empty one ends an event.
    fn take(&mut self, line: &[u8]) -> bool {
        let line = match std::mem::take(&mut self.is_at_start) {
            true => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            false => line,
        };
        let (field, value) = match memchr::memchr(b':', line) {
            // A comment, which keeps the connection alive.
            Some(0) => return false,
            Some(at) => line.split_at(at),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"" => return true,
            b"data" => {
                let event = self.event.get_or_insert_default();
                if std::mem::replace(&mut self.has_data, true) {
                    event.data.push(b'\n');
                }
                event.data.extend_from_slice(value);
            }
            b"event" => {
                self.event.get_or_insert_default().is_foreign = !matches!(value, b"" | b"message");
            }
            b"id" => self.event.get_or_insert_default().id = id_of(value),
            b"retry" => self.event.get_or_insert_default().retry = pause_of(value),
            // Unknown fields are ignored.
            _ => {}
        }
        false
    }
}

/// An id that can be sent back in a header; any other is as good as none.
fn id_of(value: &[u8]) -> Option<HeaderValue> {
    let is_visible = value.iter().all(|octet| matches!(octet, 0x21..=0x7e));
    let is_fit = is_visible && (1..=MAX_ID_LEN).contains(&value.len());
    if is_fit { HeaderValue::from_bytes(value).ok() } else { None }
}

fn pause_of(value: &[u8]) -> Option<Duration> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let digits = is_number.then(|| std::str::from_utf8(value).ok()).flatten()?;
    Some(Duration::from_millis(digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_in_pieces(text: &[u8], size: usize, max_len: usize) -> Result<Vec<Event>, TooLong> {
        let mut reader = EventReader::new(max_len);
        let mut events = Vec::new();
        for piece in text.chunks(size) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(event) = reader.read(&mut piece)? {
                events.push(event);
            }
            assert!(piece.is_empty());
        }
        Ok(events)
    }

    fn read(text: &str) -> Vec<Event> {
        let whole = read_in_pieces(text.as_bytes(), usize::MAX, 100).unwrap();
        for size in 1..text.len() {
            assert_eq!(read_in_pieces(text.as_bytes(), size, 100).unwrap(), whole, "{size}");
        }
        whole
    }

    fn data(text: &str) -> Event {
        Event { data: text.into(), ..Event::default() }
    }

    #[test]
    fn events_are_the_same_however_their_lines_end_and_wherever_they_are_cut() {
        for end in ["\n", "\r\n", "\r"] {
            let text = "data: {\"a\":1}\n\n: still here\n\ndata: b\ndata\ndata:c\n\n";
            let events = read(&text.replace('\n', end));
            assert_eq!(events, [data("{\"a\":1}"), data("b\n\nc")], "{end:?}");
        }
    }

    #[test]
    fn an_id_and_a_pause_come_without_data_too() {
        let id = Some(HeaderValue::from_static("7_1"));
        let primed = Event { id: id.clone(), ..Event::default() };
        assert_eq!(read("\u{feff}id: 7_1\ndata: \n\n"), [primed]);
        let paused = Event { retry: Some(Duration::from_millis(500)), ..Event::default() };
        assert_eq!(read("retry: 500\n\n"), [paused]);
        let events = read("event: message\nid: 7_1\ndata: x\n\nevent: ping\ndata: y\n\n");
        let foreign = Event { is_foreign: true, ..data("y") };
        assert_eq!(events, [Event { id, ..data("x") }, foreign]);
    }

    #[test]
    fn what_cannot_be_sent_back_is_no_id_and_what_is_no_number_no_pause() {
        let long = "x".repeat(MAX_ID_LEN + 1);
        for id in ["", "a b", "a\u{0}", "é", &long] {
            assert_eq!(id_of(id.as_bytes()), None, "{id}");
        }
        for pause in ["", "-1", "1.5", "1s"] {
            assert_eq!(pause_of(pause.as_bytes()), None, "{pause}");
        }
        let much = pause_of(b"99999999999999999999999").unwrap();
        assert_eq!(much, Duration::from_millis(u64::MAX));
    }

    #[test]
    fn what_is_not_ended_is_no_event() {
        assert_eq!(read("data: x\n"), []);
        assert_eq!(read("data: x\n\ndata: y"), [data("x")]);
    }

    #[test]
    fn an_event_is_bounded_in_whatever_it_is_long() {
        let long = "x".repeat(60);
        for text in [
            format!("data: {long}{long}\n\n"),
            format!("data: {long}\ndata: {long}\n\n"),
            format!("nothing{long}{long}"),
            format!(": {long}{long}\n"),
        ] {
            for size in [1, 7, 1000] {
                assert_eq!(read_in_pieces(text.as_bytes(), size, 100), Err(TooLong), "{text}");
            }
        }
        let many = format!("data: {long}\n\n").repeat(100);
        assert_eq!(read_in_pieces(many.as_bytes(), 50, 100).unwrap().len(), 100);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_alike_in_any_pieces(
            text in "[dataie:r\u{0}-\u{1f} 1é\n\r]{0,200}",
            size in 1_usize..50,
        ) {
            let whole = read_in_pieces(text.as_bytes(), 1000, 1000).unwrap();
            prop_assert_eq!(read_in_pieces(text.as_bytes(), size, 1000).unwrap(), whole);
        }
    }
}
