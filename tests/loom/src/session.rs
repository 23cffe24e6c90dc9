//! The parts of `src/session`, with a driver that only notes what fires.

pub mod counter_models;
pub mod timer_models;

#[path = "../../../src/session/read_counter.rs"]
pub(crate) mod read_counter;
#[path = "../../../src/session/timers.rs"]
pub(crate) mod timers;

pub(crate) mod driver {
    use std::cell::Cell;

    use super::timers::Due;
    use crate::sync::TICKS_LEFT;

    /// Ticked by the one thread of the task, and looked at when that has ended.
    #[derive(Default)]
    pub(crate) struct Driver {
        ticks: Cell<usize>,
    }

    // SAFETY: all threads of a model are one thread of the system, which switches between them only at loom's operations.
    unsafe impl Sync for Driver {}

    impl Driver {
        pub(crate) fn tick(&self, _: Due) {
            self.ticks.set(self.ticks.get() + 1);
            TICKS_LEFT.set(TICKS_LEFT.get().saturating_sub(1));
        }

        pub(super) fn ticks(&self) -> usize {
            self.ticks.get()
        }
    }
}
