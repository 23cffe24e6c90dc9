//! The slot of each thread.

use std::ops::Deref;
use std::ptr;

use super::hazard_pointer::Slot;
use super::slot_list::{Place, Places};
use super::thread_pointer;
use crate::sync::AtomicPtr;

static SLOTS: Places<Slot> = Places { first: AtomicPtr::new(ptr::null_mut()) };

thread_local! {
    static LEAVING: Leaving = const { Leaving };
}

/// Gives the slot back when its thread ends.
struct Leaving;

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(slot) = thread_pointer::get() {
            thread_pointer::set(None);
            slot.give_back();
        }
    }
}

/// All slots of the process.
pub(super) fn slots() -> &'static Places<Slot> {
    &SLOTS
}

/// The slot that this thread keeps, if it has one and it is free.
#[inline]
pub(super) fn own_slot() -> Option<&'static Place<Slot>> {
    thread_pointer::get().filter(|slot| slot.is_free())
}

/// A slot of this thread's that is free.
pub(super) fn free_slot() -> FreeSlot {
    own_slot().map_or_else(|| another(thread_pointer::get().is_none()), FreeSlot)
}

/// For a thread's first read; or one inside another, from a signal handler or a `look`; or one at the thread's very end.
fn another(is_first: bool) -> FreeSlot {
    let slot = SLOTS.take();
    let is_kept = is_first && LEAVING.try_with(|_| thread_pointer::set(Some(slot))).is_ok();
    slot.set_spare(!is_kept);
    FreeSlot(slot)
}

/// The thread's own one, or a spare one that is given back after use.
pub(super) struct FreeSlot(&'static Place<Slot>);

impl Deref for FreeSlot {
    type Target = Place<Slot>;

    fn deref(&self) -> &Place<Slot> {
        self.0
    }
}

impl Drop for FreeSlot {
    fn drop(&mut self) {
        if self.0.is_spare() {
            self.0.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_ends_leaves_its_slot_to_the_next() {
        let use_one = || {
            let slot: &Slot = &free_slot();
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
        let outer = free_slot();
        let pin = outer.pin(ptr::without_provenance_mut(8));
        let inner = free_slot();
        assert_ne!(outer.number(), inner.number());
        drop((inner, pin));
        assert_eq!(free_slot().number(), outer.number());
    }
}
