//! Catches a panic of the library before it reaches the host, and turns it into an error. The error keeps the place of the
//! panic and not its message, which may contain a secret.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;

use crate::error::Error;
use crate::status::Status;

thread_local! {
    /// Whether this thread runs code of the library, so that a panic is a defect of the library.
    static IN_LIBRARY: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic of this thread was.
    static LOCATION: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs code of the library; a panic in it is returned as an error.
#[inline]
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, Error> {
    install_hook();
    // One look-up of the thread-local for both uses: a read of a token pays for each.
    let result = IN_LIBRARY.with(|inside| {
        let outer = inside.replace(true);
        // A lock that the panic poisons is still usable: `sync::lock` ignores that.
        let result = catch_unwind(AssertUnwindSafe(work));
        inside.set(outer);
        result
    });
    result.map_err(|payload| {
        // The drop of the payload could panic too, so it is not dropped.
        std::mem::forget(payload);
        let place = LOCATION.try_with(RefCell::take).unwrap_or_default();
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

/// Installs a panic hook that prints nothing for a panic of the library, and passes the others to the previous hook. Not
/// with a `Once`: after a fork, the child could find it locked and never unlocked.
fn install_hook() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.load(Ordering::Acquire) {
        return;
    }
    // A thread that panics may not change the hook: that would end the process. The next call installs it.
    if thread::panicking() || INSTALLED.swap(true, Ordering::AcqRel) {
        return;
    }
    let previous = take_hook();
    set_hook(Box::new(move |info| {
        if IN_LIBRARY.get() {
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            // Fails in a destructor of a thread that ends; a panic here would end the process.
            let _ = LOCATION.try_with(|location| location.replace(place));
        } else {
            previous(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    #[test]
    fn a_panic_becomes_an_error_without_its_message() {
        let error = catch_panic(|| panic!("hunter2")).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_INTERNAL);
        assert!(error.text.contains("src/defect.rs:") && !error.text.contains("hunter2"), "{}", error.text);
        assert_eq!(catch_panic(|| 7).unwrap(), 7);
    }

    struct PanicsAtTheEnd(Sender<String>);

    impl Drop for PanicsAtTheEnd {
        fn drop(&mut self) {
            self.0.send(catch_panic(|| panic!("at the end")).unwrap_err().text).unwrap();
        }
    }

    /// The destructors of a thread run in the order opposite to that of the first uses: that of the place runs first here.
    #[test]
    fn a_panic_while_a_thread_ends_is_an_error_without_its_place() {
        thread_local! {
            static AT_THE_END: Cell<Option<PanicsAtTheEnd>> = const { Cell::new(None) };
        }
        let (answer, text) = channel();
        let work = move || {
            AT_THE_END.set(Some(PanicsAtTheEnd(answer)));
            assert!(catch_panic(|| panic!("before")).is_err());
        };
        thread::spawn(work).join().unwrap();
        assert!(text.recv().unwrap().contains("a defect"));
    }

    #[test]
    fn a_panic_in_a_nested_call_leaves_the_outer_call_protected() {
        let error = catch_panic(|| {
            assert!(catch_panic(|| panic!("inner")).is_err());
            panic!("outer")
        });
        assert!(error.is_err() && !IN_LIBRARY.get());
    }

    struct UsesTheLibrary;

    impl Drop for UsesTheLibrary {
        fn drop(&mut self) {
            catch_panic(|| {}).unwrap();
        }
    }

    /// A program that panics drops its sessions, perhaps as the first thing that it does with the library.
    #[test]
    fn a_first_use_during_a_panic_of_the_program_does_not_end_the_process() {
        let alone = "PG_TEST_ALONE";
        if env::var_os(alone).is_none() {
            let name = "defect::tests::a_first_use_during_a_panic_of_the_program_does_not_end_the_process";
            let mut child = Command::new(env::current_exe().unwrap());
            let ran = child.args([name, "--exact"]).env(alone, "1").output().unwrap();
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            return;
        }
        let panics = || {
            let _dropped = UsesTheLibrary;
            panic!("of the program");
        };
        assert!(thread::spawn(panics).join().is_err());
    }
}
