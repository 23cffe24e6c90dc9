//! A caller whose deadline passes at the very moment of the answer.

use std::time::{Duration, Instant};

use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::session::one_shot::{Sender, channel};

/// An answer is lost only by a caller who took the sender back.
pub fn an_answer_is_lost_only_if_the_caller_took_the_sender_back() {
    loom::model(|| {
        let (sender, receiver) = channel();
        let table = Arc::new(Mutex::new(Some(sender)));
        let answering = {
            let table = table.clone();
            thread::spawn(move || {
                let sender: Option<Sender<u8>> = table.lock().unwrap().take();
                if let Some(sender) = sender {
                    sender.send(7);
                }
            })
        };
        // The deadline has passed: what is there counts, and nothing is waited for.
        let now = Instant::now();
        let early = receiver.recv_deadline(now);
        let taken_back = table.lock().unwrap().take();
        let is_taken_back = taken_back.is_some();
        drop(taken_back);
        // Whoever holds the sender gives: this wait ends.
        let late = receiver.recv_deadline(now + Duration::from_secs(3600));
        assert_eq!(early.or(late), (!is_taken_back).then_some(7));
        answering.join().unwrap();
    });
}
