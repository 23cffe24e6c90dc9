//! The disk that all processes of a fleet share: any step can fail, and a process can die at any step.

use std::sync::{Mutex, MutexGuard};

use fastrand::Rng;

use crate::faulty_disk::{FaultPlan, FaultyDisk, StepFate};

pub(crate) type SharedDisk = FaultyDisk<AtRandom>;

pub(crate) struct AtRandom(Mutex<State>);

struct State {
    rng: Rng,
    /// The probability that a step fails, from 0 to 1.
    trouble: f64,
    /// Every step fails, or is done and seems to fail.
    is_down: bool,
    /// The process at work dies after this many steps.
    steps_to_live: Option<u32>,
}

impl AtRandom {
    pub(crate) fn new(rng: Rng) -> Self {
        AtRandom(Mutex::new(State { rng, trouble: 0.0, is_down: false, steps_to_live: None }))
    }

    pub(crate) fn set_trouble(&self, trouble: f64) {
        self.state().trouble = trouble;
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    pub(crate) fn is_down(&self) -> bool {
        self.state().is_down
    }

    /// After this many steps nothing more is done, until the next process is at work.
    pub(crate) fn set_steps_to_live(&self, steps: Option<u32>) {
        self.state().steps_to_live = steps;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl FaultPlan for AtRandom {
    fn next(&self) -> StepFate {
        let mut state = self.state();
        if let Some(left) = &mut state.steps_to_live {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => return StepFate::Fails,
            }
        }
        let trouble = state.trouble;
        let fails = state.is_down || state.rng.f64() < trouble;
        match (fails, state.rng.bool()) {
            (false, _) => StepFate::Done,
            (true, false) => StepFate::Fails,
            (true, true) => StepFate::FailsAfterwards,
        }
    }
}
