//! The parts of `src/runtime`, and replacements for what they use: ordinary fences instead of the system call, and slots
//! that end with the model.

pub mod cell_models;
pub mod count_models;
pub mod load_models;
pub mod process_models;
pub mod slot_models;

#[path = "../../../src/runtime/hazard_cell.rs"]
pub(crate) mod hazard_cell;
#[path = "../../../src/runtime/hazard_pointer.rs"]
mod hazard_pointer;
#[path = "../../../src/runtime/load.rs"]
mod load;
#[path = "../../../src/runtime/process.rs"]
pub(crate) mod process;
#[path = "../../../src/runtime/sharded_arc.rs"]
pub(crate) mod sharded_arc;
#[path = "../../../src/runtime/slot_list.rs"]
pub(crate) mod slot_list;
#[path = "../../../src/runtime/thread_slot.rs"]
mod thread_slot;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;

use crate::error::Error;

/// Each order of a model begins with this.
pub(crate) fn begin_model() {
    // Futures of an order that failed have objects of that order.
    std::mem::forget(SPAWNED.take());
}

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

std::thread_local! {
    // All threads of a model are one thread of the system.
    static SPAWNED: RefCell<Vec<Task>> = const { RefCell::new(Vec::new()) };
}

/// A runtime whose futures a model runs.
pub(crate) struct Runtime(u8);

static RUNTIME: Runtime = Runtime(0);

pub(crate) fn handle() -> Result<&'static Runtime, Error> {
    Ok(&RUNTIME)
}

pub(crate) trait Resident: Send {
    fn run(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl Runtime {
    pub(crate) fn keep(&self, mut resident: impl Resident + 'static) {
        SPAWNED.with_borrow_mut(|spawned| spawned.push(Box::pin(async move { resident.run().await })));
    }
}

/// What was spawned since the last call.
pub(crate) fn take_spawned() -> Vec<Task> {
    SPAWNED.take()
}

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

mod all_slots {
    use std::ptr;

    use super::hazard_pointer::HazardPointer;
    use super::slot_list::SlotList;
    use crate::sync::AtomicPtr;

    loom::lazy_static! {
        static ref SLOTS: SlotList<HazardPointer> = SlotList { first: AtomicPtr::new(ptr::null_mut()) };
    }

    pub(super) fn get() -> &'static SlotList<HazardPointer> {
        // SAFETY: the statics of a model live as long as the model, and no reference outlives it.
        unsafe { &*ptr::from_ref(&*SLOTS) }
    }
}

mod thread_pointer {
    use std::cell::Cell;

    use super::hazard_pointer::HazardPointer;
    use super::slot_list::Slot;

    type OwnSlot = Option<&'static Slot<HazardPointer>>;

    loom::thread_local! {
        static OWN: Cell<OwnSlot> = Cell::new(None);
    }

    /// None, too, for a thread that ends.
    pub(super) fn get() -> OwnSlot {
        OWN.try_with(Cell::get).ok().flatten()
    }

    pub(super) fn set(slot: OwnSlot) {
        let _ = OWN.try_with(|own| own.set(slot));
    }
}

mod fork_zeroed {
    use std::sync::atomic::AtomicU64;

    /// A number that no model's fork zeroes.
    #[derive(Clone, Copy)]
    pub(crate) struct ForkZeroed(&'static AtomicU64);

    impl Default for ForkZeroed {
        fn default() -> Self {
            ForkZeroed(Box::leak(Box::default()))
        }
    }

    impl ForkZeroed {
        pub(super) fn as_static(self) -> &'static AtomicU64 {
            self.0
        }
    }
}

pub(crate) mod word {
    use loom::sync::atomic::{AtomicU64, Ordering};

    loom::lazy_static! {
        /// What programs read.
        static ref WORD: AtomicU64 = AtomicU64::new(0);
    }

    pub(crate) fn set(number: u64) {
        WORD.store(number, Ordering::Release);
    }

    pub(crate) fn get() -> u64 {
        WORD.load(Ordering::Acquire)
    }

    pub(crate) fn reset_all() {
        set(0);
    }
}

pub(crate) mod boot_timer {
    use std::time::Duration;

    pub(crate) struct BootTimer;

    impl BootTimer {
        pub(crate) fn new(_: &super::Runtime) -> Self {
            BootTimer
        }

        /// Never ends: in a model, only a notice wakes the task.
        pub(crate) async fn sleep(&mut self, _: Duration) {
            std::future::pending().await
        }
    }
}
