//! Words that the host's program reads by itself, without a call. Their places are never freed, so that an address
//! kept too long reads something, if only the word of another session; and a forked child finds them all zero, whatever
//! its parent's threads were doing.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use super::fork_zeroed::ForkZeroed;
use super::slot_list::{Slot, SlotList};

static WORDS: SlotList<ForkZeroed> = SlotList { first: AtomicPtr::new(ptr::null_mut()) };

/// A word, zero at first. Zero again when it is dropped.
pub(crate) struct Word(&'static Slot<ForkZeroed>);

impl Word {
    /// A word of its own.
    pub(crate) fn new() -> Self {
        Word(WORDS.acquire())
    }

    /// Tells whoever looks.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    /// What it says.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Where it is.
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

/// A number that this process has not given before, and not 0.
pub(crate) fn unique_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// In a forked child, before anything else runs there; or where nobody is left who would reset them in time.
pub(crate) fn reset_all() {
    WORDS.iter().for_each(|word| word.store(0, Ordering::Release));
}

/// Tests that keep a number in a word, or reset all of them, one after the other.
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
        // SAFETY: places are never freed.
        assert_eq!(unsafe { (*address.cast::<AtomicU64>()).load(Ordering::Acquire) }, 0);
    }
}
