//! What an answer's body holds: octets that are there, or what comes as time goes by.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// The body of an answer.
pub(crate) enum Body {
    /// All of it.
    Whole(Full<Bytes>),
    /// One piece after the other.
    Stream(UnsyncBoxBody<Bytes, Infallible>),
}

impl Body {
    pub(crate) fn stream(
        stream: impl HttpBody<Data = Bytes, Error = Infallible> + Send + 'static,
    ) -> Self {
        Self::Stream(stream.boxed_unsync())
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(octets: B) -> Self {
        Self::Whole(Full::new(octets.into()))
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
            Self::Whole(whole) => Pin::new(whole).poll_frame(context),
            Self::Stream(stream) => Pin::new(stream).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}
