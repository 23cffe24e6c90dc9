//! Bodies: a stream with a limit for its pauses, so that a peer that stops does not hold a connection; and a whole body.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep, timeout};

pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body that ends with an error if nothing of it arrives for some time.
pub(super) struct Idle<B> {
    body: B,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    state: Arc<BodyState>,
}

/// What is known of a body that another part reads.
#[derive(Default)]
pub(super) struct BodyState {
    is_broken: AtomicBool,
    is_awaited: AtomicBool,
}

impl BodyState {
    /// It has ended with an error.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }

    /// Its next piece is waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }
}

impl<B> Idle<B> {
    pub(super) fn new(body: B, limit: Duration) -> Self {
        Idle { body, limit, timer: None, state: Arc::default() }
    }

    pub(super) fn state(&self) -> Arc<BodyState> {
        self.state.clone()
    }

    fn failed(&self, error: BodyError) -> BodyError {
        self.state.is_broken.store(true, Ordering::Relaxed);
        error
    }
}

impl<B> Body for Idle<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.state.is_awaited.store(false, Ordering::Relaxed);
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| this.failed(error.into()))));
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(this.limit)));
        if !this.state.is_awaited.swap(true, Ordering::Relaxed) {
            timer.as_mut().reset(Instant::now() + this.limit);
        }
        timer.as_mut().poll(context).map(|()| Some(Err(this.failed(late(this.limit)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn late(limit: Duration) -> BodyError {
    let text = format!("nothing of the body arrived for {} ms", limit.as_millis());
    io::Error::new(io::ErrorKind::TimedOut, text).into()
}

/// The whole of a body that announces this length at most, within the limit. It is copied: a piece that arrives keeps the
/// much larger buffer that it was read into.
pub(super) async fn whole<B>(mut body: B, most: usize, limit: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    let read = async {
        let mut content = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(Into::into)?.into_data() {
                if content.len() + data.len() > most {
                    return Err(format!("the body is longer than {most} bytes").into());
                }
                content.extend_from_slice(&data);
            }
        }
        Ok(content.freeze())
    };
    timeout(limit, read).await.unwrap_or_else(|_| Err(late(limit)))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use super::*;

    /// Pieces of one buffer, as a connection gives them.
    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn read(body: Pieces, most: usize) -> Result<Bytes, BodyError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(whole(body, most, Duration::from_secs(60)))
    }

    #[test]
    fn a_whole_body_keeps_no_buffer_that_it_was_read_into() {
        let buffer = Bytes::from(vec![b'x'; 65_536]);
        let pieces = (0..100).map(|at| buffer.slice(at..=at)).collect();
        let body = read(Pieces(pieces), 100).unwrap();
        assert_eq!(body.len(), 100);
        assert!(buffer.is_unique(), "a piece is kept");
    }

    #[test]
    fn a_body_that_is_longer_than_allowed_is_an_error() {
        assert!(read(Pieces([Bytes::from_static(b"ab"), Bytes::from_static(b"c")].into()), 2).is_err());
    }
}
