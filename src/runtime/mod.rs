//! What the library is to the host's process: the one thread of ours (`Runtime`), what must not cross a fork
//! ([`process`]), and what any number of threads may read while one replaces it ([`hazard_cell`]).

#![allow(unsafe_code, reason = "fork handlers, signal masks, pointers that threads and processes share")]

pub(crate) mod boot_timer;
mod fence;
mod fork_zeroed;
pub(crate) mod hazard_cell;
mod hazard_pointer;
pub(crate) mod process;
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
use std::{io, ptr, thread};

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use self::process::PerProcess;
use self::workers::Workers;
use crate::defect;
use crate::error::Error;
use crate::status::Status;

/// How much longer than its own deadline a task may take to say so. Callers are promised 50 ms.
const GRACE: Duration = Duration::from_millis(40);

/// Runs a future on our thread and waits for it. A future that does not end within `patience` (it should, by its
/// own deadline) is left behind, and the answer is `None`.
pub(crate) fn run<T, F>(future: F, patience: Duration) -> Result<Option<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let (answer, waiting) = sync_channel(1);
    handle()?.spawn(async move {
        // The caller may be gone; then nobody wants the answer.
        let _ = answer.send(defect::catch_panic_async(future).await);
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

/// Our thread, started if it is not there yet, or not any more.
pub(crate) fn handle() -> Result<&'static Runtime, Error> {
    static RUNTIME: PerProcess<Runtime> = PerProcess::new();
    RUNTIME.get_or_replace(Runtime::is_running, Runtime::start)
}

/// Performs what may block: here, unless this is our thread and another one can be started.
pub(crate) fn run_blocking(work: impl FnOnce() + Send + 'static) {
    static WORKERS: Workers = Workers::new("pg-aside", 4);
    let work = RunOnDrop(Some(Box::new(work)));
    if Handle::try_current().is_ok() {
        // Refused, it is dropped, and so performed here.
        let _ = WORKERS.submit(Box::new(move || drop(work)));
    }
}

/// Work that is performed when this is dropped, wherever that is.
struct RunOnDrop(Option<Box<dyn FnOnce() + Send>>);

impl Drop for RunOnDrop {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|work| work());
    }
}

/// One thread that drives a current-thread runtime: one context switch per call, where a multi-thread runtime
/// with a single worker takes six.
pub(crate) struct Runtime {
    /// Dropped with the runtime, which ends the thread.
    inbox: UnboundedSender<Work>,
}

/// Its result goes where it likes.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Runtime {
    /// Performs a future on our thread. Through an inbox, since tokio's own way in wakes the thread each time, awake or
    /// not: what comes while it is busy costs no system call, and is begun together.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(&self, future: F) {
        // A thread that has ended gives the work back. Work that nobody takes is dropped, and its guards end what it was for.
        if let Err(SendError(work)) = self.inbox.send(Box::pin(future))
            && let Ok(next) = handle()
        {
            let _ = next.inbox.send(work);
        }
    }

    /// Whether the thread takes work. It does until tokio panics, say because the host has closed its descriptors.
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
        with_signals_blocked(|| {
            thread::Builder::new().name("pg-auth".into()).spawn(move || {
                let take_all = async {
                    while let Some(work) = works.recv().await {
                        tokio::spawn(work);
                    }
                };
                let _ = defect::catch_panic(|| runtime.block_on(take_all));
                // Whatever ended it: from now on another thread is started, and the guards of what is dropped may ask for it.
                let _ = defect::catch_panic(|| drop(works));
                // Waiting for a getaddrinfo that hangs would hang who drops us.
                let _ = defect::catch_panic(|| runtime.shutdown_background());
            })
        })
        .map_err(refused)?;
        Ok(Runtime { inbox })
    }
}

/// Threads made in `spawn` inherit a full mask: signals are the host's business, and a write to a closed socket
/// must not raise SIGPIPE in a host that has no handler for it.
pub(crate) fn with_signals_blocked<T>(spawn: impl FnOnce() -> T) -> T {
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
}
