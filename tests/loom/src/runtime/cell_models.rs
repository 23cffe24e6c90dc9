//! Models of threads that read and replace the value of one hazard-pointer cell.

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::hazard_cell::HazardCell;
use crate::check;

const MAX_VALUES: usize = 3;

/// A value that counts, with ordinary atomics, how often it was freed. loom itself finds a read and a free at the same
/// time.
struct Canary {
    value: UnsafeCell<usize>,
    freed: std::sync::Arc<[AtomicUsize; MAX_VALUES]>,
}

impl Drop for Canary {
    fn drop(&mut self) {
        // SAFETY: loom panics if another thread reads it at the same time.
        let number = self.value.with_mut(|value| unsafe { std::mem::replace(&mut *value, MAX_VALUES) });
        self.freed[number].fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: like the values of the library, it is shared, and any thread may free it.
unsafe impl Send for Canary {}
// SAFETY: as above.
unsafe impl Sync for Canary {}

fn model(
    switches: Option<usize>,
    made: usize,
    run: impl Fn(&Arc<HazardCell<Canary>>, &dyn Fn(usize) -> Canary) + Send + Sync + 'static,
) {
    check(switches, move || {
        let freed = std::sync::Arc::new([const { AtomicUsize::new(0) }; MAX_VALUES]);
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
        // SAFETY: loom panics if another thread frees it at the same time.
        canary.map_or(MAX_VALUES, |canary| canary.value.with(|value| unsafe { *value }))
    })
}

/// A reader sees the old value or the new one; no value is freed while it is read, and each is freed once.
pub fn one_reads_while_another_replaces() {
    model(None, 2, |cell, canary| {
        let reading = {
            let cell = cell.clone();
            thread::spawn(move || read(&cell))
        };
        cell.replace(Some(canary(1)));
        assert!(reading.join().unwrap() < 2);
    });
}

/// The same for `try_read`, which may see no value instead.
pub fn one_tries_to_read_while_another_replaces() {
    model(None, 2, |cell, canary| {
        let reading = {
            let cell = cell.clone();
            // SAFETY: loom panics if another thread frees it at the same time.
            let look = |canary: &Canary, _| Some(canary.value.with(|value| unsafe { *value }));
            thread::spawn(move || {
                // The first read gives the thread its slot.
                let first = read(&cell);
                (first, cell.try_read(look))
            })
        };
        cell.replace(Some(canary(1)));
        let (first, second) = reading.join().unwrap();
        assert!(second.is_none_or(|second| first <= second && second < 2));
    });
}

/// One thread reads, and two replace the value.
pub fn one_reads_while_two_replace() {
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

/// A read inside another does not end the protection of the outer one.
pub fn one_reads_inside_a_read_while_another_replaces() {
    model(None, 2, |cell, canary| {
        let reading = {
            let cell = cell.clone();
            thread::spawn(move || {
                cell.read(|canary| {
                    let inner = read(&cell);
                    // SAFETY: loom panics if another thread frees it at the same time.
                    let outer = canary.map_or(MAX_VALUES, |c| c.value.with(|value| unsafe { *value }));
                    assert!(outer <= inner && inner < 2);
                });
            })
        };
        cell.replace(Some(canary(1)));
        reading.join().unwrap();
    });
}

/// A thread that reads again has the same hazard pointer, which then protects the next value.
pub fn one_reads_twice_while_another_replaces() {
    model(None, 2, |cell, canary| {
        let reading = {
            let cell = cell.clone();
            thread::spawn(move || (read(&cell), read(&cell)))
        };
        cell.replace(Some(canary(1)));
        let (first, second) = reading.join().unwrap();
        assert!(first <= second && second < 2);
    });
}
