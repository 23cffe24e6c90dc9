//! Replaces `src/sync.rs`, and tokio's `Notify`.

use std::cell::{Cell, OnceCell};
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::sync::PoisonError;
use std::task::Poll;

pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicI64, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence,
};
pub(crate) use loom::sync::{Condvar, LockResult, Mutex, MutexGuard};

/// loom's own takes no `const` block.
macro_rules! of_thread {
    (static $name:ident: $kind:ty = const $first:block;) => {
        loom::thread_local! { static $name: $kind = $first }
    };
}
pub(crate) use of_thread as thread_local;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignore_poison(mutex.lock())
}

pub(crate) fn ignore_poison<G>(result: LockResult<G>) -> G {
    result.unwrap_or_else(PoisonError::into_inner)
}

/// loom's, made at its first use, which must come before a model starts its threads.
pub(crate) struct ConstAtomicPtr<T> {
    first: *mut T,
    made: OnceCell<AtomicPtr<T>>,
}

// SAFETY: all threads of a model are one thread of the system, which switches between them only at loom's operations.
unsafe impl<T> Send for ConstAtomicPtr<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for ConstAtomicPtr<T> {}

impl<T> ConstAtomicPtr<T> {
    pub(crate) const fn new(first: *mut T) -> Self {
        ConstAtomicPtr { first, made: OnceCell::new() }
    }
}

impl<T> Deref for ConstAtomicPtr<T> {
    type Target = AtomicPtr<T>;

    fn deref(&self) -> &AtomicPtr<T> {
        self.made.get_or_init(|| AtomicPtr::new(self.first))
    }
}

std::thread_local! {
    /// How many timers have yet to fire in a model. When none is left, the task's next wait gives its thread back.
    pub(crate) static TICKS_LEFT: Cell<usize> = const { Cell::new(0) };
}

/// A permit that is there or not, as tokio's `Notify` has for one waiter.
#[derive(Default)]
pub(crate) struct Notify {
    permit: Mutex<bool>,
    given: Condvar,
}

impl Notify {
    pub(crate) fn notify_one(&self) {
        *lock(&self.permit) = true;
        self.given.notify_one();
    }

    /// Blocks its thread when it is polled, where tokio's would have it polled again.
    pub(crate) fn notified(&self) -> impl Future<Output = ()> {
        poll_fn(|_| {
            if TICKS_LEFT.get() == 0 {
                return Poll::Pending;
            }
            let mut permit = lock(&self.permit);
            while !*permit {
                permit = ignore_poison(self.given.wait(permit));
            }
            *permit = false;
            Poll::Ready(())
        })
    }
}
