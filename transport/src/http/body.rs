//! What an answer's body holds: octets that are there, or what comes as time goes by.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// The body of an answer.
pub(crate) enum Body {
    /// All of it, one piece behind the other.
    Whole(VecDeque<Bytes>),
    /// One piece after the other.
    Stream(UnsyncBoxBody<Bytes, Infallible>),
}

impl Body {
    pub(crate) fn pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        Self::Whole(pieces.into_iter().filter(|piece| !piece.is_empty()).collect())
    }

    pub(crate) fn stream(
        stream: impl HttpBody<Data = Bytes, Error = Infallible> + Send + 'static,
    ) -> Self {
        Self::Stream(stream.boxed_unsync())
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(octets: B) -> Self {
        Self::pieces([octets.into()])
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(pieces) => {
                Poll::Ready(pieces.pop_front().map(|next| Ok(Frame::data(next))))
            }
            Self::Stream(stream) => Pin::new(stream).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(pieces) => pieces.is_empty(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(pieces) => {
                let lengths =
                    pieces.iter().map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX));
                SizeHint::with_exact(lengths.fold(0, u64::saturating_add))
            }
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}
