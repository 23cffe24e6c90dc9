//! The load of the reactor: our thread is woken for work that no caller drives, and leaves when none is left.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::load::Load;
use crate::check;
use crate::sync::{Notify, TICKS_LEFT};

/// As in the reactor: who is told that our thread is needed, wakes it.
#[derive(Default)]
struct Shared {
    load: Load,
    attention: Notify,
    /// How much work our thread has done.
    done: AtomicUsize,
}

impl Shared {
    fn begin_work(&self) {
        if self.load.begin_work() {
            self.attention.notify_one();
        }
    }

    fn end_work(&self) {
        if self.load.end_work() {
            self.attention.notify_one();
        }
    }

    fn leave(&self) {
        if self.load.end_drive().is_some_and(|work| work > 0) {
            self.attention.notify_one();
        }
    }

    /// Blocks until it is woken.
    fn wait(&self) {
        let _ = pin!(self.attention.notified()).poll(&mut Context::from_waker(Waker::noop()));
    }

    /// The life of our thread, until it has done that much. loom fails if it sleeps beside work.
    fn drive_until(&self, done: usize) {
        while self.done.load(Ordering::Relaxed) < done {
            while !self.load.needs_us() {
                self.wait();
            }
            self.load.we_drive();
            while self.load.has_work() {
                self.done.fetch_add(1, Ordering::Relaxed);
                self.end_work();
            }
            self.load.we_leave();
        }
    }
}

fn shared() -> Arc<Shared> {
    // No wait gives up.
    TICKS_LEFT.set(usize::MAX);
    Arc::default()
}

fn spawn(shared: &Arc<Shared>, work: impl FnOnce(&Shared) + 'static) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || work(&shared))
}

/// Two callers come, begin work and leave before it is done.
pub fn our_thread_takes_work_that_callers_leave() {
    check(Some(3), || {
        let shared = shared();
        let callers = [(), ()].map(|()| {
            spawn(&shared, |shared| {
                shared.load.begin_drive();
                shared.begin_work();
                shared.leave();
            })
        });
        shared.drive_until(2);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}

/// One begins work without waiting for it, while a caller comes and goes.
pub fn our_thread_takes_work_that_no_caller_drives() {
    check(Some(3), || {
        let shared = shared();
        let caller = spawn(&shared, |shared| {
            shared.load.begin_drive();
            shared.leave();
        });
        let starter = spawn(&shared, |shared| {
            shared.begin_work();
            shared.begin_work();
        });
        shared.drive_until(2);
        caller.join().unwrap();
        starter.join().unwrap();
    });
}

/// Our thread has begun to drive, but a caller has the reactor and does the work.
pub fn our_thread_leaves_when_another_one_ends_the_work() {
    check(Some(3), || {
        let shared = shared();
        shared.begin_work();
        let caller = spawn(&shared, |shared| {
            shared.load.begin_drive();
            shared.end_work();
            shared.leave();
        });
        if shared.load.needs_us() {
            shared.load.we_drive();
            while shared.load.has_work() {
                shared.wait();
            }
            shared.load.we_leave();
        }
        caller.join().unwrap();
        assert!(!shared.load.needs_us());
    });
}
