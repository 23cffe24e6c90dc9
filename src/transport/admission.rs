//! Who may go now. A pool without a connection dials one for every request that comes, before the first has learnt
//! whether it can carry them all. So one request goes ahead, and the others wait until its body leaves or it has
//! ended: then there is a connection that HTTP/2 shares, or the server speaks HTTP/1.1 and gets only so many.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::sync::lock;

/// Requests under way at once, and so connections, while the server is not known to speak HTTP/2.
const MAX_HTTP1_REQUESTS: usize = 64;

/// The door to one pool of connections.
#[derive(Default)]
pub(super) struct Admission {
    state: Mutex<State>,
    changed: Notify,
}

/// A request that was let in. Dropped when the request has ended, however it did.
pub(super) struct Permit {
    admission: Arc<Admission>,
    is_leader: bool,
    is_answered: bool,
}

impl Admission {
    /// Waits for a place. Whoever gives up meanwhile has sent nothing.
    pub(super) async fn enter(self: &Arc<Self>) -> Permit {
        loop {
            let changed = self.changed.notified();
            let entered = self.state().enter();
            if let Some(is_leader) = entered {
                return Permit { admission: self.clone(), is_leader, is_answered: false };
            }
            changed.await;
        }
    }

    /// A body begins to leave, so there is a connection.
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
    /// The head of the answer is here.
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
    /// There may be no connection: the next request finds out.
    #[default]
    Unknown,
    /// A request is finding out.
    Dialing,
    /// There is a connection, or each may see for itself why there is none.
    Ready,
}

#[derive(Default)]
struct State {
    connection: ConnectionState,
    over_http2: bool,
    in_flight: usize,
}

impl State {
    /// `Some` lets one more in, and says whether it goes ahead of all others.
    fn enter(&mut self) -> Option<bool> {
        if self.in_flight == 0 {
            // The server may have closed what is idle.
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
        }
        self.in_flight += usize::from(is_free);
        is_free.then_some(is_leader)
    }

    /// True if that lets others in; so with the next two.
    fn mark_ready(&mut self) -> bool {
        self.connection == ConnectionState::Dialing && {
            self.connection = ConnectionState::Ready;
            true
        }
    }

    fn set_protocol(&mut self, over_http2: bool) -> bool {
        let wider = over_http2 && !self.over_http2;
        self.over_http2 = over_http2;
        self.mark_ready() || wider
    }

    fn leave(&mut self, is_leader: bool, is_answered: bool) -> bool {
        self.in_flight -= 1;
        if is_leader {
            return self.mark_ready();
        }
        if !is_answered && self.over_http2 && self.connection == ConnectionState::Ready {
            // The connection of all may be gone with this one.
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
    fn one_goes_ahead_until_there_is_a_connection() {
        let mut state = State::default();
        assert_eq!(state.enter(), Some(true));
        assert_eq!(state.enter(), None);
        assert!(state.mark_ready());
        assert_eq!(admit(&mut state, 256), MAX_HTTP1_REQUESTS - 1);
        assert!(state.set_protocol(true), "HTTP/2 takes all");
        assert_eq!(admit(&mut state, 256), 256);
        assert!(!state.set_protocol(true));
    }

    #[test]
    fn http_1_gets_so_many_and_one_more_for_each_that_ends() {
        let mut state = State::default();
        state.enter();
        state.set_protocol(false);
        assert_eq!(admit(&mut state, 256), MAX_HTTP1_REQUESTS - 1);
        state.leave(false, true);
        assert_eq!(admit(&mut state, 256), 1);
    }

    #[test]
    fn the_failure_of_the_first_frees_all_and_not_one_by_one() {
        let mut state = State::default();
        state.enter();
        assert!(state.leave(true, false));
        state.in_flight += 1;
        assert_eq!(admit(&mut state, 256), MAX_HTTP1_REQUESTS - 1);
    }

    #[test]
    fn after_a_pause_or_a_loss_one_goes_ahead_again() {
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
}
