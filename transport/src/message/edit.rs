//! Changing JSON text in place.

use std::ops::Range;

/// A span of a text, and what stands there instead.
pub(crate) type Edit = (Range<usize>, String);

/// The text with some spans replaced; the rest stays as it is, octet by octet.
pub(crate) fn edit(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|(span, _)| span.start);
    let mut edited = String::with_capacity(text.len() + 32);
    let mut copied = 0;
    for (span, replacement) in edits {
        edited.push_str(text.get(copied..span.start).unwrap_or_default());
        edited.push_str(&replacement);
        copied = span.end;
    }
    edited.push_str(text.get(copied..).unwrap_or_default());
    edited
}
