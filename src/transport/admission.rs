//! Admission control for a pool of connections. A pool without a connection opens one for each request, before it knows
//! whether the first can carry them all. So one request is the leader, and the others wait until its body leaves or it
//! has ended. By then there is an HTTP/2 connection to share, or the server speaks HTTP/1.1, with a limit.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::sync::lock;

/// The limit of requests in flight, and so of connections, unless the server speaks HTTP/2.
const MAX_HTTP1_REQUESTS: usize = 64;

#[derive(Default)]
pub(super) struct Admission {
    state: Mutex<State>,
    changed: Notify,
}

/// A permit for one request, dropped when the request has ended.
pub(super) struct Permit {
    admission: Arc<Admission>,
    is_leader: bool,
    is_answered: bool,
    /// As [`State::has_answered`] when the request was admitted.
    pub(super) follows_answer: bool,
}

impl Admission {
    /// Waits for a permit. A caller that stops waiting has sent nothing.
    pub(super) async fn enter(self: &Arc<Self>) -> Permit {
        loop {
            let changed = self.changed.notified();
            let entered = {
                let mut state = self.state();
                state.enter().map(|is_leader| (is_leader, state.has_answered))
            };
            if let Some((is_leader, follows_answer)) = entered {
                return Permit { admission: self.clone(), is_leader, is_answered: false, follows_answer };
            }
            changed.await;
        }
    }

    /// Called when a body begins to leave: there is a connection.
    pub(super) fn connected(&self) {
        if self.state().mark_ready() {
            self.changed.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Permit {
    /// Called when the head of the answer has arrived.
    pub(super) fn answered(&mut self, over_http2: bool) {
        self.is_answered = true;
        if self.admission.state().set_protocol(over_http2) {
            self.admission.changed.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let wakes_all = self.admission.state().leave(self.is_leader, self.is_answered);
        if wakes_all {
            self.admission.changed.notify_waiters();
        } else {
            self.admission.changed.notify_one();
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq)]
enum ConnectionState {
    /// Perhaps there is no connection. The next request becomes the leader.
    #[default]
    Unknown,
    Dialing,
    /// There is a connection, or each request may find out by itself why there is none.
    Ready,
}

#[derive(Default)]
struct State {
    connection: ConnectionState,
    over_http2: bool,
    in_flight: usize,
    /// The server has answered each request that has ended since the leader began, and at least one.
    has_answered: bool,
}

impl State {
    /// `Some` admits one more request, and says whether it is the leader.
    fn enter(&mut self) -> Option<bool> {
        if self.in_flight == 0 {
            // The server may have closed an idle connection.
            self.connection = ConnectionState::Unknown;
        }
        let is_free = match self.connection {
            ConnectionState::Unknown => true,
            ConnectionState::Dialing => false,
            ConnectionState::Ready => self.over_http2 || self.in_flight < MAX_HTTP1_REQUESTS,
        };
        let is_leader = self.connection == ConnectionState::Unknown;
        if is_leader {
            self.connection = ConnectionState::Dialing;
            self.has_answered = false;
        }
        self.in_flight += usize::from(is_free);
        is_free.then_some(is_leader)
    }

    /// Returns whether waiting requests may be admitted now. So do `set_protocol` and `leave`.
    fn mark_ready(&mut self) -> bool {
        self.connection == ConnectionState::Dialing && {
            self.connection = ConnectionState::Ready;
            true
        }
    }

    fn set_protocol(&mut self, over_http2: bool) -> bool {
        let wider = over_http2 && !self.over_http2;
        self.over_http2 = over_http2;
        self.has_answered = true;
        self.mark_ready() || wider
    }

    fn leave(&mut self, is_leader: bool, is_answered: bool) -> bool {
        self.in_flight -= 1;
        self.has_answered &= is_answered;
        if is_leader {
            return self.mark_ready();
        }
        if !is_answered && self.over_http2 && self.connection == ConnectionState::Ready {
            // The shared connection may have broken.
            self.connection = ConnectionState::Unknown;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(state: &mut State, wanted: usize) -> usize {
        (0..wanted).filter(|_| state.enter().is_some()).count()
    }

    #[test]
    fn the_leader_goes_alone_until_there_is_a_connection() {
        let mut state = State::default();
        assert_eq!(state.enter(), Some(true));
        assert_eq!(state.enter(), None);
        assert!(state.mark_ready());
        assert_eq!(admit(&mut state, 256), MAX_HTTP1_REQUESTS - 1);
        assert!(state.set_protocol(true), "HTTP/2 admits all");
        assert_eq!(admit(&mut state, 256), 256);
        assert!(!state.set_protocol(true));
    }

    #[test]
    fn http_1_has_a_limit_and_each_ended_request_admits_one_more() {
        let mut state = State::default();
        state.enter();
        state.set_protocol(false);
        assert_eq!(admit(&mut state, 256), MAX_HTTP1_REQUESTS - 1);
        state.leave(false, true);
        assert_eq!(admit(&mut state, 256), 1);
    }

    #[test]
    fn the_failure_of_the_leader_admits_all_waiting_requests() {
        let mut state = State::default();
        state.enter();
        assert!(state.leave(true, false));
        state.in_flight += 1;
        assert_eq!(admit(&mut state, 256), MAX_HTTP1_REQUESTS - 1);
    }

    #[test]
    fn after_an_idle_time_or_a_lost_connection_there_is_a_new_leader() {
        let mut state = State::default();
        state.enter();
        state.set_protocol(true);
        assert_eq!(state.enter(), Some(false));
        state.leave(false, false);
        assert_eq!((state.enter(), state.enter()), (Some(true), None));
        assert!(state.mark_ready());
        state.leave(true, true);
        state.leave(true, true);
        assert_eq!((state.enter(), state.enter()), (Some(true), None));
    }

    #[test]
    fn a_server_is_known_to_answer_until_a_request_fails_or_there_is_a_new_leader() {
        let mut state = State::default();
        state.enter();
        state.mark_ready();
        state.enter();
        assert!(!state.has_answered, "the request of the leader is only on its way");
        state.set_protocol(true);
        assert!(state.has_answered);
        state.leave(false, false);
        assert!(!state.has_answered);
        state.set_protocol(true);
        state.leave(true, true);
        assert!(state.has_answered);
        assert_eq!((state.enter(), state.has_answered), (Some(true), false));
    }
}
