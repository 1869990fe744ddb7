use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;

pin_project! {
    /// A body on its way through the layer: whole, as it was read or kept, or `B` untouched.
    ///
    /// The handler's requests and the layer's responses have it. Its errors are those of `B`; what is
    /// whole has none.
    pub struct IdempotencyBody<B> {
        data: Option<Bytes>,
        trailers: Option<HeaderMap>,
        #[pin]
        rest: Rest<B>,
    }
}

pin_project! {
    #[project = RestProj]
    enum Rest<B> {
        Nothing,
        Untouched {
            #[pin]
            body: B,
        },
        Begun {
            body: Pin<Box<B>>,
        },
    }
}

impl<B> IdempotencyBody<B> {
    pub(super) fn untouched(body: B) -> Self {
        Self { data: None, trailers: None, rest: Rest::Untouched { body } }
    }

    pub(super) fn whole(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self { data: Some(data).filter(|data| !data.is_empty()), trailers, rest: Rest::Nothing }
    }

    /// Reads a body, and stops after the frame with which it exceeds the limit.
    pub(super) async fn gather(body: B, limit: usize) -> Result<Self, B::Error>
    where
        B: Body<Data = Bytes>,
    {
        let mut body = Box::pin(body);
        let (mut data, mut trailers) = (Gathered::default(), None::<HeaderMap>);
        // Who says that it will be too much need not prove it.
        let mut exceeded = body.size_hint().lower() > limit as u64;
        while !exceeded {
            let Some(frame) = body.frame().await else {
                return Ok(Self::whole(data.finish(), trailers));
            };
            match frame?.into_data() {
                Ok(chunk) => {
                    data.push(chunk);
                    exceeded = data.len() > limit;
                }
                Err(frame) => {
                    if let Ok(more) = frame.into_trailers() {
                        trailers.get_or_insert_default().extend(more);
                    }
                }
            }
        }
        Ok(Self { data: Some(data.finish()), trailers, rest: Rest::Begun { body } })
    }

    /// Whether nothing is left to be read from elsewhere.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// What was read.
    pub(super) fn data(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }

    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

impl<B: Body<Data = Bytes>> Body for IdempotencyBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if let Some(data) = this.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        match this.rest.project() {
            RestProj::Nothing => Poll::Ready(this.trailers.take().map(Frame::trailers).map(Ok)),
            RestProj::Untouched { body } => body.poll_frame(cx),
            RestProj::Begun { body } => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
            && match &self.rest {
                Rest::Nothing => self.trailers.is_none(),
                Rest::Untouched { body } => body.is_end_stream(),
                Rest::Begun { body } => body.is_end_stream(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.data().len() as u64;
        let rest = match &self.rest {
            // An exact size becomes a `Content-Length`, and HTTP/1.1 has no trailers after that.
            Rest::Nothing if self.trailers.is_some() => SizeHint::default(),
            Rest::Nothing => SizeHint::with_exact(0),
            Rest::Untouched { body } => body.size_hint(),
            Rest::Begun { body } => body.size_hint(),
        };
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(ahead));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(ahead)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl<B> fmt::Debug for IdempotencyBody<B> {
    /// Bodies may hold what does not belong into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyBody")
            .field("bytes", &self.data().len())
            .field("is_whole", &self.is_whole())
            .finish_non_exhaustive()
    }
}

/// Chunks, one after the other; a single one is not copied.
#[derive(Default)]
struct Gathered {
    first: Bytes,
    all: BytesMut,
}

impl Gathered {
    fn push(&mut self, chunk: Bytes) {
        if self.len() == 0 {
            self.first = chunk;
            return;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&chunk);
    }

    fn len(&self) -> usize {
        self.first.len().max(self.all.len())
    }

    fn finish(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible};

    use super::*;

    #[tokio::test]
    async fn a_body_in_many_frames_becomes_whole() {
        let body = IdempotencyBody::gather(frames(&["ab", "", "cd", "e"], true), 5).await.unwrap();
        assert!(body.is_whole());
        assert_eq!(body.data(), b"abcde");
        assert_eq!(body.trailers().unwrap()["checksum"], "7");
        // Trailers need room behind a body of unknown size.
        assert_eq!(body.size_hint().exact(), None);
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["checksum"], "7");
        assert_eq!(collected.to_bytes(), "abcde");
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_not_whole_and_loses_nothing() {
        let body = IdempotencyBody::gather(frames(&["ab", "cd", "e"], true), 3).await.unwrap();
        assert!(!body.is_whole());
        assert_eq!(body.data(), b"abcd");
        assert!(!body.is_end_stream());
        let collected = body.collect().await.unwrap();
        assert!(collected.trailers().is_some());
        assert_eq!(collected.to_bytes(), "abcde");
    }

    #[tokio::test]
    async fn a_body_that_announces_too_much_is_not_read() {
        let long = http_body_util::Full::new(Bytes::from_static(b"abcd"));
        let body = IdempotencyBody::gather(long, 3).await.unwrap();
        assert!(!body.is_whole());
        assert_eq!(body.data(), b"");
        assert_eq!(body.size_hint().exact(), Some(4));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcd");
    }

    #[tokio::test]
    async fn an_empty_body_is_whole_and_at_its_end() {
        let body = IdempotencyBody::gather(frames(&[], false), 0).await.unwrap();
        assert!(body.is_whole() && body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
    }

    #[test]
    fn an_untouched_body_keeps_its_size() {
        let body = IdempotencyBody::untouched(http_body_util::Full::new(Bytes::from_static(b"ab")));
        assert_eq!(body.size_hint().exact(), Some(2));
        assert!(!body.is_end_stream());
    }

    struct Frames(VecDeque<Frame<Bytes>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    fn frames(chunks: &'static [&'static str], trailers: bool) -> Frames {
        let chunks = chunks.iter().map(|chunk| Frame::data(Bytes::from_static(chunk.as_bytes())));
        let checksum = ("checksum".parse().unwrap(), "7".parse().unwrap());
        let last = trailers.then(|| Frame::trailers(HeaderMap::from_iter([checksum])));
        Frames(chunks.chain(last).collect())
    }
}
