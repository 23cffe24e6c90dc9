//! A queue of events (a completion queue) with a descriptor to wait for them. An operation that is started on a queue
//! ends in exactly one event, in every case.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::defect;
use crate::error::Error;
use crate::event::{Body, Event, Operation};
use crate::notifier::Notifier;
use crate::runtime::process::PerProcess;
use crate::status::Status;
use crate::sync::{Condvar, Mutex, MutexGuard, ignore_poison, lock};

/// Log lines are dropped while this many events wait.
const MAX_WAITING_LINES: usize = 4096;

/// Stops the work of an operation.
type CancelHook = Box<dyn FnOnce() + Send>;

/// A queue. Any number of threads may use it at once. A forked child finds it empty, with a descriptor of its own.
pub struct Queue {
    inner: PerProcess<Arc<Inner>>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    pending: BTreeMap<u64, Pending>,
    notifier: Option<Notifier>,
    serials: u64,
    waiters: WaiterCount,
}

struct Pending {
    operation: Operation,
    /// Unique in the queue, unlike the number of an operation, which the caller may use again.
    serial: u64,
    hook: Option<CancelHook>,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { inner: PerProcess::new() }
    }
}

impl Queue {
    /// Begins an operation under a number that no other pending operation has.
    pub fn begin(&self, id: u64, operation: Operation) -> Result<Completion, Error> {
        let inner = self.inner()?;
        let mut state = inner.state();
        if state.pending.contains_key(&id) {
            let text =
                format!("the argument `id` is {id}, which is still under way on this queue; give another");
            return Err(Error::new(Status::PG_ERR_INVALID_ARGUMENT, text));
        }
        state.serials += 1;
        let serial = state.serials;
        state.pending.insert(id, Pending { operation, serial, hook: None });
        Ok(Completion { inner: inner.clone(), id, serial })
    }

    /// Cancels an operation, which ends with an event. Does nothing if the operation has ended already.
    pub fn cancel(&self, id: u64) -> Result<(), Error> {
        let stop = self.inner()?.end(id, None, Operation::canceled);
        if let Some(stop) = stop {
            stop();
        }
        Ok(())
    }

    /// The next event, if there is one within the timeout.
    pub fn poll(&self, timeout: Duration) -> Result<Option<Event>, Error> {
        let inner = self.inner()?;
        let until = Instant::now().checked_add(timeout);
        let mut state = inner.state();
        while state.events.is_empty() {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                state.update_notifier();
                return Ok(None);
            }
            state.waiters.enter();
            state = match left {
                Some(left) => ignore_poison(inner.arrived.wait_timeout(state, left)).0,
                None => ignore_poison(inner.arrived.wait(state)),
            };
            state.waiters.leave();
        }
        Ok(state.take())
    }

    /// A descriptor that is readable while an event waits. The queue owns it.
    pub fn descriptor(&self) -> Result<RawFd, Error> {
        let inner = self.inner()?;
        let mut state = inner.state();
        if state.notifier.is_none() {
            state.notifier = Some(Notifier::new()?);
            state.update_notifier();
        }
        Ok(state.notifier.as_ref().map_or(-1, |notifier| notifier.descriptor()))
    }

    fn inner(&self) -> Result<&Arc<Inner>, Error> {
        self.inner.get_or_try_init(|| Ok(Arc::default()))
    }
}

impl Drop for Queue {
    /// Stops the pending operations, without events. The shared part may live on in a completion; the descriptor does not.
    fn drop(&mut self) {
        let Some(inner) = self.inner.get() else { return };
        let left = std::mem::take(&mut *inner.state());
        let hooks = left.pending.into_values().filter_map(|operation| operation.hook);
        // A panic of one must not keep the others from their stop: dropped while it unwinds, a second one would abort.
        hooks.for_each(|stop| drop(defect::catch_panic(stop)));
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Ends an operation with an event, if it has not ended before, and returns the hook that stops its work.
    fn end(&self, id: u64, serial: Option<u64>, body: impl FnOnce(Operation) -> Body) -> Option<CancelHook> {
        let mut state = self.state();
        let found = state.pending.get(&id)?;
        if serial.is_some_and(|serial| serial != found.serial) {
            return None;
        }
        let Pending { operation, hook, .. } = state.pending.remove(&id)?;
        self.put(state, Event { id, body: body(operation) });
        hook
    }

    /// Wakes a waiter after it has released the lock, which the waiter takes at once.
    fn put(&self, mut state: MutexGuard<'_, State>, event: Event) {
        state.put(event);
        if state.waiters.should_notify() {
            drop(state);
            self.arrived.notify_one();
        }
    }
}

impl State {
    fn has(&self, operation: &Completion) -> bool {
        self.pending.get(&operation.id).is_some_and(|found| found.serial == operation.serial)
    }

    fn put(&mut self, event: Event) {
        self.events.push_back(event);
        self.update_notifier();
    }

    fn take(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        self.update_notifier();
        event
    }

    /// Makes the descriptor readable if an event waits, and unreadable if not.
    fn update_notifier(&mut self) {
        if let Some(notifier) = &mut self.notifier {
            notifier.set_readable(!self.events.is_empty());
        }
    }
}

/// The right and the duty to end one operation. If it is dropped before, the operation ends with the error of a defect.
pub struct Completion {
    inner: Arc<Inner>,
    id: u64,
    serial: u64,
}

impl Completion {
    /// Ends the operation.
    pub fn complete(self, body: Body) {
        self.end(|_| body);
    }

    /// Ends the operation with an error.
    pub fn fail(self, error: Error) {
        self.end(|operation| operation.failed(error));
    }

    /// Calls `stop` when the operation is canceled, or now if it has been.
    pub fn on_cancel(&self, stop: impl FnOnce() + Send + 'static) {
        let mut state = self.inner.state();
        match state.pending.get_mut(&self.id).filter(|found| found.serial == self.serial) {
            Some(operation) => operation.hook = Some(Box::new(stop)),
            None => {
                drop(state);
                stop();
            }
        }
    }

    /// Whether the operation has not ended.
    pub fn is_pending(&self) -> bool {
        self.inner.state().has(self)
    }

    /// Adds an event of an operation that goes on. False: the operation has ended, and there is no event.
    pub fn emit(&self, body: Body) -> bool {
        let state = self.inner.state();
        let is_pending = state.has(self);
        // Log lines that the host does not read must not fill the memory.
        if is_pending && !(matches!(body, Body::Log(..)) && state.events.len() >= MAX_WAITING_LINES) {
            self.inner.put(state, Event { id: self.id, body });
        }
        is_pending
    }

    fn end(&self, body: impl FnOnce(Operation) -> Body) {
        // It ends by itself, so the hook is not called.
        drop(self.inner.end(self.id, Some(self.serial), body));
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        self.end(Operation::lost);
    }
}

/// Counts the threads that wait for an event. To notify a condition variable may be a system call even if no thread is
/// left to wake, so no waiter is notified twice.
#[derive(Default)]
struct WaiterCount {
    /// Waiting threads, with those that are notified and have not left yet.
    waiting: usize,
    notified: usize,
}

impl WaiterCount {
    fn enter(&mut self) {
        self.waiting += 1;
    }

    /// For a thread that was notified or not. One that wakes by itself may take the count of another's notification: this
    /// can cause one notification too many, never one too few.
    fn leave(&mut self) {
        self.waiting -= 1;
        self.notified = self.notified.saturating_sub(1);
    }

    /// Whether there is a waiter to notify; if so, counts it as notified.
    fn should_notify(&mut self) -> bool {
        let is_any = self.notified < self.waiting;
        self.notified += usize::from(is_any);
        is_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notifier_that_could_not_be_set_is_set_by_the_next_event_or_poll() {
        let is_readable =
            |queue: &Queue| queue.inner().unwrap().state().notifier.as_ref().unwrap().is_readable();
        let queue = Queue::default();
        queue.descriptor().unwrap();
        // As if the system had refused to make it unreadable.
        queue.inner().unwrap().state().notifier.as_mut().unwrap().set_readable(true);
        assert!(is_readable(&queue));
        assert!(queue.poll(Duration::ZERO).unwrap().is_none() && !is_readable(&queue));
        // As if the system had refused to make it readable.
        let [first, second] = [1, 2].map(|id| queue.begin(id, Operation::Token).unwrap());
        drop(first);
        queue.inner().unwrap().state().notifier.as_mut().unwrap().set_readable(false);
        assert!(!is_readable(&queue));
        drop(second);
        assert!(is_readable(&queue));
        assert!(queue.poll(Duration::ZERO).unwrap().is_some() && is_readable(&queue));
        assert!(queue.poll(Duration::ZERO).unwrap().is_some() && !is_readable(&queue));
    }

    /// What is told that it is canceled may panic: a wake-up does if the host has closed the descriptor of our reactor.
    #[test]
    fn a_queue_that_is_dropped_stops_all_operations_even_if_a_stop_panics() {
        let (queue, stopped) = (Queue::default(), Arc::new(Mutex::new(Vec::new())));
        let _pending = [0, 1, 2].map(|id| {
            let (completion, stopped) = (queue.begin(id, Operation::Token).unwrap(), stopped.clone());
            completion.on_cancel(move || {
                assert_ne!(id, 0, "a defect");
                lock(&stopped).push(id);
            });
            completion
        });
        drop(queue);
        assert_eq!(*lock(&stopped), [1, 2]);
    }

    /// Threads wait, are notified, and leave late or by themselves, in any order; a condition variable wakes any of them.
    #[test]
    fn an_event_finds_a_running_thread_or_wakes_one() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..2000 {
            let (mut waiters, mut asleep, mut rising) = (WaiterCount::default(), 0, 0);
            let mut waiting = 0_usize;
            for _ in 0..60 {
                match rng.u8(..4) {
                    // No thread begins to wait while there is an event.
                    0 if waiting == 0 => {
                        waiters.enter();
                        asleep += 1;
                    }
                    1 if asleep > 0 => {
                        asleep -= 1;
                        rising += 1;
                    }
                    2 if rising > 0 => {
                        waiters.leave();
                        rising -= 1;
                        waiting = waiting.saturating_sub(1);
                    }
                    3 => {
                        waiting += 1;
                        if waiters.should_notify() && asleep > 0 {
                            asleep -= 1;
                            rising += 1;
                        }
                    }
                    _ => {}
                }
                assert!(
                    asleep == 0 || rising >= waiting,
                    "{asleep} threads sleep, {rising} are awake for {waiting} events"
                );
            }
        }
    }
}
