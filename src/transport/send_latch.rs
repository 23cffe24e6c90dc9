//! A one-shot latch that knows whether a byte of the body was sent. The HTTP library must fetch the body through it:
//! before that no byte can have left, and once the latch is closed none ever will. So the answer does not depend on the
//! texts of the library's errors.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::admission::Admission;
use crate::clock::{Clock, Moment};
use crate::sync::lock;

#[derive(Clone, Copy)]
enum State {
    Unsent,
    Sent(Moment),
    Closed,
}

/// Allows one body to be sent, once.
pub(super) struct SendLatch {
    state: Mutex<State>,
    /// When the last piece of the body was fetched, or when the request began.
    moved: Mutex<Instant>,
}

impl SendLatch {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(SendLatch { state: Mutex::new(State::Unsent), moved: Mutex::new(Instant::now()) })
    }

    /// When the last piece of the body was fetched, or when the request began.
    pub(super) fn moved(&self) -> Instant {
        *lock(&self.moved)
    }

    /// Whether the body was sent.
    pub(super) fn has_sent(&self) -> bool {
        matches!(*lock(&self.state), State::Sent(_))
    }

    /// The body is about to be sent. Returns whether that is allowed.
    fn try_send(&self, now: Moment) -> bool {
        let mut state = lock(&self.state);
        match *state {
            State::Unsent => {
                *state = State::Sent(now);
                true
            }
            State::Sent(_) | State::Closed => false,
        }
    }

    /// Closes the latch: nothing may be sent from now on. Returns when the body was sent, if it was.
    pub(super) fn close(&self) -> Option<Moment> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, State::Closed) {
            State::Sent(at) => Some(at),
            State::Unsent | State::Closed => None,
        }
    }
}

/// A body that is sent only if the latch allows it. It cannot be cloned, so no retry policy can send it again.
pub(super) struct LatchedBody {
    content: reqwest::Body,
    /// The latch has allowed this body.
    is_allowed: bool,
    latch: Arc<SendLatch>,
    clock: Arc<dyn Clock>,
    admission: Arc<Admission>,
}

impl LatchedBody {
    pub(super) fn new(
        content: reqwest::Body,
        latch: Arc<SendLatch>,
        clock: Arc<dyn Clock>,
        admission: Arc<Admission>,
    ) -> Self {
        LatchedBody { content, is_allowed: false, latch, clock, admission }
    }
}

/// The error if the HTTP library asks for the body after the request was abandoned.
#[derive(Debug)]
pub(super) struct SendClosed;

impl std::fmt::Display for SendClosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request was given up before it was sent")
    }
}

impl std::error::Error for SendClosed {}

impl Body for LatchedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !self.is_allowed {
            self.admission.connected();
            if !self.latch.try_send(self.clock.now()) {
                return Poll::Ready(Some(Err(SendClosed.into())));
            }
            self.is_allowed = true;
        }
        *lock(&self.latch.moved) = Instant::now();
        Pin::new(&mut self.content).poll_frame(context).map_err(Into::into)
    }

    /// An empty body is never polled. This call is then the sign that its request begins to leave.
    fn is_end_stream(&self) -> bool {
        let is_over = self.content.is_end_stream();
        if is_over {
            self.admission.connected();
        }
        is_over
    }

    /// Exact if the length is known, so that the request has a Content-Length.
    fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn body(latch: &Arc<SendLatch>) -> LatchedBody {
        LatchedBody::new("secret".into(), latch.clone(), Arc::new(SystemClock), Arc::default())
    }

    fn poll(body: &mut LatchedBody) -> Option<Result<Frame<Bytes>, <LatchedBody as Body>::Error>> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(frame) => frame,
            Poll::Pending => panic!("a latched body is always ready"),
        }
    }

    #[test]
    fn a_body_is_sent_once_and_the_latch_knows_when() {
        let latch = SendLatch::new();
        let (mut first, mut second) = (body(&latch), body(&latch));
        assert_eq!(first.size_hint().exact(), Some(6));
        assert_eq!(poll(&mut first).unwrap().unwrap().into_data().unwrap(), "secret");
        assert!(first.is_end_stream() && poll(&mut first).is_none());
        assert!(poll(&mut second).unwrap().is_err());
        assert!(latch.close().is_some());
    }

    #[test]
    fn a_closed_latch_sends_nothing() {
        let latch = SendLatch::new();
        let mut late = body(&latch);
        assert!(latch.close().is_none());
        assert!(poll(&mut late).unwrap().is_err());
    }
}
