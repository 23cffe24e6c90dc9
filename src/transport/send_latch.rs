//! The witness of "was a byte sent?". The HTTP library must fetch the body through a gate: until it has,
//! nothing of the body can have left, and once the gate is shut nothing ever will. So the answer does not
//! hang on how the library words its errors.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use zeroize::Zeroizing;

use super::admission::Admission;
use crate::clock::{Clock, Moment};
use crate::sync::lock;

#[derive(Clone, Copy)]
enum State {
    Waiting,
    Open(Moment),
    Shut,
}

/// Lets one body out, once.
pub(super) struct Gate {
    state: Mutex<State>,
}

impl Gate {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Gate { state: Mutex::new(State::Waiting) })
    }

    /// The body wants to leave now.
    fn pass(&self, now: Moment) -> bool {
        let mut state = lock(&self.state);
        match *state {
            State::Waiting => {
                *state = State::Open(now);
                true
            }
            State::Open(_) | State::Shut => false,
        }
    }

    /// From here on nothing may leave. Tells when the body did, if it did.
    pub(super) fn shut(&self) -> Option<Moment> {
        let mut state = lock(&self.state);
        match std::mem::replace(&mut *state, State::Shut) {
            State::Open(at) => Some(at),
            State::Waiting | State::Shut => None,
        }
    }
}

/// A body behind a gate. It cannot be cloned, so no retry policy can send it again.
pub(super) struct GatedBody {
    content: Option<Bytes>,
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    admission: Arc<Admission>,
}

impl GatedBody {
    pub(super) fn new(
        content: Zeroizing<Vec<u8>>,
        gate: Arc<Gate>,
        clock: Arc<dyn Clock>,
        admission: Arc<Admission>,
    ) -> Self {
        GatedBody { content: Some(Bytes::from_owner(content)), gate, clock, admission }
    }
}

/// The HTTP library asked for the body after the request had been given up.
#[derive(Debug)]
pub(super) struct GateShut;

impl std::fmt::Display for GateShut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request was given up before it was sent")
    }
}

impl std::error::Error for GateShut {}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = GateShut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, GateShut>>> {
        let Some(content) = self.content.take() else { return Poll::Ready(None) };
        self.admission.connected();
        Poll::Ready(Some(if self.gate.pass(self.clock.now()) {
            Ok(Frame::data(content))
        } else {
            Err(GateShut)
        }))
    }

    /// A body of no bytes is never fetched: to be asked this is then the sign that its request begins to leave.
    fn is_end_stream(&self) -> bool {
        let is_over = self.content.as_ref().is_none_or(Bytes::is_empty);
        if is_over {
            self.admission.connected();
        }
        is_over
    }

    /// Exact, so that the request carries a Content-Length.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.content.as_ref().map_or(0, |content| content.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn body(gate: &Arc<Gate>) -> GatedBody {
        GatedBody::new(
            Zeroizing::new(b"secret".to_vec()),
            gate.clone(),
            Arc::new(SystemClock),
            Arc::default(),
        )
    }

    fn poll(body: &mut GatedBody) -> Option<Result<Frame<Bytes>, GateShut>> {
        match Pin::new(body).poll_frame(&mut Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(frame) => frame,
            Poll::Pending => panic!("a gated body is always ready"),
        }
    }

    #[test]
    fn what_left_is_known_and_leaves_once() {
        let gate = Gate::new();
        let (mut first, mut second) = (body(&gate), body(&gate));
        assert_eq!(first.size_hint().exact(), Some(6));
        assert_eq!(poll(&mut first).unwrap().unwrap().into_data().unwrap(), "secret");
        assert!(first.is_end_stream() && poll(&mut first).is_none());
        assert!(poll(&mut second).unwrap().is_err());
        assert!(gate.shut().is_some());
    }

    #[test]
    fn nothing_leaves_through_a_shut_gate() {
        let gate = Gate::new();
        let mut late = body(&gate);
        assert!(gate.shut().is_none());
        assert!(poll(&mut late).unwrap().is_err());
    }
}
