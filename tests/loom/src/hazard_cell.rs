//! Readers and writers of one hazard-pointer cell.

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::runtime::hazard_cell::HazardCell;

const MOST: usize = 3;

/// Counts how often each value was freed, with atomics that loom does not track; loom itself reports a read and a free at
/// the same time.
struct Canary {
    value: UnsafeCell<usize>,
    freed: std::sync::Arc<[AtomicUsize; MOST]>,
}

impl Drop for Canary {
    fn drop(&mut self) {
        // SAFETY: loom panics if another thread reads it meanwhile.
        let number = self.value.with_mut(|value| unsafe { std::mem::replace(&mut *value, MOST) });
        self.freed[number].fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: as the values of the library: shared, and freed by the thread that replaces them.
unsafe impl Send for Canary {}
// SAFETY: as above.
unsafe impl Sync for Canary {}

/// Runs all orders with at most this many switches away from a thread that could continue; `None`: all orders.
fn model(
    switches: Option<usize>,
    made: usize,
    run: impl Fn(&Arc<HazardCell<Canary>>, &dyn Fn(usize) -> Canary) + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = switches;
    builder.check(move || {
        let freed = std::sync::Arc::new([const { AtomicUsize::new(0) }; MOST]);
        let canary = |number| Canary { value: UnsafeCell::new(number), freed: freed.clone() };
        let cell = Arc::new(HazardCell::new(Some(canary(0))));
        run(&cell, &canary);
        drop(cell);
        let times = freed.each_ref().map(|times| times.load(Ordering::SeqCst));
        assert!(
            times.iter().enumerate().all(|(number, times)| *times == usize::from(number < made)),
            "{times:?}"
        );
    });
}

fn read(cell: &HazardCell<Canary>) -> usize {
    cell.read(|canary| {
        // SAFETY: loom panics if another thread frees it meanwhile.
        canary.map_or(MOST, |canary| canary.value.with(|value| unsafe { *value }))
    })
}

/// A reader sees the old value or the new one; no value is freed while it is read, and each is freed once.
pub fn one_thread_reads_while_another_replaces() {
    model(None, 2, |cell, canary| {
        let reading = {
            let cell = cell.clone();
            thread::spawn(move || read(&cell))
        };
        cell.replace(Some(canary(1)));
        assert!(reading.join().unwrap() < 2);
    });
}

/// The same for a reader that does not wait, and may see nothing instead.
pub fn one_thread_tries_to_read_while_another_replaces() {
    model(None, 2, |cell, canary| {
        let reading = {
            let cell = cell.clone();
            // SAFETY: loom panics if another thread frees it meanwhile.
            let look = |canary: &Canary, _| Some(canary.value.with(|value| unsafe { *value }));
            thread::spawn(move || cell.try_read(look))
        };
        cell.replace(Some(canary(1)));
        assert!(reading.join().unwrap().is_none_or(|number| number < 2));
    });
}

/// One reader, and two threads that replace the value.
pub fn one_thread_reads_while_two_replace() {
    model(Some(2), 3, |cell, canary| {
        let replacing = {
            let (cell, next) = (cell.clone(), canary(1));
            thread::spawn(move || cell.replace(Some(next)))
        };
        let reading = {
            let cell = cell.clone();
            thread::spawn(move || read(&cell))
        };
        cell.replace(Some(canary(2)));
        assert!(reading.join().unwrap() < 3);
        replacing.join().unwrap();
    });
}

/// A read inside another read keeps the value of the outer one.
pub fn one_thread_reads_inside_a_read_while_another_replaces() {
    model(None, 2, |cell, canary| {
        let reading = {
            let cell = cell.clone();
            thread::spawn(move || {
                cell.read(|canary| {
                    let inner = read(&cell);
                    // SAFETY: loom panics if another thread frees it meanwhile.
                    let outer = canary.map_or(MOST, |c| c.value.with(|value| unsafe { *value }));
                    assert!(outer <= inner && inner < 2);
                });
            })
        };
        cell.replace(Some(canary(1)));
        reading.join().unwrap();
    });
}
