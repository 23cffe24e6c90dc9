//! Models of threads that count what they read.

use loom::sync::Arc;
use loom::thread;

use super::read_counter::ReadCounter;
use crate::check;
use crate::runtime::hazard_cell::HazardCell;

/// No count is lost, also when a slot goes from a thread that has ended to the next one.
pub fn no_count_is_lost() {
    check(Some(3), || {
        let shared = Arc::new((HazardCell::new(Some(7)), ReadCounter::default()));
        // Makes the counters, which loom's threads could not see if one of them made them.
        shared.1.count(0);
        let read = |times: usize| {
            let shared = shared.clone();
            move || {
                for _ in 0..times {
                    shared.0.read_with_slot(|_, slot| shared.1.count(slot));
                }
            }
        };
        let others = [thread::spawn(read(2)), thread::spawn(read(1))];
        read(1)();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(shared.1.total(), 5);
    });
}
