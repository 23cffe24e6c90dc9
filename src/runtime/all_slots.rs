//! The hazard pointers of all threads of the process.

use std::ptr;

use super::hazard_pointer::HazardPointer;
use super::slot_list::SlotList;
use crate::sync::AtomicPtr;

static SLOTS: SlotList<HazardPointer> = SlotList { first: AtomicPtr::new(ptr::null_mut()) };

/// The list of them.
pub(super) fn get() -> &'static SlotList<HazardPointer> {
    &SLOTS
}
