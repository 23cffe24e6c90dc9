//! Makes a failing history smaller: leaves out incidents while the history still fails.

use std::thread;
use std::time::{Duration, Instant};

use crate::history::History;
use crate::oracle::Report;
use crate::worlds::World;

/// The smallest failing history found within the time, and its failure. `None`: it does not fail every time.
pub(crate) fn shrink(history: &History, patience: Duration) -> Option<(History, Report)> {
    let begun = Instant::now();
    // Threads and sockets are scheduled differently each time.
    let mut smallest = first_failure(&[history.clone(), history.clone(), history.clone()])?;
    let mut piece = smallest.0.incidents.len().div_ceil(2);
    while piece > 0 && begun.elapsed() < patience {
        let numbers = smallest.0.numbers();
        let without = |at: usize| {
            let left = numbers.iter().enumerate().filter(|(index, _)| !(at..at + piece).contains(index));
            smallest.0.only(&left.map(|(_, number)| *number).collect::<Vec<_>>())
        };
        let smaller: Vec<_> = (0..numbers.len()).step_by(piece).map(without).collect();
        match first_failure(&smaller).filter(|_| numbers.len() > 1) {
            Some(found) => {
                smallest = found;
                piece = piece.min(smallest.0.incidents.len().div_ceil(2));
            }
            None if piece == 1 => break,
            None => piece /= 2,
        }
    }
    Some(smallest)
}

/// Runs all of them at once.
fn first_failure(histories: &[History]) -> Option<(History, Report)> {
    thread::scope(|scope| {
        let lives: Vec<_> =
            histories.iter().map(|history| (history, scope.spawn(|| World::live(history)))).collect();
        let ended: Vec<_> =
            lives.into_iter().map(|(history, life)| (history.clone(), life.join().unwrap())).collect();
        ended.into_iter().find(|(_, report)| !report.is_good())
    })
}
