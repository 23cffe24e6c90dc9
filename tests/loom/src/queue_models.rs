//! Models of threads that wait for the events of one queue.

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use crate::check;
use crate::event::{Body, Event, Operation};
use crate::queue::Queue;

/// Waits until there is an event. loom ends no wait by itself, and reports one that never ends.
fn wait(queue: &Queue) -> Event {
    queue.poll(Duration::MAX).unwrap().unwrap()
}

/// Two threads wait while two operations end. Each thread gets one event, and the descriptor is left unreadable.
pub fn each_waiter_gets_an_event() {
    check(Some(3), || {
        let queue = Arc::new(Queue::default());
        queue.descriptor().unwrap();
        let [first, second] = [1, 2].map(|id| queue.begin(id, Operation).unwrap());
        let waiting = [(); 2].map(|()| {
            let queue = queue.clone();
            thread::spawn(move || wait(&queue).id)
        });
        first.complete(Body::Done);
        second.complete(Body::Done);
        let mut ids = waiting.map(|waiter| waiter.join().unwrap());
        ids.sort_unstable();
        assert_eq!((ids, queue.descriptor().unwrap()), ([1, 2], 0));
    });
}

/// An operation is canceled while it ends by itself: there is one event, and the descriptor shows it.
pub fn an_operation_that_is_canceled_has_one_event() {
    check(None, || {
        let queue = Arc::new(Queue::default());
        queue.descriptor().unwrap();
        let operation = queue.begin(1, Operation).unwrap();
        let canceling = {
            let queue = queue.clone();
            thread::spawn(move || queue.cancel(1).unwrap())
        };
        let ending = thread::spawn(move || operation.complete(Body::Done));
        canceling.join().unwrap();
        ending.join().unwrap();
        assert_eq!(queue.descriptor().unwrap(), 1);
        let body = wait(&queue).body;
        assert!(queue.poll(Duration::ZERO).unwrap().is_none(), "a second one after {body:?}");
    });
}

/// The number of an operation that was canceled is used again while the first one ends: the second one goes on.
pub fn a_late_end_does_not_end_the_next_operation_of_its_number() {
    check(None, || {
        let queue = Arc::new(Queue::default());
        let first = queue.begin(1, Operation).unwrap();
        let ending = thread::spawn(move || first.complete(Body::Done));
        queue.cancel(1).unwrap();
        let second = queue.begin(1, Operation).unwrap();
        ending.join().unwrap();
        assert!(second.is_pending());
    });
}
