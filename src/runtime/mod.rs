//! The library inside the host's process: the reactor and who drives it ([`reactor`]), threads for work that may block
//! ([`workers`]), fork safety ([`process`]), and memory that threads share without a lock ([`hazard_cell`], [`sharded_arc`],
//! [`word`]).

#![allow(unsafe_code, reason = "fork handlers, signal masks, pointers that threads and processes share")]

mod all_slots;
pub(crate) mod boot_timer;
mod canary;
mod ending;
mod fence;
mod fork_zeroed;
mod guest;
pub(crate) mod hazard_cell;
mod hazard_pointer;
mod load;
mod on_reactor;
pub(crate) mod process;
mod reactor;
pub(crate) mod sharded_arc;
pub(crate) mod signals;
mod slot_list;
mod stack;
pub(crate) mod standard_streams;
mod thread_pointer;
mod thread_slot;
pub(crate) mod word;
pub(crate) mod workers;
mod works;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub(crate) use self::guest::WithoutCancellation;
pub(crate) use self::on_reactor::OnReactor;
use self::process::PerProcess;
use self::reactor::Seat;
pub(crate) use self::reactor::{Resident, Runtime};
use self::workers::Workers;
use crate::clock::FOREVER;
use crate::defect;
use crate::error::Error;
use crate::status::Status;

/// How much later than its own deadline a task may report. Callers are promised 50 ms.
const GRACE: Duration = Duration::from_millis(40);

/// Runs a future and waits for its result; the calling thread drives the reactor meanwhile. `None`: the future, which has a
/// deadline of its own, did not end within `patience`; it goes on without the caller.
pub(crate) fn run<T, F>(future: F, patience: Duration) -> Result<Option<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    run_on(handle()?, future, patience.saturating_add(GRACE))
}

fn run_on<T, F>(runtime: &Runtime, future: F, patience: Duration) -> Result<Option<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let future = defect::catch_panic_async(future);
    match may_drive().then(|| runtime.seat()) {
        Some(seat) if !seat.is_alone() => run_beside(runtime, seat, future, patience),
        seat => run_as_task(runtime, seat, future, patience),
    }
}

/// While another thread drives, this one polls its own future, so that both work. It goes on with the drive when that one
/// leaves.
fn run_beside<T, F>(runtime: &Runtime, seat: Seat, future: F, patience: Duration) -> Result<Option<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let mut future = Some(Box::pin(async {
        let result = future.await;
        // If this thread drives by now: the connection still has the request in its buffers, and frames to send.
        tokio::task::yield_now().await;
        result
    }));
    match runtime.drive(seat, poll_beside(runtime, &mut future), patience) {
        Some(Some(result)) => result.map(Some),
        Some(None) => {
            if let Some(future) = future {
                runtime.spawn(async { drop(future.await) });
            }
            Ok(None)
        }
        None => Err(thread_has_ended()),
    }
}

/// Polls the future until it has ended, or asks to become a task.
async fn poll_beside<T, F>(runtime: &Runtime, future: &mut Option<Pin<Box<F>>>) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let polled = poll_fn(|context| {
        WANTS_TO_BE_A_TASK.set(false);
        match future.as_mut().map(|future| future.as_mut().poll(context)) {
            Some(Poll::Ready(result)) => Poll::Ready(Some(result)),
            Some(Poll::Pending) if !WANTS_TO_BE_A_TASK.take() => Poll::Pending,
            _ => Poll::Ready(None),
        }
    });
    if let Some(result) = polled.await {
        return result;
    }
    let (answer, answered) = oneshot::channel();
    if let Some(future) = future.take() {
        // Fails if the caller has gone, which does no harm.
        runtime.spawn(async move { drop(answer.send(future.await)) });
    }
    answered.await.unwrap_or_else(|_| Err(thread_has_ended()))
}

thread_local! {
    static WANTS_TO_BE_A_TASK: Cell<bool> = const { Cell::new(false) };
}

/// From here on, the future that awaits this is a task: the tasks of connections have their turn between two steps of it.
pub(crate) async fn become_task() {
    if tokio::task::try_id().is_none() {
        WANTS_TO_BE_A_TASK.set(true);
        tokio::task::yield_now().await;
    }
}

/// As a task, like the connections: the others have their turn between two steps of this one, also before the caller leaves.
fn run_as_task<T, F>(
    runtime: &Runtime,
    seat: Option<Seat>,
    future: F,
    patience: Duration,
) -> Result<Option<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let work = runtime.begin(async move {
        // Fails if the caller has gone, which does no harm.
        let _ = answer.send(future.await);
    });
    let has_seat = seat.is_some();
    let started = async {
        match Handle::try_current() {
            // On the thread that drives: it wakes none.
            Ok(reactor) if has_seat => drop(reactor.spawn(work)),
            _ => runtime.start_work(work),
        }
        answered.await
    };
    match wait_on(runtime, seat, started, patience) {
        Some(Ok(result)) => result.map(Some),
        Some(Err(_)) => Err(thread_has_ended()),
        None => Ok(None),
    }
}

fn thread_has_ended() -> Error {
    Error::new(Status::PG_ERR_INTERNAL, "the library's own thread has ended; please report it")
}

/// Waits for what other work brings about. With a seat, the calling thread drives the reactor meanwhile. `None`: it took longer
/// than `patience`.
pub(crate) fn wait<F: Future>(seat: Option<Seat>, future: F, patience: Duration) -> Option<F::Output> {
    match handle() {
        Ok(runtime) => wait_on(runtime, seat, future, patience),
        Err(_) => parked(pin!(future), patience),
    }
}

fn wait_on<F: Future>(
    runtime: &Runtime,
    seat: Option<Seat>,
    future: F,
    patience: Duration,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let deadline = Instant::now() + patience.min(FOREVER);
    let seat = seat.filter(|_| !patience.is_zero());
    let driven = seat.and_then(|seat| runtime.drive(seat, future.as_mut(), patience));
    driven.unwrap_or_else(|| parked(future, deadline.saturating_duration_since(Instant::now())))
}

/// Announces that this thread is about to wait, so that ours need not wake for what it begins before that.
pub(crate) fn seat() -> Option<Seat<'static>> {
    may_drive().then(handle)?.ok().map(Runtime::seat)
}

/// Waits without driving.
fn parked<F: Future>(mut future: Pin<&mut F>, patience: Duration) -> Option<F::Output> {
    let deadline = Instant::now() + patience.min(FOREVER);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(done);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Whether this thread may drive: a thread of a runtime must not, and neither one with a small stack nor one that ends, whose
/// variables of tokio are destroyed, can.
fn may_drive() -> bool {
    Handle::try_current().is_err_and(|error| error.is_missing_context()) && stack::has_room()
}

/// Before a request is written to a connection that is kept: lets those that a server has closed meanwhile be noticed.
pub(crate) async fn settle() {
    if let Some(runtime) = RUNTIME.get() {
        runtime.settle().await;
    }
}

/// Closes connections that were given up, on our thread: the next drive may be far away.
pub(crate) fn close_unused() {
    if let Some(runtime) = RUNTIME.get() {
        runtime.spawn(reactor::take_turns());
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

static RUNTIME: PerProcess<Runtime> = PerProcess::new();

/// The reactor of this process. It is started at the first use, and again if it has ended.
pub(crate) fn handle() -> Result<&'static Runtime, Error> {
    let start = |unused: Option<&'static Runtime>| {
        let runtime = Runtime::start()?;
        unused.into_iter().for_each(|unused| runtime.bury(unused));
        Ok(runtime)
    };
    RUNTIME.get_or_replace(Runtime::is_running, start)
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

#[cfg(test)]
mod tests {
    use std::ptr;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

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

    /// The signals of which a thread has `SIGPIPE` and others blocked.
    fn blocked() -> [i32; 4] {
        // SAFETY: with a null set the call only reads the current mask.
        unsafe {
            let mut now: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), &mut now);
            [libc::SIGPIPE, libc::SIGTERM, libc::SIGCHLD, libc::SIGPROF]
                .map(|signal| libc::sigismember(&now, signal))
        }
    }

    #[test]
    fn our_thread_takes_no_signals_and_a_caller_that_drives_only_no_sigpipe() {
        let runtime = Runtime::start().unwrap();
        let before = blocked();
        assert_eq!(run_on(&runtime, async { blocked() }, PATIENCE).unwrap(), Some([1, 0, 0, 0]));
        assert_eq!(blocked(), before);
        let (answer, ours) = channel();
        runtime.spawn(async move {
            answer.send((blocked(), thread::current().name().map(str::to_owned))).unwrap();
        });
        assert_eq!(ours.recv().unwrap(), ([1, 1, 1, 1], Some("pg-auth".to_owned())));
    }

    #[test]
    fn a_thread_with_a_small_stack_or_of_a_runtime_waits_while_another_drives() {
        let name = || async { thread::current().name().map(str::to_owned) };
        // A new one each time: our thread may still be about to leave the last one.
        let driver = move || run_on(&Runtime::start().unwrap(), name(), PATIENCE).unwrap().flatten();
        let small = thread::Builder::new().name("small".into()).stack_size(64 << 10);
        assert_eq!(small.spawn(driver).unwrap().join().unwrap().as_deref(), Some("pg-auth"));
        let large = thread::Builder::new().name("large".into());
        assert_eq!(large.spawn(driver).unwrap().join().unwrap().as_deref(), Some("large"));
        let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(other.block_on(async { driver() }).as_deref(), Some("pg-auth"));
    }

    struct CallsAtTheEnd(Sender<Option<String>>);

    impl Drop for CallsAtTheEnd {
        fn drop(&mut self) {
            let name = async { thread::current().name().map(str::to_owned) };
            let driver = run_on(&Runtime::start().unwrap(), name, PATIENCE);
            self.0.send(driver.ok().flatten().flatten()).unwrap();
        }
    }

    /// The destructors of a thread run in the order opposite to that of the first uses: that of tokio runs first here.
    #[test]
    fn a_destructor_of_a_thread_whose_other_variables_are_gone_waits_while_another_drives() {
        thread_local! {
            static AT_THE_END: Cell<Option<CallsAtTheEnd>> = const { Cell::new(None) };
        }
        let (answer, driver) = channel();
        let work = move || {
            AT_THE_END.set(Some(CallsAtTheEnd(answer)));
            run(async {}, PATIENCE).unwrap().unwrap();
        };
        thread::spawn(work).join().unwrap();
        assert_eq!(driver.recv().unwrap().as_deref(), Some("pg-auth"));
    }
}
