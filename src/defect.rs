//! A panic of ours: caught before it reaches the host. Its place is kept; its message, which may hold
//! anything, is not.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use crate::error::Error;
use crate::status::Status;

thread_local! {
    /// Whether this thread is in our code, so that its panics are ours.
    static IN_LIBRARY: Cell<bool> = const { Cell::new(false) };
    static LOCATION: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs our code for the host; a panic in it comes back as an error.
#[inline]
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, Error> {
    install_hook();
    // One look-up of the thread's storage for both ends: it is what a contained read costs.
    let result = IN_LIBRARY.with(|inside| {
        let outer = inside.replace(true);
        // What the work leaves half done is not seen again: every lock we hold is recovered where it is taken.
        let result = catch_unwind(AssertUnwindSafe(work));
        inside.set(outer);
        result
    });
    result.map_err(|payload| {
        // A payload whose own drop panics must not get past us either.
        std::mem::forget(payload);
        let place = LOCATION.take();
        let text = format!("a defect of paymentsgate-auth at {place}; no state was lost, please report it");
        Error::new(Status::PG_ERR_INTERNAL, text)
    })
}

/// The same for a future.
pub(crate) async fn catch_panic_async<F: Future>(future: F) -> Result<F::Output, Error> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_panic(|| future.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(error) => Poll::Ready(Err(error)),
    })
    .await
}

/// A hook that stays silent about our panics; others are left to whoever was there before. Not a `Once`: a fork could
/// leave that locked in the child for ever.
fn install_hook() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.load(Ordering::Acquire) || INSTALLED.swap(true, Ordering::AcqRel) {
        return;
    }
    let previous = take_hook();
    set_hook(Box::new(move |info| {
        if IN_LIBRARY.get() {
            LOCATION.set(info.location().map(ToString::to_string).unwrap_or_default());
        } else {
            previous(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_without_its_message() {
        let error = catch_panic(|| panic!("hunter2")).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_INTERNAL);
        assert!(error.text.contains("src/defect.rs:") && !error.text.contains("hunter2"), "{}", error.text);
        assert_eq!(catch_panic(|| 7).unwrap(), 7);
    }

    #[test]
    fn a_nested_call_keeps_the_outer_one_contained() {
        let error = catch_panic(|| {
            assert!(catch_panic(|| panic!("inner")).is_err());
            panic!("outer")
        });
        assert!(error.is_err() && !IN_LIBRARY.get());
    }
}
