//! Who may go now. A pool without a connection dials one for every request that comes, before the first has learnt
//! whether it can carry them all. So one request goes ahead, and the others wait until its body leaves or it has
//! ended: then there is a connection that HTTP/2 shares, or the server speaks HTTP/1.1 and gets only so many.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::sync::lock;

/// Requests under way at once, and so connections, while the server is not known to speak HTTP/2.
const MOST_UNSHARED: usize = 64;

/// The door to one pool of connections.
#[derive(Default)]
pub(super) struct Admission {
    state: Mutex<State>,
    changed: Notify,
}

/// A request that was let in. Dropped when the request has ended, however it did.
pub(super) struct Admitted {
    admission: Arc<Admission>,
    goes_ahead: bool,
    is_answered: bool,
}

impl Admission {
    /// Waits for a place. Whoever gives up meanwhile has sent nothing.
    pub(super) async fn enter(self: &Arc<Self>) -> Admitted {
        loop {
            let changed = self.changed.notified();
            let entered = self.state().enter();
            if let Some(goes_ahead) = entered {
                return Admitted { admission: self.clone(), goes_ahead, is_answered: false };
            }
            changed.await;
        }
    }

    /// A body begins to leave, so there is a connection.
    pub(super) fn connected(&self) {
        if self.state().found() {
            self.changed.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Admitted {
    /// The head of the answer is here.
    pub(super) fn answered(&mut self, over_http2: bool) {
        self.is_answered = true;
        if self.admission.state().learnt(over_http2) {
            self.admission.changed.notify_waiters();
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let opens = self.admission.state().leave(self.goes_ahead, self.is_answered);
        if opens {
            self.admission.changed.notify_waiters();
        } else {
            self.admission.changed.notify_one();
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Way {
    /// There may be no connection: the next request finds out.
    #[default]
    Unknown,
    /// A request is finding out.
    Tried,
    /// There is a connection, or each may see for itself why there is none.
    Open,
}

#[derive(Default)]
struct State {
    way: Way,
    over_http2: bool,
    under_way: usize,
}

impl State {
    /// `Some` lets one more in, and says whether it goes ahead of all others.
    fn enter(&mut self) -> Option<bool> {
        if self.under_way == 0 {
            // The server may have closed what is idle.
            self.way = Way::Unknown;
        }
        let is_free = match self.way {
            Way::Unknown => true,
            Way::Tried => false,
            Way::Open => self.over_http2 || self.under_way < MOST_UNSHARED,
        };
        let goes_ahead = self.way == Way::Unknown;
        if goes_ahead {
            self.way = Way::Tried;
        }
        self.under_way += usize::from(is_free);
        is_free.then_some(goes_ahead)
    }

    /// True if that lets others in; so with the next two.
    fn found(&mut self) -> bool {
        self.way == Way::Tried && {
            self.way = Way::Open;
            true
        }
    }

    fn learnt(&mut self, over_http2: bool) -> bool {
        let wider = over_http2 && !self.over_http2;
        self.over_http2 = over_http2;
        self.found() || wider
    }

    fn leave(&mut self, goes_ahead: bool, is_answered: bool) -> bool {
        self.under_way -= 1;
        if goes_ahead {
            return self.found();
        }
        if !is_answered && self.over_http2 && self.way == Way::Open {
            // The connection of all may be gone with this one.
            self.way = Way::Unknown;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn let_in(state: &mut State, wanted: usize) -> usize {
        (0..wanted).filter(|_| state.enter().is_some()).count()
    }

    #[test]
    fn one_goes_ahead_until_there_is_a_connection() {
        let mut state = State::default();
        assert_eq!(state.enter(), Some(true));
        assert_eq!(state.enter(), None);
        assert!(state.found());
        assert_eq!(let_in(&mut state, 256), MOST_UNSHARED - 1);
        assert!(state.learnt(true), "HTTP/2 takes all");
        assert_eq!(let_in(&mut state, 256), 256);
        assert!(!state.learnt(true));
    }

    #[test]
    fn http_1_gets_so_many_and_one_more_for_each_that_ends() {
        let mut state = State::default();
        state.enter();
        state.learnt(false);
        assert_eq!(let_in(&mut state, 256), MOST_UNSHARED - 1);
        state.leave(false, true);
        assert_eq!(let_in(&mut state, 256), 1);
    }

    #[test]
    fn the_failure_of_the_first_frees_all_and_not_one_by_one() {
        let mut state = State::default();
        state.enter();
        assert!(state.leave(true, false));
        state.under_way += 1;
        assert_eq!(let_in(&mut state, 256), MOST_UNSHARED - 1);
    }

    #[test]
    fn after_a_pause_or_a_loss_one_goes_ahead_again() {
        let mut state = State::default();
        state.enter();
        state.learnt(true);
        assert_eq!(state.enter(), Some(false));
        state.leave(false, false);
        assert_eq!((state.enter(), state.enter()), (Some(true), None));
        assert!(state.found());
        state.leave(true, true);
        state.leave(true, true);
        assert_eq!((state.enter(), state.enter()), (Some(true), None));
    }
}
