//! Events out of a stream in pieces, as the client side reads them.

use bytes::Bytes;

use super::sse::EventReader;
use crate::fuzzing::StreamEvent;

/// The events of a stream that comes in these pieces, and whether none was beyond the limit.
pub fn events<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    max_len: usize,
) -> (Vec<StreamEvent>, bool) {
    let (mut reader, mut events) = (EventReader::new(max_len), Vec::new());
    for piece in pieces {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match reader.read(&mut piece) {
                Ok(Some(event)) => {
                    let id = event.id.map(|id| id.as_bytes().to_vec());
                    events.push((id, event.retry, event.data, event.is_foreign));
                }
                Ok(None) => break,
                Err(_) => return (events, false),
            }
        }
        assert!(piece.is_empty() && reader.len() <= max_len);
    }
    (events, true)
}
