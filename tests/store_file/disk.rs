//! A disk that fails, dies or loses power at a step that a test names.

use std::cmp::Ordering;
use std::sync::Mutex;

use crate::faulty_disk::{FaultPlan, FaultyDisk, StepFate};

/// What happens at the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// An error, and nothing is done.
    Fail,
    /// An error, although it was done.
    FailAfterwards,
    /// An error at this step and at every later one.
    FailForever,
    /// The end of the process, by kill -9.
    Kill,
}

pub(crate) type TestDisk = FaultyDisk<AtOneStep>;

/// Counts the steps, and brings trouble at one of them.
pub(crate) struct AtOneStep {
    trouble: Trouble,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    steps: u64,
    trouble_at: Option<u64>,
}

impl AtOneStep {
    pub(crate) fn new(trouble: Trouble) -> Self {
        AtOneStep { trouble, state: Mutex::default() }
    }

    /// The trouble comes this many steps from now.
    pub(crate) fn arm(&self, after: u64) {
        let mut state = self.state.lock().unwrap();
        state.trouble_at = Some(state.steps + after);
    }

    /// Whether the trouble has come.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.trouble_at.is_some_and(|at| state.steps > at)
    }
}

impl FaultPlan for AtOneStep {
    fn next(&self) -> StepFate {
        let mut state = self.state.lock().unwrap();
        let order = state.trouble_at.map(|at| state.steps.cmp(&at));
        state.steps += 1;
        match (order, self.trouble) {
            (Some(Ordering::Equal), Trouble::Fail | Trouble::FailForever)
            | (Some(Ordering::Greater), Trouble::FailForever) => StepFate::Fails,
            (Some(Ordering::Equal), Trouble::FailAfterwards) => StepFate::FailsAfterwards,
            (Some(Ordering::Equal), Trouble::Kill) => StepFate::Kills,
            (None | Some(_), _) => StepFate::Done,
        }
    }
}
