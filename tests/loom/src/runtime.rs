//! Replaces the modules around `src/runtime/hazard_cell.rs`: ordinary fences instead of the system call, and slots that
//! end with the model.

#[path = "../../../src/runtime/hazard_cell.rs"]
pub(crate) mod hazard_cell;
#[path = "../../../src/runtime/hazard_pointer.rs"]
mod hazard_pointer;
#[path = "../../../src/runtime/slot_list.rs"]
mod slot_list;

mod fence {
    use loom::sync::atomic::{Ordering, fence};

    pub(super) fn light() {
        fence(Ordering::SeqCst);
    }

    pub(super) fn try_light() -> Option<()> {
        light();
        Some(())
    }

    pub(super) fn heavy() -> bool {
        fence(Ordering::SeqCst);
        true
    }
}

mod thread_slot {
    use std::ops::Deref;
    use std::ptr;

    use loom::sync::atomic::AtomicPtr;

    use super::hazard_pointer::HazardPointer;
    use super::slot_list::{Slot, SlotList};

    loom::lazy_static! {
        static ref SLOTS: SlotList<HazardPointer> = SlotList { first: AtomicPtr::new(ptr::null_mut()) };
    }

    pub(super) fn slots() -> &'static SlotList<HazardPointer> {
        // SAFETY: the statics of a model live as long as the model, and no reference outlives it.
        unsafe { &*ptr::from_ref(&*SLOTS) }
    }

    pub(super) struct IdleSlot(&'static Slot<HazardPointer>);

    /// Always a spare slot, so that slots also change threads in every order.
    pub(super) fn idle_slot() -> IdleSlot {
        IdleSlot(slots().acquire())
    }

    /// A slot that its thread keeps.
    pub(super) fn own_idle_slot() -> Option<&'static Slot<HazardPointer>> {
        Some(slots().acquire())
    }

    impl Deref for IdleSlot {
        type Target = Slot<HazardPointer>;

        fn deref(&self) -> &Slot<HazardPointer> {
            self.0
        }
    }

    impl Drop for IdleSlot {
        fn drop(&mut self) {
            self.0.release();
        }
    }
}
