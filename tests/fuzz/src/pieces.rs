//! Octets that come in pieces, as networks cut them.

/// Cuts octets into pieces of these sizes, one after the other and from the first again; a size of 0 counts as 256.
pub fn pieces<'a>(octets: &'a [u8], sizes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = octets;
    let mut sizes = sizes.iter().cycle().map(|size| usize::from(size.wrapping_sub(1)) + 1);
    std::iter::from_fn(move || {
        let size = sizes.next().unwrap_or(256).min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
