//! Takes the place of what surrounds `src/runtime/hazard_cell.rs`: ordinary fences instead of the system call, and slots that
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

    pub(super) fn quick_light() -> Option<()> {
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

    use super::hazard_pointer::Slot;
    use super::slot_list::{Place, Places};

    loom::lazy_static! {
        static ref SLOTS: Places<Slot> = Places { first: AtomicPtr::new(ptr::null_mut()) };
    }

    pub(super) fn slots() -> &'static Places<Slot> {
        // SAFETY: the statics of a model live as long as the model, and nothing of it outlives that.
        unsafe { &*ptr::from_ref(&*SLOTS) }
    }

    pub(super) struct FreeSlot(&'static Place<Slot>);

    /// Always a spare one, so that slots change hands in every order too.
    pub(super) fn free_slot() -> FreeSlot {
        FreeSlot(slots().take())
    }

    /// One that its thread keeps.
    pub(super) fn own_slot() -> Option<&'static Place<Slot>> {
        Some(slots().take())
    }

    impl Deref for FreeSlot {
        type Target = Place<Slot>;

        fn deref(&self) -> &Place<Slot> {
            self.0
        }
    }

    impl Drop for FreeSlot {
        fn drop(&mut self) {
            self.0.give_back();
        }
    }
}
