//! A caller whose deadline passes at the very moment of the answer.

use std::time::{Duration, Instant};

use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::session::one_shot::{Giver, handoff};

/// An answer is lost only by a caller who took the giver back.
pub fn an_answer_is_lost_only_by_a_caller_who_took_the_giver_back() {
    loom::model(|| {
        let (giver, taker) = handoff();
        let table = Arc::new(Mutex::new(Some(giver)));
        let answering = {
            let table = table.clone();
            thread::spawn(move || {
                let giver: Option<Giver<u8>> = table.lock().unwrap().take();
                if let Some(giver) = giver {
                    giver.give(7);
                }
            })
        };
        // The deadline has passed: what is there counts, and nothing is waited for.
        let now = Instant::now();
        let early = taker.wait(now);
        let taken_back = table.lock().unwrap().take();
        let is_taken_back = taken_back.is_some();
        drop(taken_back);
        // Whoever holds the giver gives: this wait ends.
        let late = taker.wait(now + Duration::from_secs(3600));
        assert_eq!(early.or(late), (!is_taken_back).then_some(7));
        answering.join().unwrap();
    });
}
