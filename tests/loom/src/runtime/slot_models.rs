//! Models of threads that acquire and release slots of one list.

use loom::cell::UnsafeCell;
use loom::thread;

use super::slot_list::SlotList;
use crate::check;
use crate::sync::AtomicPtr;

/// What only the owner of a slot touches; loom finds two owners at once, and an owner that does not see its predecessor's writes.
#[derive(Default)]
struct Owned(UnsafeCell<usize>);

// SAFETY: loom panics if two threads use it at once.
unsafe impl Sync for Owned {}

loom::lazy_static! {
    static ref SLOTS: SlotList<Owned> = SlotList { first: AtomicPtr::new(std::ptr::null_mut()) };
}

fn use_one() {
    let slot = SLOTS.acquire();
    // SAFETY: loom panics if another owner uses it at the same time.
    slot.0.with_mut(|uses| unsafe { *uses += 1 });
    slot.release();
}

/// No two threads have one slot at the same time, and no use of one is lost.
pub fn slots_go_from_thread_to_thread() {
    check(Some(3), || {
        let others = [(); 2].map(|()| {
            thread::spawn(|| {
                use_one();
                use_one();
            })
        });
        use_one();
        others.into_iter().for_each(|other| other.join().unwrap());
        let slots: Vec<_> = SLOTS.iter().collect();
        // SAFETY: the other threads have ended.
        let uses: usize = slots.iter().map(|slot| slot.0.with(|uses| unsafe { *uses })).sum();
        let numbers: Vec<_> = slots.iter().map(|slot| slot.index()).rev().collect();
        assert_eq!((uses, numbers), (5, (0..slots.len()).collect()));
    });
}
