//! A body that ends with an error if nothing of it arrives for some time, so that a peer that stops does not hold a
//! connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct Idle<B> {
    body: B,
    limit: Duration,
    /// Set when nothing has arrived yet.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl<B> Idle<B> {
    pub(super) fn new(body: B, limit: Duration) -> Self {
        Idle { body, limit, timer: None, is_waiting: false }
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
            this.is_waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(this.limit)));
        if !this.is_waiting {
            this.is_waiting = true;
            timer.as_mut().reset(Instant::now() + this.limit);
        }
        timer.as_mut().poll(context).map(|()| {
            let text = format!("nothing of the body arrived for {} s", this.limit.as_secs());
            Some(Err(io::Error::new(io::ErrorKind::TimedOut, text).into()))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
