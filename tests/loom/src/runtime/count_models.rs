//! Models of threads that take and drop shares of one published value.

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::sharded_arc::{Published, ShardedArc};
use crate::check;

/// A value that counts, with ordinary atomics, how often it was freed. loom itself finds a read and a free at the same time.
struct Canary {
    value: UnsafeCell<usize>,
    freed: std::sync::Arc<AtomicUsize>,
}

impl Drop for Canary {
    fn drop(&mut self) {
        // SAFETY: loom panics if another thread reads it at the same time.
        self.value.with_mut(|value| unsafe { *value = 0 });
        self.freed.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: like the values of the library, it is shared, and any thread may free it.
unsafe impl Send for Canary {}
// SAFETY: as above.
unsafe impl Sync for Canary {}

fn look(canary: &Canary) {
    // SAFETY: loom panics if another thread frees it at the same time.
    assert_eq!(canary.value.with(|value| unsafe { *value }), 7);
}

/// `run` gets the value, which is freed once when all of its shares are dropped.
fn model(switches: Option<usize>, run: impl Fn(Published<Canary>) + Send + Sync + 'static) {
    check(switches, move || {
        let freed = std::sync::Arc::new(AtomicUsize::new(0));
        let canary = Canary { value: UnsafeCell::new(7), freed: freed.clone() };
        run(Published::new(ShardedArc::new(canary)));
        assert_eq!(freed.load(Ordering::SeqCst), 1);
    });
}

/// Opens the shards: two threads have taken shares.
fn open(published: &Arc<Published<Canary>>) {
    drop(published.share());
    let published = published.clone();
    thread::spawn(move || drop(published.share())).join().unwrap();
}

/// A share of another thread is dropped there while the publisher closes the shards.
pub fn one_drops_its_share_while_the_shards_are_closed() {
    model(None, |published| {
        let published = Arc::new(published);
        open(&published);
        let share = published.share();
        let dropping = thread::spawn(move || {
            look(&share);
            drop(share);
        });
        drop(published);
        dropping.join().unwrap();
    });
}

/// The same with a copy of the share, which outlives it.
pub fn one_copies_its_share_while_the_shards_are_closed() {
    model(Some(3), |published| {
        let published = Arc::new(published);
        open(&published);
        let share = published.share();
        let copying = thread::spawn(move || {
            let copy = share.clone();
            drop(share);
            look(&copy);
        });
        drop(published);
        copying.join().unwrap();
    });
}

/// Shares that two threads drop while the publisher closes the shards: one thread of the three frees the value.
pub fn two_drop_shares_while_the_shards_are_closed() {
    model(Some(2), |published| {
        let published = Arc::new(published);
        open(&published);
        let dropping = [(); 2].map(|()| {
            let share = published.share();
            thread::spawn(move || {
                look(&share);
                drop(share);
            })
        });
        drop(published);
        dropping.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Two threads take the first shares at once, and one of them opens the shards or both do.
pub fn two_open_the_shards() {
    model(Some(2), |published| {
        let published = Arc::new(published);
        drop(published.share());
        let taking = [(); 2].map(|()| {
            let published = published.clone();
            thread::spawn(move || look(&published.share()))
        });
        drop(published);
        taking.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
