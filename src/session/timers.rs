//! One timer task for all sessions of the process, on the boot clock. It sleeps at most 30 s at a time and reads the
//! clocks again, so that a suspend or a clock jump needs no hook.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::ptr;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use super::driver::Driver;
use crate::clock::{Clock, Moment};
use crate::defect;
use crate::error::Error;
use crate::runtime::boot_timer::BootTimer;
use crate::runtime::{self, Resident, Runtime, process::PerProcess, word};
use crate::sync::{AtomicPtr, Mutex, MutexGuard, Ordering, fence, lock};

const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// A session whose tick panicked is ticked again after this time.
const AFTER_A_DEFECT: Duration = Duration::from_secs(1);
/// If the runtime thread ended sooner than this, the next caller restarts the task. It does not restart itself,
/// because a system that ends each thread at once would cause a busy loop.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// The time of a timer on the boot clock, and a number that makes it unique.
pub(super) type Due = (Duration, u64);

#[derive(Default)]
pub(super) struct Timers {
    schedule: Mutex<Schedule>,
    /// The runtime that runs the task; null: the task does not run.
    task_runtime: AtomicPtr<Runtime>,
}

#[derive(Default)]
struct Schedule {
    due: BTreeMap<Due, Weak<Driver>>,
    last_number: u64,
    /// Wakes the task. Each task has its own: the one before may wait on a descriptor that the host has taken away.
    changed: Arc<Notify>,
}

impl Timers {
    /// The timers of this process, with a running task.
    pub(super) fn get(clock: &Arc<dyn Clock>) -> Result<Arc<Self>, Error> {
        static TIMERS: PerProcess<Arc<Timers>> = PerProcess::new();
        let timers = TIMERS.get_or_try_init(|| Ok(Arc::default()))?;
        timers.run_on(runtime::handle()?, clock);
        Ok(timers.clone())
    }

    /// Starts the task, unless this runtime runs it already.
    pub(super) fn run_on(self: &Arc<Self>, runtime: &'static Runtime, clock: &Arc<dyn Clock>) {
        let this_runtime = ptr::from_ref(runtime).cast_mut();
        if self.task_runtime.load(Ordering::Acquire) == this_runtime {
            return;
        }
        let changed = Arc::<Notify>::default();
        let mut schedule = self.schedule();
        if self.task_runtime.swap(this_runtime, Ordering::AcqRel) != this_runtime {
            schedule.changed = changed.clone();
            drop(schedule);
            runtime.keep(TimerTask::new(self.clone(), changed, clock.clone(), runtime));
        }
    }

    /// Sets a word that programs read. It does not stay set if the task has ended meanwhile: of its end and this, the later one
    /// sees the other.
    pub(super) fn set_word(&self, set: impl FnOnce()) {
        set();
        fence(Ordering::SeqCst);
        if self.task_runtime.load(Ordering::Acquire).is_null() {
            word::reset_all();
        }
    }

    /// Moves the timer of a session to another time.
    pub(super) fn set(
        &self,
        before: Option<Due>,
        next: Option<Duration>,
        driver: &Weak<Driver>,
    ) -> Option<Due> {
        if before.map(|(at, _)| at) == next {
            return before;
        }
        let mut schedule = self.schedule();
        if let Some(before) = before {
            schedule.due.remove(&before);
        }
        let at = next?;
        schedule.last_number += 1;
        let due = (at, schedule.last_number);
        schedule.due.insert(due, driver.clone());
        if schedule.due.first_key_value().is_some_and(|(first, _)| *first == due) {
            // tokio panics if the host has just closed its descriptors. The task ends soon after that, and starts again.
            let _ = defect::catch_panic(|| schedule.changed.notify_one());
        }
        Some(due)
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        lock(&self.schedule)
    }

    /// Removes the timers that are due, and returns how long to sleep.
    fn take_due(&self, until: Duration, now: Duration) -> (BTreeMap<Due, Weak<Driver>>, Duration) {
        let mut schedule = self.schedule();
        let later = schedule.due.split_off(&(until, u64::MAX));
        let due = std::mem::replace(&mut schedule.due, later);
        let next = schedule.due.keys().next().map(|(at, _)| at.saturating_sub(now));
        (due, next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP))
    }

    /// Ticks the sessions that are due, and returns how long to sleep.
    fn tick_due(&self, now: Moment, before: Moment) -> Duration {
        // After a jump of the wall clock all sessions are ticked: readers of the generation word do not check a
        // clock.
        let until = if now.wall_has_jumped(before) { Duration::MAX } else { now.boot };
        let (due, sleep) = self.take_due(until, now.boot);
        for (fired, weak) in due {
            let Some(driver) = weak.upgrade() else { continue };
            // A panic in one session must stop neither its own timer nor those of the others.
            if defect::catch_panic(|| driver.tick(fired)).is_err() {
                self.set(None, Some(now.boot.saturating_add(AFTER_A_DEFECT)), &weak);
            }
        }
        sleep
    }
}

/// The timer task. It ends only with its runtime, and starts again on the next one.
struct TimerTask {
    timers: Arc<Timers>,
    changed: Arc<Notify>,
    clock: Arc<dyn Clock>,
    timer: BootTimer,
    /// The address of the task's runtime.
    runtime: usize,
    started: Moment,
    /// When the timers were last looked at.
    before: Moment,
}

impl TimerTask {
    fn new(timers: Arc<Timers>, changed: Arc<Notify>, clock: Arc<dyn Clock>, runtime: &Runtime) -> Self {
        let (now, timer) = (clock.now(), BootTimer::new(runtime));
        let runtime = ptr::from_ref(runtime).addr();
        TimerTask { timers, changed, clock, timer, runtime, started: now, before: now }
    }
}

impl Resident for TimerTask {
    fn run(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let now = self.clock.now();
                let sleep = self.timers.tick_due(now, self.before);
                self.before = now;
                let mut changed = pin!(self.changed.notified());
                let mut fired = pin!(self.timer.sleep(sleep));
                poll_fn(|context| {
                    // Either event ends the sleep.
                    let is_awake =
                        changed.as_mut().poll(context).is_ready() || fired.as_mut().poll(context).is_ready();
                    if is_awake { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
        })
    }
}

impl Drop for TimerTask {
    fn drop(&mut self) {
        let ours = ptr::without_provenance_mut(self.runtime);
        let task_runtime = &self.timers.task_runtime;
        if task_runtime.compare_exchange(ours, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            // Another task has taken over.
            return;
        }
        fence(Ordering::SeqCst);
        // Without the task no token is withdrawn in time. So readers of the generation word must call, and the call
        // restarts the task.
        word::reset_all();
        if self.clock.now().since(self.started) >= SHORT_LIFE
            && let Ok(runtime) = runtime::handle()
        {
            self.timers.run_on(runtime, &self.clock);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::super::account::Account;
    use super::*;
    use crate::client::Client;
    use crate::clock::SystemClock;
    use crate::config::Config;
    use crate::credentials::Credentials;
    use crate::secret::Secret;
    use crate::session::decision::Policy;
    use crate::store::MemoryStore;
    use crate::transport::{Request, Sending, Transport};

    /// A service that never answers.
    struct Silent;

    impl Transport for Silent {
        fn send(&self, _: Request) -> Sending<'_> {
            Box::pin(pending())
        }
    }

    fn driver() -> Arc<Driver> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let client = Client::with_parts(&Config::default(), Box::new(Silent), clock.clone()).unwrap();
        let [account_id, public_key] = ["account", "key"].map(|text| Secret::new(text).unwrap());
        let credentials = Arc::new(Credentials { account_id, public_key });
        let account = Arc::new(Account::fixed(client.clone(), credentials));
        Driver::new(Policy::default(), account, Arc::new(MemoryStore::default()), None).unwrap()
    }

    fn entries(timers: &Timers, driver: &Arc<Driver>) -> Vec<Due> {
        let schedule = timers.schedule();
        let ours = schedule.due.iter().filter(|(_, weak)| weak.as_ptr() == Arc::as_ptr(driver));
        ours.map(|(due, _)| *due).collect()
    }

    /// Adds a caller that waits for a token that never comes.
    fn ask(driver: &Driver, hours: u64) {
        let request = driver.token_request(Duration::from_secs(hours * 3600), Duration::ZERO);
        driver.add_waiter(driver.new_id(), request, Box::new(|_| Box::new(|| {})));
    }

    #[test]
    fn a_session_has_one_timer_even_if_another_is_set_while_one_fires() {
        let (driver, clock) = (driver(), Arc::new(SystemClock) as Arc<dyn Clock>);
        let timers = Timers::get(&clock).unwrap();
        for hours in (1..100).rev() {
            ask(&driver, hours + 1);
            let [fired] = entries(&timers, &driver)[..] else { panic!("no timer, or several") };
            // The task removes the timer, and before it ticks, another thread sets an earlier one.
            timers.schedule().due.remove(&fired);
            ask(&driver, hours);
            driver.tick(fired);
            assert_eq!(entries(&timers, &driver).len(), 1, "at {hours} hours");
        }
    }

    #[test]
    fn timers_that_are_due_are_taken_and_the_next_one_ends_the_sleep() {
        let (timers, driver, seconds) = (Timers::default(), driver(), Duration::from_secs);
        for at in [45, 10, 100, 20] {
            timers.set(None, Some(seconds(at)), &Arc::downgrade(&driver));
        }
        let taken = |now| {
            let (due, sleep) = timers.take_due(seconds(now), seconds(now));
            (due.keys().map(|(at, _)| at.as_secs()).collect::<Vec<_>>(), sleep.as_secs())
        };
        assert_eq!(taken(20), (vec![10, 20], 25));
        assert_eq!(taken(30), (vec![], 15));
        assert_eq!(taken(60), (vec![45], 30), "never longer than half a minute");
        assert_eq!(taken(200), (vec![100], 30));
        assert!(entries(&timers, &driver).is_empty());
    }

    /// The task sleeps for half a minute when the second and the third timer are set.
    #[test]
    fn a_timer_that_is_set_while_the_task_sleeps_fires_in_time() {
        let (timers, clock) = (Arc::<Timers>::default(), Arc::new(SystemClock) as Arc<dyn Clock>);
        timers.run_on(runtime::handle().unwrap(), &clock);
        for _ in 0..3 {
            let driver = driver();
            let at = clock.now().boot + Duration::from_millis(20);
            timers.set(None, Some(at), &Arc::downgrade(&driver));
            while !entries(&timers, &driver).is_empty() {
                assert!(clock.now().boot < at + LONGEST_SLEEP / 2, "it has not fired");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn timers_of_several_sessions_at_one_time_are_all_kept() {
        let (timers, drivers) = (Timers::default(), [driver(), driver()]);
        for driver in &drivers {
            timers.set(None, Some(Duration::from_secs(10)), &Arc::downgrade(driver));
        }
        assert_eq!(drivers.each_ref().map(|driver| entries(&timers, driver).len()), [1, 1]);
    }

    #[test]
    fn a_session_is_ticked_when_its_timer_is_due_and_when_the_wall_clock_has_jumped() {
        let (timers, driver, seconds) = (Timers::default(), driver(), Duration::from_secs);
        let moment = |boot, wall| Moment { boot: seconds(boot), wall: seconds(wall) };
        for (now, wall, is_ticked) in [(499, 1499, false), (500, 1500, true), (499, 2499, true)] {
            timers.schedule().due.clear();
            timers.set(None, Some(seconds(500)), &Arc::downgrade(&driver));
            let sleep = timers.tick_due(moment(now, wall), moment(490, 1490));
            assert_eq!(entries(&timers, &driver).is_empty(), is_ticked, "{now} {wall}");
            assert_eq!(sleep, if is_ticked { LONGEST_SLEEP } else { seconds(1) });
        }
    }

    #[test]
    fn threads_that_ask_while_timers_fire_leave_one_timer() {
        let (driver, clock) = (driver(), Arc::new(SystemClock) as Arc<dyn Clock>);
        let timers = Timers::get(&clock).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (1..200).rev().for_each(|hours| ask(&driver, hours)));
            }
            scope.spawn(|| {
                for _ in 0..200 {
                    let fired = entries(&timers, &driver).first().copied();
                    if let Some(fired) = fired.filter(|fired| timers.schedule().due.remove(fired).is_some()) {
                        driver.tick(fired);
                    }
                }
            });
        });
        assert_eq!(entries(&timers, &driver).len(), 1);
    }

    #[test]
    fn a_task_that_has_ended_starts_again() {
        let (timers, clock) = (Arc::<Timers>::default(), Arc::new(SystemClock) as Arc<dyn Clock>);
        let runtime = runtime::handle().unwrap();
        let runs = |timers: &Timers| {
            timers.task_runtime.load(Ordering::Acquire) == ptr::from_ref(runtime).cast_mut()
        };
        let task = |started| {
            let mut task = TimerTask::new(timers.clone(), Arc::default(), clock.clone(), runtime);
            task.started = started;
            task
        };
        let set = || timers.task_runtime.store(ptr::from_ref(runtime).cast_mut(), Ordering::Release);
        let _exclusive = word::exclusive();
        let word = word::Word::new();
        word.set(7);
        set();
        drop(task(clock.now()));
        assert!(!runs(&timers) && word.get() == 0);
        // A word that was about to be set.
        timers.set_word(|| word.set(7));
        assert_eq!(word.get(), 0);
        timers.run_on(runtime, &clock);
        assert!(runs(&timers));
        // A task that ran longer restarts by itself.
        let now = clock.now();
        drop(task(Moment { boot: now.boot.checked_sub(SHORT_LIFE).unwrap(), ..now }));
        assert!(runs(&timers));
        timers.set_word(|| word.set(7));
        assert_eq!(word.get(), 7);
    }
}
