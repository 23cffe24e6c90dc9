//! Words of memory that the host's program reads by itself, without a call into the library.
//!
//! Their memory is never freed: a program that keeps an address for too long reads a valid number, though it may be the
//! word of another session. In a forked child all words are zero, whatever the parent's threads were doing.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::fork_zeroed::ForkZeroed;
use super::slot_list::{Slot, SlotList};

static WORDS: SlotList<ForkZeroed> = SlotList { first: AtomicPtr::new(ptr::null_mut()) };

/// A word that is zero until it is set, and zero again after it is dropped.
pub(crate) struct Word(&'static Slot<ForkZeroed>);

impl Word {
    /// A word that no other owner shares.
    pub(crate) fn new() -> Self {
        Word(WORDS.acquire())
    }

    /// Sets the number that programs read.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    /// The number that programs read.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Where programs read it.
    pub(crate) fn address(&self) -> *const u64 {
        self.0.as_ptr()
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        self.set(0);
        self.0.release();
    }
}

/// A number that this process has not used before, and that is not 0.
pub(crate) fn unique_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Sets all words to zero, where no thread is left that would do so in time.
pub(crate) fn reset_all() {
    WORDS.iter().for_each(|word| word.store(0, Ordering::Release));
}

/// Held by each test that keeps a number in a word or resets all words, so that they run one after the other.
#[cfg(test)]
pub(crate) fn exclusive() -> std::sync::MutexGuard<'static, ()> {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    crate::sync::lock(&LOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_zero_for_its_next_owner() {
        let _exclusive = exclusive();
        let word = Word::new();
        let other = Word::new();
        word.set(7);
        assert_eq!((word.get(), other.get()), (7, 0));
        let address = word.address();
        drop(word);
        // SAFETY: the memory of a word is never freed.
        assert_eq!(unsafe { (*address.cast::<AtomicU64>()).load(Ordering::Acquire) }, 0);
    }
}
