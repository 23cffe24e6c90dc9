//! The futures that a reactor runs as tasks. They can be dropped without the reactor, which would close its descriptors with its
//! tasks: their numbers may be those of other files by now.

use std::collections::BTreeMap;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll};

use crate::defect;
use crate::sync::lock;

/// The futures of one reactor.
#[derive(Default)]
pub(super) struct Works(Mutex<State>);

#[derive(Default)]
struct State {
    /// By the address of their slot.
    running: BTreeMap<usize, Weak<Slot>>,
    have_ended: bool,
}

/// A future, until it is dropped.
type Slot = Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>;

/// A future that is, or is to become, a task.
pub(super) struct Begun {
    slot: Arc<Slot>,
    works: Arc<Works>,
}

impl Works {
    /// If the works have ended the future is dropped at once.
    pub(super) fn begin(self: &Arc<Self>, future: impl Future<Output = ()> + Send + 'static) -> Begun {
        let slot: Arc<Slot> = Arc::new(Mutex::new(Some(Box::pin(future))));
        let have_ended = {
            let mut state = lock(&self.0);
            state.running.insert(address(&slot), Arc::downgrade(&slot));
            state.have_ended
        };
        if have_ended {
            end(&slot);
        }
        Begun { slot, works: self.clone() }
    }

    /// Drops all futures.
    pub(super) fn end(&self) {
        let running = {
            let mut state = lock(&self.0);
            state.have_ended = true;
            mem::take(&mut state.running)
        };
        running.values().filter_map(Weak::upgrade).for_each(|slot| end(&slot));
    }
}

fn address(slot: &Arc<Slot>) -> usize {
    Arc::as_ptr(slot).addr()
}

/// A guard of the future may panic.
fn end(slot: &Slot) {
    let future = lock(slot).take();
    let _ = defect::catch_panic(|| drop(future));
}

impl Future for Begun {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        lock(&self.slot).as_mut().map_or(Poll::Ready(()), |future| future.as_mut().poll(context))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        lock(&self.works.0).running.remove(&address(&self.slot));
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::sync::mpsc::{Receiver, TryRecvError, channel};
    use std::task::Waker;

    use super::*;

    /// A future without an end, and what tells whether it exists.
    fn endless() -> (impl Future<Output = ()> + Send, Receiver<()>) {
        let (guard, exists) = channel();
        let future = async move {
            let _guard = guard;
            pending::<()>().await;
        };
        (future, exists)
    }

    fn poll(begun: &mut Begun) -> Poll<()> {
        Pin::new(begun).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_future_is_dropped_with_its_works_or_by_itself() {
        let works = Arc::<Works>::default();
        let [(first, has_first), (second, has_second), (third, has_third)] =
            [endless(), endless(), endless()];
        let (mut begun, other) = (works.begin(first), works.begin(second));
        assert!(poll(&mut begun).is_pending());
        drop(other);
        assert_eq!(has_second.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!((has_first.try_recv(), lock(&works.0).running.len()), (Err(TryRecvError::Empty), 1));
        works.end();
        assert_eq!(has_first.try_recv(), Err(TryRecvError::Disconnected));
        assert!(poll(&mut begun).is_ready());
        // One that comes later.
        let mut late = works.begin(third);
        assert_eq!(has_third.try_recv(), Err(TryRecvError::Disconnected));
        assert!(poll(&mut late).is_ready());
        drop(late);
        assert_eq!(lock(&works.0).running.len(), 0);
    }

    #[test]
    fn a_future_that_ends_is_ready() {
        let works = Arc::<Works>::default();
        let mut left = 1;
        let mut begun = works.begin(poll_fn(move |_| {
            left -= 1;
            if left < 0 { Poll::Ready(()) } else { Poll::Pending }
        }));
        assert!(poll(&mut begun).is_pending() && poll(&mut begun).is_ready());
    }
}
