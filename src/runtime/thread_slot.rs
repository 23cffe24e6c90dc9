//! The hazard pointer of each thread: a slot that a thread acquires at its first read and releases when it ends.

use std::cell::Cell;
use std::ops::Deref;

use super::hazard_pointer::HazardPointer;
use super::slot_list::Slot;
use super::{all_slots, thread_pointer};
use crate::sync;

sync::thread_local! {
    static ON_EXIT: ReleaseOnExit = const { ReleaseOnExit(Cell::new(None)) };
}

/// Releases the slot when its thread ends.
struct ReleaseOnExit(Cell<Option<&'static Slot<HazardPointer>>>);

impl ReleaseOnExit {
    fn keep(&self, slot: &'static Slot<HazardPointer>) {
        thread_pointer::set(Some(slot));
        self.0.set(Some(slot));
    }
}

impl Drop for ReleaseOnExit {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            thread_pointer::set(None);
            slot.release();
        }
    }
}

/// The slot that this thread keeps, if it has one and does not use it at this moment.
#[inline]
pub(super) fn own_idle_slot() -> Option<&'static Slot<HazardPointer>> {
    thread_pointer::get().filter(|slot| slot.is_idle())
}

/// The number of this thread's slot, in use or not. A thread that has none acquires one.
#[inline]
pub(super) fn number() -> usize {
    thread_pointer::get().map_or_else(|| idle_slot().index(), |slot| slot.index())
}

/// A slot that this thread can use now.
pub(super) fn idle_slot() -> IdleSlot {
    own_idle_slot().map_or_else(|| add_slot(thread_pointer::get().is_none()), IdleSlot)
}

/// For a thread's first read, for a read inside another (in a signal handler or a `visit`), or for a read while the thread
/// ends.
fn add_slot(is_first: bool) -> IdleSlot {
    let slot = all_slots::get().acquire();
    let is_kept = is_first && ON_EXIT.try_with(|on_exit| on_exit.keep(slot)).is_ok();
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
    use std::ptr;

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
