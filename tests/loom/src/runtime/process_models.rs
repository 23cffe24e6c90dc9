//! Models of threads that make the one value of a process.

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::process::PerProcess;
use crate::check;

/// A value that counts, with an ordinary atomic, how many of its kind there are. loom finds a value that is read before it is made.
struct Made {
    number: UnsafeCell<usize>,
    alive: std::sync::Arc<AtomicUsize>,
}

impl Drop for Made {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

// SAFETY: loom panics if a thread writes it while another one reads.
unsafe impl Send for Made {}
// SAFETY: as above.
unsafe impl Sync for Made {}

fn make(number: usize, alive: &std::sync::Arc<AtomicUsize>) -> Made {
    alive.fetch_add(1, Ordering::SeqCst);
    Made { number: UnsafeCell::new(number), alive: alive.clone() }
}

fn number(value: &Made) -> usize {
    // SAFETY: loom panics if another thread writes it at the same time.
    value.number.with(|number| unsafe { *number })
}

/// Threads that race to make it have one value, and the others are freed.
pub fn threads_that_race_have_one_value() {
    check(None, || {
        let alive = std::sync::Arc::default();
        let cell = Arc::new(PerProcess::new());
        assert!(cell.get().is_none());
        let get = |own: usize| {
            let (cell, alive) = (cell.clone(), std::sync::Arc::clone(&alive));
            move || number(cell.get_or_try_init(|| Ok(make(own, &alive))).unwrap())
        };
        let (first, second, here) = (thread::spawn(get(1)), thread::spawn(get(2)), get(3));
        let seen = [here(), first.join().unwrap(), second.join().unwrap()];
        assert!(seen.iter().all(|number| *number == seen[0]), "{seen:?}");
        assert_eq!(alive.load(Ordering::SeqCst), 1);
        drop((here, cell));
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}

/// A value that is not usable any more is replaced once; a thread that still has it can read it.
pub fn threads_that_race_replace_a_value_once() {
    check(None, || {
        let alive = std::sync::Arc::default();
        let cell = Arc::new(PerProcess::new());
        let old = cell.get_or_try_init(|| Ok(make(0, &alive))).map(number).unwrap();
        let replace = |own: usize| {
            let (cell, alive) = (cell.clone(), std::sync::Arc::clone(&alive));
            move || {
                let before = cell.get().map(number).unwrap();
                let after = number(
                    cell.get_or_replace(|value| number(value) != 0, |_| Ok(make(own, &alive))).unwrap(),
                );
                (before, after)
            }
        };
        let (other, here) = (thread::spawn(replace(1)), replace(2));
        let (seen, seen_there) = (here(), other.join().unwrap());
        assert_eq!((old, seen.1), (0, seen_there.1));
        assert!([seen, seen_there].iter().all(|(before, after)| *before == 0 || before == after));
        // The old one is leaked.
        assert_eq!(alive.load(Ordering::SeqCst), 2);
    });
}
