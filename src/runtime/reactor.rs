//! The reactor: sockets, timers and tasks, which one thread at a time drives.
//!
//! A caller that waits drives it, so that a call costs no change of threads. Our own thread sleeps outside, and drives while
//! there is work that no caller waits for: a renewal in the background, an operation of a queue, a call whose caller has left.
//! tokio hands the drive from thread to thread: a caller that comes while another one drives polls only its own future, and goes on
//! with the drive when the other one leaves.

use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime as Tokio};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::canary::Canary;
use super::ending::Ending;
use super::guest::WithoutSigpipe;
use super::load::Load;
use super::signals::with_signals_blocked;
use super::works::{Begun, Works};
use super::{become_task, race, standard_streams, thread_builder};
use crate::defect;
use crate::error::Error;
use crate::status::Status;
use crate::sync::lock;

/// How many turns the tasks of a connection may need to end: over HTTP/2 it has two, and the end of one wakes the other.
const TURNS: usize = 3;

/// While nobody drives, our thread looks at the connections at this interval, so that those are closed that a server has closed or
/// that are not kept any longer. It does so until none is kept.
const LOOK_INTERVAL: Duration = Duration::from_secs(20);
const LOOKS: u32 = 3;

/// The longest sleep of our thread, which ends after it if the host has closed the descriptors that would wake it.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Sooner than the deadline of a request.
const SOON: Duration = Duration::from_secs(1);

/// The reactor of this process, with our thread.
pub(crate) struct Runtime {
    shared: Arc<Shared>,
    /// To a task that starts them. tokio's own `spawn` wakes a thread that drives each time, with a system call, even if it is
    /// busy. Futures that arrive while it is busy cost none, and are started together.
    inbox: UnboundedSender<Begun>,
}

struct Shared {
    /// None: the reactor has ended.
    reactor: Mutex<Option<Arc<Reactor>>>,
    load: Load,
    works: Arc<Works>,
    /// For our thread: there is work, none is left, or the end.
    attention: Notify,
    /// What our thread runs besides, until it takes it over.
    residents: Mutex<Vec<Box<dyn Resident>>>,
    ending: Ending,
    /// Nobody has driven for a while. Servers may have closed connections meanwhile, which nobody has noticed.
    is_stale: AtomicBool,
    canary: Arc<Canary>,
    /// How often our thread will still look at the connections.
    looks: AtomicU32,
}

/// A task of our thread itself, for which it does not drive the reactor. It may be interrupted at each wait, and run again.
pub(crate) trait Resident: Send {
    /// Runs until it is interrupted.
    fn run(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl Runtime {
    pub(super) fn start() -> Result<Self, Error> {
        standard_streams::ensure_open()?;
        let (canary, works) = (Arc::new(Canary::new()), Arc::<Works>::default());
        let reactor = Reactor::new(works.clone(), canary.clone())?;
        let (inbox, begun) = unbounded_channel();
        reactor.tokio().spawn(start_all(begun));
        reactor.tokio().spawn(keep_a_timer_armed());
        let shared = Arc::new(Shared {
            reactor: Mutex::new(Some(Arc::new(reactor))),
            load: Load::default(),
            works,
            attention: Notify::new(),
            residents: Mutex::default(),
            ending: Ending::default(),
            is_stale: AtomicBool::new(false),
            canary: canary.clone(),
            looks: AtomicU32::new(0),
        });
        let outside = Reactor::new(Arc::default(), canary)?;
        let ours = shared.clone();
        let work = move || {
            let mut residents = Vec::new();
            let _ = defect::catch_panic(|| ours.keep_driving(&outside, &mut residents));
            ours.end();
            drop(outside);
            // Their guards may ask for the next runtime.
            let _ = defect::catch_panic(|| drop(residents));
            let _ = defect::catch_panic(|| drop(std::mem::take(&mut *lock(&ours.residents))));
        };
        with_signals_blocked(|| thread_builder("pg-auth").spawn(work)).map_err(refused)?;
        Ok(Runtime { shared, inbox })
    }

    /// Whether the reactor takes work. It does unless the host has closed its descriptors, or tokio has panicked.
    pub(super) fn is_running(&self) -> bool {
        self.shared.is_running()
    }

    /// For what keeps a descriptor of its own as long as this reactor.
    pub(crate) fn canary(&self) -> Arc<Canary> {
        self.shared.canary.clone()
    }

    /// Ends the operations of a reactor that is not used any more, on another thread: a caller may hold a lock that their guards
    /// take. If there is none to be had, ours does.
    pub(super) fn bury(&self, unused: &'static Runtime) {
        let bury = || unused.shared.end();
        if with_signals_blocked(|| thread_builder("pg-bury").spawn(bury)).is_err() {
            self.spawn(async move { bury() });
        }
    }

    /// Runs a future that no caller waits for. If the reactor has ended the future is dropped, and its guards report that.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(&self, future: F) {
        self.start_work(self.begin(future));
    }

    /// Counts a future as work from now on. It has yet to be started.
    pub(super) fn begin<F: Future<Output = ()> + Send + 'static>(&self, future: F) -> Begun {
        let work = Work::begin(&self.shared);
        self.shared.works.begin(async move {
            let _work = work;
            future.await;
        })
    }

    /// Starts what was begun.
    pub(super) fn start_work(&self, work: Begun) {
        let inbox = &self.inbox;
        self.shared.wake(|| drop(inbox.send(work)));
    }

    /// Runs a task on our thread.
    pub(crate) fn keep(&self, resident: impl Resident + 'static) {
        lock(&self.shared.residents).push(Box::new(resident));
        self.shared.call_us();
        if self.shared.has_ended() {
            drop(std::mem::take(&mut *lock(&self.shared.residents)));
        }
    }

    /// Announces that this thread is about to wait: what it begins meanwhile needs no other thread.
    pub(super) fn seat(&self) -> Seat<'_> {
        Seat::take(&self.shared)
    }

    /// Drives until the future ends. `Some(None)`: it took longer than `patience`. `None`: the reactor has ended.
    pub(super) fn drive<F: Future>(
        &self,
        _seat: Seat,
        future: F,
        patience: Duration,
    ) -> Option<Option<F::Output>> {
        let reactor = self.shared.reactor()?;
        let _sigpipe = WithoutSigpipe::enter();
        let driven = defect::catch_panic(|| {
            // tokio runs the tasks that are ready before it comes back to this future, so that a connection has sent its frames, and
            // has emptied its buffers, when the caller leaves.
            reactor.tokio().block_on(async {
                let future =
                    race(race(future, self.shared.ending.wait()), canary_has_died(&self.shared.canary));
                tokio::time::timeout(patience, future).await
            })
        });
        match driven {
            Ok(Ok(Some(Some(result)))) => Some(Some(result)),
            Ok(Err(_)) => Some(None),
            Ok(Ok(_)) | Err(_) => {
                self.shared.end();
                None
            }
        }
    }

    /// Before a request is written to a connection that is kept: lets those that a server has closed meanwhile be noticed.
    pub(super) async fn settle(&self) {
        if self.shared.is_stale.load(Ordering::Relaxed) {
            become_task().await;
            // The sockets are polled, then the tasks of those that were closed, then this one goes on.
            tokio::task::yield_now().await;
            self.shared.is_stale.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Runtime {
    /// Another thread of the process was faster to make one.
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    fn reactor(&self) -> Option<Arc<Reactor>> {
        lock(&self.reactor).clone()
    }

    fn running_reactor(&self) -> Option<Arc<Reactor>> {
        self.reactor().filter(|_| self.is_running())
    }

    fn is_running(&self) -> bool {
        !self.has_ended() && self.canary.is_alive()
    }

    fn has_ended(&self) -> bool {
        self.ending.has_come()
    }

    /// Calls our thread, unless that would write to a file of the host.
    fn call_us(&self) {
        if self.canary.is_alive() {
            self.wake(|| self.attention.notify_one());
        }
    }

    /// Does what wakes a thread. tokio panics there if the host has just closed the descriptor that it writes to. The reactor is
    /// not used from then on: the next caller starts another one, which buries this one.
    fn wake(&self, work: impl FnOnce()) {
        if defect::catch_panic(work).is_err() {
            self.ending.announce();
        }
    }

    /// Ends the reactor: its tasks are dropped when no thread drives any more.
    fn end(&self) {
        self.ending.announce();
        self.call_us();
        let reactor = lock(&self.reactor).take();
        // A guard of a task may panic, or ask for the next runtime.
        let _ = defect::catch_panic(|| drop(reactor));
    }

    /// The life of our thread.
    fn keep_driving(&self, outside: &Reactor, residents: &mut Vec<Box<dyn Resident>>) {
        while let Some(reactor) = self.running_reactor() {
            residents.append(&mut lock(&self.residents));
            if self.load.needs_us() {
                let attention = async {
                    while self.load.has_work() && self.is_calm() {
                        self.attention.notified().await;
                    }
                };
                self.load.we_drive();
                let attention = race(attention, canary_has_died(&self.canary));
                reactor.tokio().block_on(race_all(attention, residents, &self.canary));
                self.load.we_leave();
                self.leave();
            } else {
                drop(reactor);
                let looks = self.looks.load(Ordering::Relaxed);
                let patience = if looks > 0 { LOOK_INTERVAL } else { LONGEST_SLEEP };
                let attention = async {
                    while !self.load.needs_us() && self.is_calm() && (looks > 0 || !self.has_looks()) {
                        self.attention.notified().await;
                    }
                };
                // The timer is made inside.
                let attention = async { tokio::time::timeout(patience, attention).await };
                let waited = outside.tokio().block_on(race_all(attention, residents, &self.canary));
                let is_quiet = waited.is_some_and(|waited| waited.is_err());
                if is_quiet && let Some(reactor) = self.running_reactor() {
                    self.looks.store(looks.saturating_sub(1), Ordering::Relaxed);
                    reactor.tokio().block_on(take_turns());
                }
            }
        }
    }

    /// Nobody drives any more, as far as this thread knows.
    fn leave(&self) {
        self.is_stale.store(true, Ordering::Relaxed);
        if self.looks.swap(LOOKS, Ordering::Relaxed) == 0 {
            self.call_us();
        }
    }

    fn has_looks(&self) -> bool {
        self.looks.load(Ordering::Relaxed) > 0
    }

    /// Whether our thread has nothing to do besides its drive.
    fn is_calm(&self) -> bool {
        !self.has_ended() && lock(&self.residents).is_empty()
    }
}

/// Runs the residents until `attention` resolves. `None`: the canary has died. The number on which this thread would wait then may be
/// that of the next reactor, whose events it would take.
async fn race_all<T>(
    attention: impl Future<Output = T>,
    residents: &mut [Box<dyn Resident>],
    canary: &Canary,
) -> Option<T> {
    let mut running: Vec<_> = residents.iter_mut().map(|resident| resident.run()).collect();
    let mut attention = pin!(attention);
    poll_fn(|context| {
        if !canary.is_alive() {
            return Poll::Ready(None);
        }
        for resident in &mut running {
            // It does not end by itself.
            let _ = resident.as_mut().poll(context);
        }
        attention.as_mut().poll(context).map(Some)
    })
    .await
}

/// Resolves soon after the canary has died, for a thread that drives.
async fn canary_has_died(canary: &Canary) {
    loop {
        tokio::time::sleep(SOON).await;
        if !canary.is_alive() {
            return;
        }
    }
}

/// Starts the futures of the inbox.
async fn start_all(mut begun: UnboundedReceiver<Begun>) {
    while let Some(work) = begun.recv().await {
        tokio::spawn(work);
    }
}

/// tokio wakes the reactor for a timer that comes before all others, with a system call, even on the thread that drives. With
/// one that always comes soon, the timers of a request cost none. It ends only while a thread drives.
async fn keep_a_timer_armed() {
    loop {
        tokio::time::sleep(SOON).await;
    }
}

/// Lets connections end.
pub(super) async fn take_turns() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

/// A runtime of tokio, with the futures that are its tasks.
struct Reactor {
    /// None: it is being dropped.
    tokio: Option<Tokio>,
    works: Arc<Works>,
    canary: Arc<Canary>,
}

impl Reactor {
    fn new(works: Arc<Works>, canary: Arc<Canary>) -> Result<Self, Error> {
        let tokio = Builder::new_current_thread().enable_io().enable_time().build().map_err(refused)?;
        Ok(Reactor { tokio: Some(tokio), works, canary })
    }

    fn tokio(&self) -> &Tokio {
        match &self.tokio {
            Some(tokio) => tokio,
            None => unreachable!("only the drop takes it"),
        }
    }
}

impl Drop for Reactor {
    /// On whatever thread is the last to use it. That may be one of another runtime, where `block_on` and an ordinary drop panic;
    /// and an ordinary drop would wait for a `getaddrinfo` that hangs.
    fn drop(&mut self) {
        let Some(tokio) = self.tokio.take() else { return };
        if self.canary.is_alive() || Handle::try_current().is_ok() {
            tokio.shutdown_background();
        } else {
            // The host has closed its descriptors, and may have files of its own under their numbers, so it is never dropped. On the
            // thread that drives the futures wake no other by such a number.
            tokio.block_on(async { self.works.end() });
            mem::forget(tokio);
        }
    }
}

/// A caller that drives, or is about to.
pub(crate) struct Seat<'a>(&'a Shared);

impl<'a> Seat<'a> {
    fn take(shared: &'a Shared) -> Self {
        shared.load.begin_drive();
        Seat(shared)
    }
}

impl Seat<'_> {
    /// Whether no other thread drives or is about to.
    pub(super) fn is_alone(&self) -> bool {
        self.0.load.has_one_driver()
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let Some(work) = self.0.load.end_drive() else { return };
        self.0.leave();
        if work > 0 {
            self.0.call_us();
        }
    }
}

/// Work that no caller waits for.
struct Work(Arc<Shared>);

impl Work {
    fn begin(shared: &Arc<Shared>) -> Self {
        if shared.load.begin_work() {
            shared.call_us();
        }
        Work(shared.clone())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.0.load.end_work() {
            self.0.call_us();
        }
    }
}

fn refused(error: io::Error) -> Error {
    let text = format!(
        "the system gave no thread or descriptors for the library: {error}; check the process limits"
    );
    Error::new(Status::PG_ERR_SYSTEM, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reactor_may_end_on_a_thread_of_another_runtime() {
        let reactor = Reactor::new(Arc::default(), Arc::new(Canary::new())).unwrap();
        let other = Builder::new_current_thread().build().unwrap();
        other.block_on(async move { drop(reactor) });
    }
}
