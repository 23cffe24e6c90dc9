//! One answer for one caller who blocks: given by whichever thread has it, taken by the caller, or never given.

use std::time::Instant;

use crate::sync::{Arc, Condvar, Mutex, MutexGuard, ignore_poison, lock};

/// An empty slot, from both sides.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Arc::new(Shared {
        state: Mutex::new(State { answer: None, is_settled: false }),
        settled: Condvar::new(),
    });
    (Sender(slot.clone()), Receiver(slot))
}

/// The right to answer once. Dropped without an answer, it tells the caller that none will come.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// The caller's side.
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    settled: Condvar,
}

struct State<T> {
    answer: Option<T>,
    /// There is an answer, or there will be none.
    is_settled: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }
}

impl<T> Sender<T> {
    /// Hands the answer over and wakes the caller. A caller who has gone does not mind.
    pub(crate) fn send(self, answer: T) {
        self.0.lock().answer = Some(answer);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().is_settled = true;
        self.0.settled.notify_one();
    }
}

impl<T> Receiver<T> {
    /// The answer, if it comes before the deadline. `None` at once where none will come. A caller whose deadline has
    /// passed may wait again: an answer that was on its way is still there to be taken.
    pub(crate) fn recv_deadline(&self, deadline: Instant) -> Option<T> {
        let mut state = self.0.lock();
        loop {
            if state.is_settled {
                return state.answer.take();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = ignore_poison(self.0.settled.wait_timeout(state, left)).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn an_answer_wakes_the_caller() {
        let (sender, receiver) = channel();
        thread::spawn(move || sender.send(7));
        assert_eq!(receiver.recv_deadline(Instant::now() + PATIENCE), Some(7));
    }

    #[test]
    fn a_sender_that_goes_wakes_the_caller_too() {
        let (sender, receiver) = channel::<u8>();
        thread::spawn(move || drop(sender));
        let begun = Instant::now();
        assert_eq!(receiver.recv_deadline(begun + PATIENCE), None);
        assert!(begun.elapsed() < PATIENCE);
    }

    #[test]
    fn a_deadline_is_kept_and_a_late_answer_is_still_there() {
        let (sender, receiver) = channel();
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(receiver.recv_deadline(deadline), None);
        assert!(Instant::now() >= deadline);
        sender.send(7);
        assert_eq!(receiver.recv_deadline(deadline), Some(7));
    }

    #[test]
    fn a_caller_who_has_gone_does_not_matter() {
        let (sender, receiver) = channel();
        drop(receiver);
        sender.send(7);
    }
}
