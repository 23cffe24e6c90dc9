//! The one thread of ours in the host's process, and what must not cross a fork.
//!
//! The fork protocol: whatever holds threads, sockets or locks sits in a [`PerProcess`], which knows the
//! process that made it. A child finds its parent's value, leaks it (its thread does not exist here, its locks
//! may be held for ever, its connections belong to the parent) and makes its own.

#![allow(unsafe_code, reason = "fork handlers, signal masks and the per-process pointer")]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::task::Poll;
use std::time::Duration;
use std::{io, ptr, thread};

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::defect;
use crate::error::Error;
use crate::status::Status;

/// How much longer than its own deadline a task may take to say so. Callers are promised 50 ms.
const GRACE: Duration = Duration::from_millis(40);
/// A thread that resolves names goes away after this long without work.
const RESOLVER_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Runs a future on our thread and waits for it. A future that does not end within `patience` (it should, by its
/// own deadline) is left behind, and the answer is `None`.
pub(crate) fn run<T, F>(future: F, patience: Duration) -> Result<Option<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (answer, waiting) = sync_channel(1);
    started()?.spawn(async move {
        // The caller may be gone; then nobody wants the answer.
        let _ = answer.send(defect::contain_future(future).await);
    });
    match waiting.recv_timeout(patience.saturating_add(GRACE)) {
        Ok(result) => result.map(Some),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => {
            Err(Error::new(Status::PG_ERR_INTERNAL, "the library's own thread has gone; please report it"))
        }
    }
}

/// What the work comes to, unless the stop comes first.
pub(crate) async fn first<T>(work: impl Future<Output = T>, stop: oneshot::Receiver<()>) -> Option<T> {
    let (mut work, mut stop) = (pin!(work), pin!(stop));
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Some(done));
        }
        stop.as_mut().poll(context).map(|_| None)
    })
    .await
}

/// Our thread, started if it is not there yet.
pub(crate) fn started() -> Result<&'static Runtime, Error> {
    static RUNTIME: PerProcess<Runtime> = PerProcess::new();
    RUNTIME.get_or_try_init(Runtime::start)
}

/// One thread that drives a current-thread runtime: one context switch per call, where a multi-thread runtime
/// with a single worker takes six.
pub(crate) struct Runtime {
    handle: Handle,
    /// Dropped with the runtime, which ends the thread.
    _alive: oneshot::Sender<()>,
}

impl Runtime {
    /// Performs a future on our thread.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(&self, future: F) {
        self.handle.spawn(future);
    }

    fn start() -> Result<Self, Error> {
        let refused = |error: io::Error| {
            let text = format!(
                "the system gave no thread or descriptors for the library: {error}; check the process limits"
            );
            Error::new(Status::PG_ERR_SYSTEM, text)
        };
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .thread_name("pg-resolve")
            .thread_keep_alive(RESOLVER_KEEP_ALIVE)
            .max_blocking_threads(16)
            .build()
            .map_err(refused)?;
        let handle = runtime.handle().clone();
        let (_alive, ended) = oneshot::channel::<()>();
        with_signals_blocked(|| {
            thread::Builder::new().name("pg-auth".into()).spawn(move || {
                let _ = runtime.block_on(ended);
                // Waiting for a getaddrinfo that hangs would hang whoever drops us.
                runtime.shutdown_background();
            })
        })
        .map_err(refused)?;
        Ok(Runtime { handle, _alive })
    }
}

/// Threads made in `spawn` inherit a full mask: signals are the host's business, and a write to a closed socket
/// must not raise SIGPIPE in a host that has no handler for it.
fn with_signals_blocked<T>(spawn: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are plain data that the calls fill; the mask of this thread is put back below.
    let before = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        before
    };
    let made = spawn();
    // SAFETY: `before` was filled by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    made
}

/// A value that belongs to one process: a forked child leaks the parent's and makes its own. Lock-free, since a
/// lock could be held by another thread at the moment of the fork and then never be freed in the child.
pub(crate) struct PerProcess<T> {
    slot: AtomicPtr<Owned<T>>,
}

struct Owned<T> {
    pid: u32,
    value: T,
}

impl<T: Send + Sync> PerProcess<T> {
    /// Empty.
    pub(crate) const fn new() -> Self {
        PerProcess { slot: AtomicPtr::new(ptr::null_mut()) }
    }

    /// This process's value, if it has been made.
    pub(crate) fn get(&self) -> Option<&T> {
        let seen = self.slot.load(Ordering::Acquire);
        // SAFETY: the slot holds null or a leaked box, freed only by our drop, which needs `&mut self`.
        unsafe { seen.as_ref() }.filter(|owned| owned.pid == pid()).map(|owned| &owned.value)
    }

    /// This process's value, made now if there is none. Threads that race make one each; one is kept.
    pub(crate) fn get_or_try_init(&self, make: impl FnOnce() -> Result<T, Error>) -> Result<&T, Error> {
        let seen = self.slot.load(Ordering::Acquire);
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let pid = pid();
        let fresh = Box::into_raw(Box::new(Owned { pid, value: make()? }));
        let kept = match self.slot.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(winner) => {
                // SAFETY: `fresh` was made above and nobody else has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                winner
            }
        };
        // SAFETY: as above; a winner can only have been put there by a thread of this process.
        Ok(unsafe { &(*kept).value })
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let slot = *self.slot.get_mut();
        // SAFETY: null or a leaked box that only we own now.
        if unsafe { slot.as_ref() }.is_some_and(|owned| owned.pid == pid()) {
            // SAFETY: as above.
            drop(unsafe { Box::from_raw(slot) });
        }
    }
}

static PID: AtomicU32 = AtomicU32::new(0);

/// This process, without a system call after the first time.
fn pid() -> u32 {
    match PID.load(Ordering::Acquire) {
        0 => learn_pid(),
        known => known,
    }
}

#[cold]
fn learn_pid() -> u32 {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    extern "C" fn in_child() {
        PID.store(0, Ordering::Release);
    }
    // Two threads may both register: the handler does no harm twice.
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: the handler only stores to an atomic, and the library is never unloaded (-z nodelete).
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        REGISTERED.store(true, Ordering::Release);
    }
    let id = std::process::id();
    PID.store(id, Ordering::Release);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_future_that_does_not_end_is_left_behind() {
        assert!(run(std::future::pending::<()>(), Duration::ZERO).unwrap().is_none());
    }

    #[test]
    fn our_thread_takes_no_signals() {
        let blocked = run(
            async {
                // SAFETY: a null set only asks for the current mask.
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

    #[test]
    fn a_value_of_another_process_is_left_alone() {
        let cell = PerProcess::new();
        assert_eq!(*cell.get_or_try_init(|| Ok(1)).unwrap(), 1);
        assert_eq!(*cell.get_or_try_init(|| Ok(2)).unwrap(), 1);
        // SAFETY: nobody else uses the cell; this is what a child finds after a fork.
        unsafe { (*cell.slot.load(Ordering::Acquire)).pid ^= 1 };
        assert_eq!(*cell.get_or_try_init(|| Ok(3)).unwrap(), 3);
    }
}
