//! A value with any number of owners, like `Arc`, whose count does not slow threads down that take and drop shares at once.
//!
//! One number that all threads write to costs each of them a transfer of its cache line. So a published value is counted in
//! shards as soon as a second thread takes it: each thread adds and subtracts in its own shard, which has a cache line to
//! itself. A share may be dropped by another thread than the one that took it, so a shard alone means nothing, and may be
//! negative. Nobody adds the shards up while they are open: each open shard stands in the shared count with a number that no
//! count of owners reaches, which keeps it from zero.
//!
//! When the publisher drops its own share, it closes the shards one after the other: it swaps a mark into the shard, and what
//! was counted there into the shared count. A thread that finds the mark counts in the shared count. So no thread waits for
//! another, and once all shards are closed the count is that of an `Arc`: the last owner frees the value.
//!
//! Measured with `make bench-read`, in the rounds that nothing else disturbed: two threads on two processors need 1.05 times as
//! long for a token as one thread, and 2.6 to 2.8 times with an `Arc`. A pool of shares in each thread would write to less memory
//! still, but a thread that does nothing would keep a replaced token, which is a secret.

use std::ops::Deref;
use std::ptr::{self, NonNull};

use super::thread_slot;
use crate::sync::{AtomicI64, AtomicPtr, AtomicUsize, Ordering};

/// 64 bytes each, only for a value that several threads take. With more threads than shards, several use one.
const SHARDS: usize = 16;

/// What an open shard stands for in the shared count.
const OPEN: i64 = 1 << 40;
/// What a closed shard holds. Threads that have not noticed yet add and subtract, but never come near to an open shard's count.
const CLOSED: i64 = i64::MIN / 2;

/// One owner of the value.
pub struct ShardedArc<T>(NonNull<Counted<T>>);

/// The value comes first, so that its address is that of the whole.
#[repr(C)]
struct Counted<T> {
    value: T,
    /// The owners that no open shard counts, and [`OPEN`] for each open shard.
    count: AtomicI64,
    /// Null until a second thread takes a share from the publisher.
    shards: AtomicPtr<[Shard; SHARDS]>,
    /// The number of the thread that took the first share, and 1; 0: none did.
    first_thread: AtomicUsize,
}

/// On a cache line of its own.
#[repr(align(64))]
struct Shard(AtomicI64);

// SAFETY: threads share the value, and any thread may free it: `T` must be `Send` and `Sync`, as in an `Arc`.
unsafe impl<T: Send + Sync> Send for ShardedArc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for ShardedArc<T> {}

impl<T> ShardedArc<T> {
    /// The first owner of a value.
    pub fn new(value: T) -> Self {
        let (count, shards) = (AtomicI64::new(1), AtomicPtr::new(ptr::null_mut()));
        let counted = Box::new(Counted { value, count, shards, first_thread: AtomicUsize::new(0) });
        ShardedArc(NonNull::from(Box::leak(counted)))
    }

    /// The address of the value; the share is then the caller's, until [`ShardedArc::from_raw`] takes it back.
    pub(crate) fn into_raw(self) -> *const T {
        let value = self.as_ptr();
        std::mem::forget(self);
        value
    }

    /// The share that `into_raw` gave away.
    ///
    /// # Safety
    ///
    /// `value` is from `into_raw`, and the caller has a share, which this takes over.
    pub(crate) unsafe fn from_raw(value: *const T) -> Self {
        // SAFETY: the caller's promise; `into_raw` never gives NULL.
        ShardedArc(unsafe { NonNull::new_unchecked(value.cast_mut().cast()) })
    }

    /// The address of the value, which stays this owner's.
    pub(crate) fn as_ptr(&self) -> *const T {
        self.0.as_ptr().cast_const().cast()
    }

    fn counted(&self) -> &Counted<T> {
        // SAFETY: not freed while this share lives.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Counted<T> {
    fn shards(&self) -> Option<&[Shard; SHARDS]> {
        // SAFETY: null, or made by `open` and freed with this.
        unsafe { self.shards.load(Ordering::Acquire).as_ref() }
    }

    /// Counts in the shard of this thread. False: there is none, or it is closed.
    #[inline]
    fn count_in_shard(&self, change: i64, order: Ordering) -> bool {
        let Some(shards) = self.shards() else { return false };
        is_open(shards[thread_slot::number() % SHARDS].0.fetch_add(change, order))
    }

    /// Before a thread takes a share from the publisher, whose own share is still counted.
    #[inline]
    fn prepare_for_thread(&self) {
        if self.shards.load(Ordering::Relaxed).is_null() {
            let number = thread_slot::number() + 1;
            let first = self.first_thread.load(Ordering::Relaxed);
            if first == 0 {
                // Of two threads that are the first at once, the other one opens the shards with its next share.
                self.first_thread.store(number, Ordering::Relaxed);
            } else if first != number {
                self.open();
            }
        }
    }

    #[cold]
    fn open(&self) {
        let mut shards = Vec::new();
        // Without memory for them the shared count does: a token that is in memory is handed out.
        let Ok(()) = shards.try_reserve_exact(SHARDS) else { return };
        shards.resize_with(SHARDS, || Shard(AtomicI64::new(0)));
        let Ok(shards) = Box::<[Shard; SHARDS]>::try_from(shards) else { return };
        let shards = Box::into_raw(shards);
        let stands_for = OPEN * SHARDS as i64;
        // Before any thread can see a shard, and so close it.
        self.count.fetch_add(stands_for, Ordering::Relaxed);
        let none = ptr::null_mut();
        if self.shards.compare_exchange(none, shards, Ordering::Release, Ordering::Relaxed).is_err() {
            self.count.fetch_sub(stands_for, Ordering::Relaxed);
            // SAFETY: made above, and no other thread has seen it.
            drop(unsafe { Box::from_raw(shards) });
        }
    }

    /// Moves what the shards have counted to the shared count. The caller has a share, which it drops afterwards.
    fn close(&self) {
        for shard in self.shards().into_iter().flatten() {
            // Acquire: what each thread did before it dropped a share comes before the publisher drops its own.
            let counted = shard.0.swap(CLOSED, Ordering::Acquire);
            if is_open(counted) {
                self.count.fetch_add(counted - OPEN, Ordering::Relaxed);
            }
        }
    }
}

fn is_open(shard: i64) -> bool {
    shard > CLOSED / 2
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        let shards = self.shards.load(Ordering::Relaxed);
        if !shards.is_null() {
            // SAFETY: made by `open`; the last owner has gone.
            drop(unsafe { Box::from_raw(shards) });
        }
    }
}

impl<T> Clone for ShardedArc<T> {
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed, as in an `Arc`: a thread that has a share needs to see nothing in order to add one.
        let counted = self.counted();
        if !counted.count_in_shard(1, Ordering::Relaxed) {
            counted.count.fetch_add(1, Ordering::Relaxed);
        }
        ShardedArc(self.0)
    }
}

impl<T> Drop for ShardedArc<T> {
    #[inline]
    fn drop(&mut self) {
        let counted = self.counted();
        if !counted.count_in_shard(-1, Ordering::Release) && counted.count.fetch_sub(1, Ordering::AcqRel) == 1
        {
            // SAFETY: made by `new`, and this was the last owner.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

impl<T> Deref for ShardedArc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for ShardedArc<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        T::fmt(self, f)
    }
}

/// The share of the publisher, from which many threads take theirs.
pub struct Published<T>(ShardedArc<T>);

impl<T> Published<T> {
    /// Publishes the value.
    pub(crate) fn new(share: ShardedArc<T>) -> Self {
        Published(share)
    }

    /// Another share, counted apart from those of other threads.
    #[inline]
    pub fn share(&self) -> ShardedArc<T> {
        self.0.counted().prepare_for_thread();
        self.0.clone()
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        self.0.counted().close();
    }
}

impl<T> Deref for Published<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    /// A published value, and a witness of its life.
    fn published() -> (Published<Arc<i32>>, Arc<i32>) {
        let witness = Arc::new(7);
        (Published::new(ShardedArc::new(witness.clone())), witness)
    }

    fn in_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    #[test]
    fn one_thread_needs_no_shards_and_a_second_one_opens_them() {
        let (published, _) = published();
        drop([published.share(), published.share()]);
        assert!(published.0.counted().shards().is_none());
        // The first thread still has its number.
        drop(in_thread(|| published.share()));
        assert!(published.0.counted().shards().is_some());
    }

    #[test]
    fn the_last_owner_frees_the_value_on_any_thread() {
        let (published, witness) = published();
        let (ours, theirs) = (published.share(), in_thread(|| [published.share(), published.share()]));
        let [first, second] = theirs;
        drop(first);
        let raw = second.into_raw();
        drop(published);
        assert_eq!((**ours, Arc::strong_count(&witness)), (7, 2));
        // SAFETY: from `into_raw` above.
        let copy = unsafe { ShardedArc::from_raw(raw) }.clone();
        in_thread(|| drop(ours));
        assert_eq!(Arc::strong_count(&witness), 2);
        drop(copy);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn a_value_that_is_published_twice_is_freed_once() {
        let (published, witness) = published();
        drop((published.share(), in_thread(|| published.share())));
        let again = Published::new(published.share());
        drop(published);
        drop((again.share(), in_thread(|| again.share())));
        drop(again);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn threads_take_and_drop_shares_of_each_other() {
        let (published, witness) = published();
        let (sender, receiver) = std::sync::mpsc::sync_channel(64);
        let last = thread::scope(|scope| {
            for _ in 0..4 {
                let (sender, published) = (sender.clone(), &published);
                scope.spawn(move || (0..2000).for_each(|_| sender.send(published.share()).unwrap()));
            }
            drop(sender);
            scope.spawn(move || receiver.iter().last()).join().unwrap()
        });
        drop(published);
        assert_eq!(Arc::strong_count(&witness), 2);
        drop(last);
        assert_eq!(Arc::strong_count(&witness), 1);
    }
}
