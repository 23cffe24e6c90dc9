//! A caller whose deadline passes at the same moment as its answer arrives.

use std::time::{Duration, Instant};

use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::session::one_shot::{Sender, channel};

/// An answer is lost only if the caller took the sender back.
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
        // The deadline has passed: an answer that is there counts, and the caller does not wait.
        let now = Instant::now();
        let early = receiver.recv_deadline(now);
        let taken_back = table.lock().unwrap().take();
        let is_taken_back = taken_back.is_some();
        drop(taken_back);
        // The thread that holds the sender sends, so this wait ends.
        let late = receiver.recv_deadline(now + Duration::from_secs(3600));
        assert_eq!(early.or(late), (!is_taken_back).then_some(7));
        answering.join().unwrap();
    });
}
