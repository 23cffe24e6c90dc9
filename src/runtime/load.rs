//! Who drives the reactor, and how much work it has: whether our thread is needed.

use crate::sync::{AtomicU64, Ordering};

/// Whether our thread drives, how many callers drive or are about to, and how much work there is. It is one number: of a thread
/// that leaves and one that brings work, exactly one sees that ours is needed, and wakes it. It orders nothing else, so every
/// step is relaxed.
#[derive(Default)]
pub(super) struct Load(AtomicU64);

const WE_DRIVE: u64 = 1 << 63;
const ONE_DRIVER: u64 = 1 << 32;
const ONE_WORK: u64 = 1;

fn work_of(load: u64) -> u64 {
    load & (ONE_DRIVER - 1)
}

impl Load {
    /// Returns whether our thread is needed from now on.
    pub(super) fn begin_work(&self) -> bool {
        self.0.fetch_add(ONE_WORK, Ordering::Relaxed) == 0
    }

    /// Returns whether our thread drives and no work is left for it.
    pub(super) fn end_work(&self) -> bool {
        let left = self.0.fetch_sub(ONE_WORK, Ordering::Relaxed) - ONE_WORK;
        left >= WE_DRIVE && work_of(left) == 0
    }

    /// A caller is about to drive.
    pub(super) fn begin_drive(&self) {
        self.0.fetch_add(ONE_DRIVER, Ordering::Relaxed);
    }

    /// Returns how much work is left, if no thread drives any more.
    pub(super) fn end_drive(&self) -> Option<u64> {
        let left = self.0.fetch_sub(ONE_DRIVER, Ordering::Relaxed) - ONE_DRIVER;
        (left < ONE_DRIVER).then_some(left)
    }

    /// Whether one caller drives or is about to, and our thread does not.
    pub(super) fn has_one_driver(&self) -> bool {
        let load = self.0.load(Ordering::Relaxed);
        load - work_of(load) == ONE_DRIVER
    }

    /// Our thread drives from now on. It looks for work after this, not before.
    pub(super) fn we_drive(&self) {
        self.0.fetch_or(WE_DRIVE, Ordering::Relaxed);
    }

    /// Our thread does not drive any more. It asks after this whether it is needed.
    pub(super) fn we_leave(&self) {
        self.0.fetch_and(!WE_DRIVE, Ordering::Relaxed);
    }

    pub(super) fn has_work(&self) -> bool {
        work_of(self.0.load(Ordering::Relaxed)) > 0
    }

    /// Whether there is work that no caller drives.
    pub(super) fn needs_us(&self) -> bool {
        (1..ONE_DRIVER).contains(&self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_thread_is_woken_once_for_work_that_no_thread_drives() {
        let load = Load::default();
        assert!(load.begin_work() && !load.begin_work() && load.needs_us());
        load.begin_drive();
        load.begin_drive();
        assert!(!load.begin_work() && !load.needs_us());
        assert_eq!((load.end_drive(), load.end_drive()), (None, Some(3)));
        load.begin_drive();
        assert!(!load.begin_work() && !load.end_work(), "the caller is there already");
        assert_eq!(load.end_drive(), Some(3));
    }

    #[test]
    fn our_thread_is_told_only_while_it_drives_that_no_work_is_left() {
        let load = Load::default();
        load.begin_work();
        load.we_drive();
        assert!(!load.begin_work(), "it is there already");
        load.begin_drive();
        assert_eq!(load.end_drive(), None, "it still drives");
        assert!(!load.end_work() && load.end_work());
        load.we_leave();
        assert!(load.begin_work() && !load.end_work());
    }

    #[test]
    fn a_driver_knows_whether_it_is_alone() {
        let load = Load::default();
        load.begin_drive();
        load.begin_work();
        assert!(load.has_one_driver());
        load.begin_drive();
        assert!(!load.has_one_driver());
        load.end_drive();
        load.we_drive();
        assert!(!load.has_one_driver());
    }
}
