//! Readers and writers of one pinned value.

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::runtime::hazard_cell::Pinned;

const MOST: usize = 3;

/// Counts how often each of its kind was freed, outside of loom's sight; loom itself sees when it is read and freed at
/// once.
struct Canary {
    content: UnsafeCell<usize>,
    freed: std::sync::Arc<[AtomicUsize; MOST]>,
}

impl Drop for Canary {
    fn drop(&mut self) {
        // SAFETY: loom panics where somebody reads it meanwhile.
        let number = self.content.with_mut(|content| unsafe { std::mem::replace(&mut *content, MOST) });
        self.freed[number].fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: as the values that are pinned in earnest: shared, and freed by whoever replaces them.
unsafe impl Send for Canary {}
// SAFETY: as above.
unsafe impl Sync for Canary {}

/// All orders with at most so many switches away from a thread that could go on; `None`: all there are.
fn model(
    switches: Option<usize>,
    made: usize,
    run: impl Fn(&Arc<Pinned<Canary>>, &dyn Fn(usize) -> Canary) + Send + Sync + 'static,
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = switches;
    builder.check(move || {
        let freed = std::sync::Arc::new([const { AtomicUsize::new(0) }; MOST]);
        let canary = |number| Canary { content: UnsafeCell::new(number), freed: freed.clone() };
        let pinned = Arc::new(Pinned::new(Some(canary(0))));
        run(&pinned, &canary);
        drop(pinned);
        let times = freed.each_ref().map(|times| times.load(Ordering::SeqCst));
        assert!(
            times.iter().enumerate().all(|(number, times)| *times == usize::from(number < made)),
            "{times:?}"
        );
    });
}

fn read(pinned: &Pinned<Canary>) -> usize {
    pinned.read(|canary| {
        // SAFETY: loom panics where somebody frees it meanwhile.
        canary.map_or(MOST, |canary| canary.content.with(|content| unsafe { *content }))
    })
}

/// A reader sees the old value or the new one; no value is freed while it is read, and each is freed once.
pub fn one_reads_while_another_replaces() {
    model(None, 2, |pinned, canary| {
        let reading = {
            let pinned = pinned.clone();
            thread::spawn(move || read(&pinned))
        };
        pinned.replace(Some(canary(1)));
        assert!(reading.join().unwrap() < 2);
    });
}

/// The same for a reader in a hurry, who may see nothing instead.
pub fn one_glances_while_another_replaces() {
    model(None, 2, |pinned, canary| {
        let glancing = {
            let pinned = pinned.clone();
            // SAFETY: loom panics where somebody frees it meanwhile.
            let look = |canary: &Canary, _| Some(canary.content.with(|content| unsafe { *content }));
            thread::spawn(move || pinned.glance(look))
        };
        pinned.replace(Some(canary(1)));
        assert!(glancing.join().unwrap().is_none_or(|number| number < 2));
    });
}

/// A reader, and two who replace the value.
pub fn one_reads_while_two_replace() {
    model(Some(2), 3, |pinned, canary| {
        let replacing = {
            let (pinned, next) = (pinned.clone(), canary(1));
            thread::spawn(move || pinned.replace(Some(next)))
        };
        let reading = {
            let pinned = pinned.clone();
            thread::spawn(move || read(&pinned))
        };
        pinned.replace(Some(canary(2)));
        assert!(reading.join().unwrap() < 3);
        replacing.join().unwrap();
    });
}

/// A read inside another keeps what the outer one reads.
pub fn one_reads_inside_a_read_while_another_replaces() {
    model(None, 2, |pinned, canary| {
        let reading = {
            let pinned = pinned.clone();
            thread::spawn(move || {
                pinned.read(|canary| {
                    let inner = read(&pinned);
                    // SAFETY: loom panics where somebody frees it meanwhile.
                    let outer = canary.map_or(MOST, |c| c.content.with(|content| unsafe { *content }));
                    assert!(outer <= inner && inner < 2);
                });
            })
        };
        pinned.replace(Some(canary(1)));
        reading.join().unwrap();
    });
}
