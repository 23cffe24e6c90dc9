//! Models of threads that set timers while the timer task runs. Nothing wakes the task but a notice: the library's own clock
//! would end a missed one after 30 s.

use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use loom::thread;

use super::driver::Driver;
use super::timers::Timers;
use crate::check;
use crate::clock::{Clock, Moment};
use crate::runtime::{self, Task, take_spawned, word};
use crate::sync::TICKS_LEFT;

const NOW: Duration = Duration::from_secs(100);

struct Still;

impl Clock for Still {
    fn now(&self) -> Moment {
        Moment { boot: NOW }
    }
}

fn start(timers: &Arc<Timers>) {
    let clock: Arc<dyn Clock> = Arc::new(Still);
    timers.run_on(runtime::handle().unwrap(), &clock);
}

/// Runs the task until all timers have fired.
fn run_task(mut task: Task) {
    assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    // Its runtime goes on, so it does not end.
    std::mem::forget(task);
}

/// Two sessions set timers that are due, one of them moves its timer first. Each fires once, and no set timer is missed.
pub fn a_timer_that_is_due_fires_once() {
    check(Some(3), || {
        TICKS_LEFT.set(2);
        let timers = Arc::<Timers>::default();
        start(&timers);
        let [task] = <[_; 1]>::try_from(take_spawned()).ok().unwrap();
        let (moved, direct) = (Arc::<Driver>::default(), Arc::<Driver>::default());
        let setting = {
            let (timers, driver) = (timers.clone(), Arc::downgrade(&direct));
            thread::spawn(move || timers.set(None, Some(NOW), &driver))
        };
        let driver: Weak<Driver> = Arc::downgrade(&moved);
        let moving = thread::spawn(move || {
            let later = timers.set(None, Some(NOW * 2), &driver);
            timers.set(later, Some(NOW / 2), &driver);
        });
        run_task(task);
        setting.join().unwrap();
        moving.join().unwrap();
        assert_eq!((moved.ticks(), direct.ticks()), (1, 1));
        let left = Arc::weak_count(&moved) + Arc::weak_count(&direct);
        assert_eq!(left, 0, "timers are left");
    });
}

/// Threads that start the task at once start one.
pub fn one_task_is_started() {
    check(None, || {
        let timers = Arc::<Timers>::default();
        let other = {
            let timers = timers.clone();
            thread::spawn(move || start(&timers))
        };
        start(&timers);
        other.join().unwrap();
        let tasks = take_spawned();
        assert_eq!(tasks.len(), 1);
        std::mem::forget(tasks);
    });
}

/// The task ends while a thread starts it and sets a word: a word that stays set has a task.
pub fn a_word_that_stays_set_has_a_task() {
    check(None, || {
        let timers = Arc::<Timers>::default();
        start(&timers);
        let first = take_spawned();
        let ending = thread::spawn(move || drop(first));
        start(&timers);
        timers.set_word(|| word::set(7));
        ending.join().unwrap();
        let next = take_spawned();
        assert!(word::get() == 0 || next.len() == 1, "{} tasks", next.len());
        std::mem::forget(next);
    });
}
