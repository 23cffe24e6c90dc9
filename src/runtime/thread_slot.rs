//! The hazard pointer of each thread: a slot that a thread acquires at its first read and releases when it ends.

use std::ops::Deref;
use std::ptr;

use super::hazard_pointer::HazardPointer;
use super::slot_list::{Slot, SlotList};
use super::thread_pointer;
use crate::sync::AtomicPtr;

static SLOTS: SlotList<HazardPointer> = SlotList { first: AtomicPtr::new(ptr::null_mut()) };

thread_local! {
    static ON_EXIT: ReleaseOnExit = const { ReleaseOnExit };
}

/// Releases the slot when its thread ends.
struct ReleaseOnExit;

impl Drop for ReleaseOnExit {
    fn drop(&mut self) {
        if let Some(slot) = thread_pointer::get() {
            thread_pointer::set(None);
            slot.release();
        }
    }
}

/// All slots of the process.
pub(super) fn slots() -> &'static SlotList<HazardPointer> {
    &SLOTS
}

/// The slot that this thread keeps, if it has one and does not use it at this moment.
#[inline]
pub(super) fn own_idle_slot() -> Option<&'static Slot<HazardPointer>> {
    thread_pointer::get().filter(|slot| slot.is_idle())
}

/// A slot that this thread can use now.
pub(super) fn idle_slot() -> IdleSlot {
    own_idle_slot().map_or_else(|| add_slot(thread_pointer::get().is_none()), IdleSlot)
}

/// For a thread's first read, for a read inside another (in a signal handler or a `visit`), or for a read while the thread
/// ends.
fn add_slot(is_first: bool) -> IdleSlot {
    let slot = SLOTS.acquire();
    let is_kept = is_first && ON_EXIT.try_with(|_| thread_pointer::set(Some(slot))).is_ok();
    slot.set_temporary(!is_kept);
    IdleSlot(slot)
}

/// The slot that the thread keeps, or a temporary one, which is released after use.
pub(super) struct IdleSlot(&'static Slot<HazardPointer>);

impl Deref for IdleSlot {
    type Target = Slot<HazardPointer>;

    fn deref(&self) -> &Slot<HazardPointer> {
        self.0
    }
}

impl Drop for IdleSlot {
    fn drop(&mut self) {
        if self.0.is_temporary() {
            self.0.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_releases_its_slot() {
        let use_one = || {
            let slot: &HazardPointer = &idle_slot();
            ptr::from_ref(slot).addr()
        };
        let mut used: Vec<_> = (0..200).map(|_| std::thread::spawn(use_one).join().unwrap()).collect();
        used.sort_unstable();
        used.dedup();
        // Tests that run at the same time have slots too.
        assert!(used.len() < 100, "{} slots for 200 threads that run one after the other", used.len());
    }

    #[test]
    fn a_slot_in_use_is_not_used_again() {
        let outer = idle_slot();
        let protection = outer.protect(ptr::without_provenance_mut(8));
        let inner = idle_slot();
        assert_ne!(outer.index(), inner.index());
        drop((inner, protection));
        assert_eq!(idle_slot().index(), outer.index());
    }
}
