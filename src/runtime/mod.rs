//! The library inside the host's process: its own threads ([`handle`], [`workers`]), fork safety ([`process`]), and
//! memory that threads read without a lock ([`hazard_cell`], [`word`]).

#![allow(unsafe_code, reason = "fork handlers, signal masks, pointers that threads and processes share")]

mod all_slots;
pub(crate) mod boot_timer;
mod fence;
mod fork_zeroed;
pub(crate) mod hazard_cell;
mod hazard_pointer;
pub(crate) mod process;
pub(crate) mod signals;
mod slot_list;
pub(crate) mod standard_streams;
mod thread_pointer;
mod thread_slot;
pub(crate) mod word;
pub(crate) mod workers;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::task::Poll;
use std::time::Duration;
use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use self::process::PerProcess;
use self::signals::with_signals_blocked;
use self::workers::Workers;
use crate::defect;
use crate::error::Error;
use crate::status::Status;

/// How much later than its own deadline a task may report. Callers are promised 50 ms.
const GRACE: Duration = Duration::from_millis(40);

/// Runs a future on our thread and waits for its result. `None`: the future, which has a deadline of its own, did not end
/// within `patience`; it goes on without the caller.
pub(crate) fn run<T, F>(future: F, patience: Duration) -> Result<Option<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (answer, waiting) = sync_channel(1);
    handle()?.spawn(async move {
        // Fails if the caller has gone, which does no harm.
        let _ = answer.send(defect::catch_panic_async(future).await);
    });
    match waiting.recv_timeout(patience.saturating_add(GRACE)) {
        Ok(result) => result.map(Some),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => {
            Err(Error::new(Status::PG_ERR_INTERNAL, "the library's own thread has ended; please report it"))
        }
    }
}

/// The result of `work`; `None` if `stop` resolves first.
pub(crate) async fn race<T>(work: impl Future<Output = T>, stop: impl Future) -> Option<T> {
    let (mut work, mut stop) = (pin!(work), pin!(stop));
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        stop.as_mut().poll(context).map(|_| None)
    })
    .await
}

/// A thread of the library. Its stack has the same size everywhere: that of musl is 128 kB by default, and Rust takes its
/// default from the host's environment (`RUST_MIN_STACK`).
pub(crate) fn thread_builder(name: &str) -> thread::Builder {
    const STACK_BYTES: usize = 2 << 20;
    thread::Builder::new().name(name.into()).stack_size(STACK_BYTES)
}

/// Our thread. It is started at the first use, and again if it has ended.
pub(crate) fn handle() -> Result<&'static Runtime, Error> {
    static RUNTIME: PerProcess<Runtime> = PerProcess::new();
    RUNTIME.get_or_replace(Runtime::is_running, Runtime::start)
}

/// Runs work that may block: on another thread if this is our own, which must not block, and otherwise here.
pub(crate) fn run_blocking(work: impl FnOnce() + Send + 'static) {
    static WORKERS: Workers = Workers::new("pg-aside", 4);
    let work = RunOnDrop(Some(Box::new(work)));
    if Handle::try_current().is_ok() {
        // If no thread can be started, the work is dropped, and so it runs here.
        let _ = WORKERS.submit(Box::new(move || drop(work)));
    }
}

/// Work that runs when this is dropped, on the thread that drops it.
struct RunOnDrop(Option<Box<dyn FnOnce() + Send>>);

impl Drop for RunOnDrop {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|work| work());
    }
}

/// One thread that drives a current-thread runtime of tokio. A call costs one context switch; with a multi-thread
/// runtime of a single worker it costs six.
pub(crate) struct Runtime {
    /// The thread ends when this is dropped.
    inbox: UnboundedSender<Work>,
}

/// A future that hands its result over by itself.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Runtime {
    /// Runs a future on our thread. It goes through an inbox: tokio's own `spawn` wakes the thread each time, with a system
    /// call, even if the thread is busy. Futures that arrive while it is busy cost none, and are started together.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(&self, future: F) {
        // A thread that has ended gives the work back. If the next one refuses it too, the work is dropped, and its
        // guards report that to the callers.
        if let Err(SendError(work)) = self.inbox.send(Box::pin(future))
            && let Ok(next) = handle()
        {
            let _ = next.inbox.send(work);
        }
    }

    /// Whether the thread takes work. It does unless tokio has panicked, for example because the host has closed its
    /// descriptors.
    fn is_running(&self) -> bool {
        !self.inbox.is_closed()
    }

    fn start() -> Result<Self, Error> {
        let refused = |error: io::Error| {
            let text = format!(
                "the system gave no thread or descriptors for the library: {error}; check the process limits"
            );
            Error::new(Status::PG_ERR_SYSTEM, text)
        };
        standard_streams::ensure_open()?;
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(refused)?;
        let (inbox, mut works) = unbounded_channel::<Work>();
        let runtime = Undriven(Some(runtime));
        with_signals_blocked(|| {
            thread_builder("pg-auth").spawn(move || {
                let runtime = runtime;
                let Some(driven) = &runtime.0 else { return };
                let take_all = async {
                    while let Some(work) = works.recv().await {
                        tokio::spawn(work);
                    }
                };
                let _ = defect::catch_panic(|| driven.block_on(take_all));
                // Dropped first, so that `is_running` is false: guards of what is dropped may ask for the next thread.
                let _ = defect::catch_panic(|| drop(works));
                let _ = defect::catch_panic(|| drop(runtime));
            })
        })
        .map_err(refused)?;
        Ok(Runtime { inbox })
    }
}

/// A runtime that no thread drives. If its thread is refused, it is dropped on the caller's thread. That may be a thread of
/// another runtime, where an ordinary drop panics; and an ordinary drop would wait for a `getaddrinfo` that hangs.
struct Undriven(Option<tokio::runtime::Runtime>);

impl Drop for Undriven {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn a_runtime_whose_thread_is_refused_is_dropped_on_a_thread_of_another_runtime() {
        let build = || Builder::new_current_thread().enable_time().build().unwrap();
        let ours = Undriven(Some(build()));
        build().block_on(async move { drop(ours) });
    }

    #[test]
    fn a_result_comes_back_and_a_panic_is_an_error() {
        assert_eq!(run(async { 7 }, Duration::from_secs(5)).unwrap(), Some(7));
        let error =
            run(async { panic!("hunter2") }, Duration::from_secs(5)).map(|_: Option<()>| ()).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_INTERNAL);
        assert!(!error.text.contains("hunter2"), "{}", error.text);
        assert_eq!(run(async { 8 }, Duration::from_secs(5)).unwrap(), Some(8));
    }

    #[test]
    fn a_future_that_does_not_end_does_not_hold_its_caller() {
        assert!(run(std::future::pending::<()>(), Duration::ZERO).unwrap().is_none());
    }

    #[test]
    fn our_thread_takes_no_signals() {
        let blocked = run(
            async {
                // SAFETY: with a null set the call only reads the current mask.
                unsafe {
                    let mut now: libc::sigset_t = std::mem::zeroed();
                    libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), &mut now);
                    [libc::SIGPIPE, libc::SIGTERM, libc::SIGCHLD, libc::SIGPROF]
                        .map(|signal| libc::sigismember(&now, signal))
                }
            },
            Duration::from_secs(5),
        );
        assert_eq!(blocked.unwrap(), Some([1, 1, 1, 1]));
    }
}
