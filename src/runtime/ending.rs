//! The end of a reactor, for the threads that wait in it: nothing else may wake them any more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use crate::defect;
use crate::sync::lock;

#[derive(Default)]
pub(super) struct Ending {
    has_come: AtomicBool,
    /// Each with the number of its wait.
    waiting: Mutex<Vec<(u64, Waker)>>,
    last_number: AtomicU64,
}

impl Ending {
    pub(super) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Acquire)
    }

    /// Ends all waits. It may be called several times.
    pub(super) fn announce(&self) {
        self.has_come.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        for (_, waker) in waiting {
            // That of the thread that drives writes to a descriptor, which the host may have closed.
            let _ = defect::catch_panic(|| waker.wake());
        }
    }

    /// Resolves when it is announced.
    pub(super) fn wait(&self) -> Wait<'_> {
        Wait { ending: self, number: self.last_number.fetch_add(1, Ordering::Relaxed), waker: None }
    }
}

pub(super) struct Wait<'a> {
    ending: &'a Ending,
    number: u64,
    waker: Option<Waker>,
}

impl Wait<'_> {
    fn remove(&self, waiting: &mut Vec<(u64, Waker)>) {
        waiting.retain(|(number, _)| *number != self.number);
    }
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            let waker = context.waker().clone();
            let mut waiting = lock(&self.ending.waiting);
            self.remove(&mut waiting);
            waiting.push((self.number, waker.clone()));
            drop(waiting);
            self.waker = Some(waker);
        }
        // Looked at after the waker is in its place, so that none is forgotten.
        if self.ending.has_come() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if self.waker.is_some() {
            self.remove(&mut lock(&self.ending.waiting));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    /// Counts its wake-ups. The first of all panics.
    struct Counting(AtomicU64);

    static PANICS: AtomicBool = AtomicBool::new(true);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            assert!(!PANICS.swap(false, Ordering::Relaxed));
        }
    }

    #[test]
    fn each_wait_ends_although_a_waker_panics() {
        let ending = Ending::default();
        let wakers = [0, 1].map(|_| Arc::new(Counting(AtomicU64::new(0))));
        let [first, second] = wakers.each_ref().map(|waker| Waker::from(waker.clone()));
        let mut waits = [pin!(ending.wait()), pin!(ending.wait())];
        for (wait, waker) in waits.iter_mut().zip([&first, &second]) {
            assert!(wait.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
            // Another waker takes its place.
            assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert!(wait.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        }
        {
            let mut canceled = pin!(ending.wait());
            assert!(canceled.as_mut().poll(&mut Context::from_waker(&first)).is_pending());
        }
        assert_eq!(lock(&ending.waiting).len(), 2);
        ending.announce();
        ending.announce();
        assert_eq!(wakers.each_ref().map(|waker| waker.0.load(Ordering::Relaxed)), [1, 1]);
        for wait in &mut waits {
            assert!(wait.as_mut().poll(&mut Context::from_waker(&first)).is_ready());
        }
        assert!(pin!(ending.wait()).poll(&mut Context::from_waker(&first)).is_ready());
    }
}
