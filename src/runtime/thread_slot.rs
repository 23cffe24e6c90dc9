//! The slot of each thread.

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

/// Gives the slot back when its thread ends.
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

/// The slot that this thread keeps, if it has one and it is free.
#[inline]
pub(super) fn own_idle_slot() -> Option<&'static Slot<HazardPointer>> {
    thread_pointer::get().filter(|slot| slot.is_idle())
}

/// A slot of this thread's that is free.
pub(super) fn idle_slot() -> IdleSlot {
    own_idle_slot().map_or_else(|| add_slot(thread_pointer::get().is_none()), IdleSlot)
}

/// For a thread's first read; or one inside another, from a signal handler or a `look`; or one at the thread's very end.
fn add_slot(is_first: bool) -> IdleSlot {
    let slot = SLOTS.acquire();
    let is_kept = is_first && ON_EXIT.try_with(|_| thread_pointer::set(Some(slot))).is_ok();
    slot.set_temporary(!is_kept);
    IdleSlot(slot)
}

/// The thread's own one, or a spare one that is given back after use.
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
    fn a_thread_that_ends_leaves_its_slot_to_the_next() {
        let use_one = || {
            let slot: &HazardPointer = &idle_slot();
            ptr::from_ref(slot).addr()
        };
        let mut used: Vec<_> = (0..200).map(|_| std::thread::spawn(use_one).join().unwrap()).collect();
        used.sort_unstable();
        used.dedup();
        // Other tests have threads of their own.
        assert!(used.len() < 100, "{} slots for 200 threads, one after the other", used.len());
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
