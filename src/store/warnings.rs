//! What a host should know of the place that it chose.

use std::sync::{Mutex, MutexGuard};

use crate::sync::lock;

/// Sentences, each told once as news and kept for who asks later.
#[derive(Debug, Default)]
pub(super) struct Warnings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    all: Vec<String>,
    /// How many of them have been told.
    told: usize,
}

impl Warnings {
    /// Those that are not known yet.
    pub(super) fn extend(&self, warnings: impl IntoIterator<Item = String>) {
        let mut state = self.state();
        for note in warnings {
            if !state.all.contains(&note) {
                state.all.push(note);
            }
        }
    }

    /// Those that came since this was last asked.
    pub(super) fn new_warnings(&self) -> Vec<String> {
        let mut state = self.state();
        let news = state.all[state.told..].to_vec();
        state.told = state.all.len();
        news
    }

    /// All of them.
    pub(super) fn all(&self) -> Option<String> {
        let state = self.state();
        (!state.all.is_empty()).then(|| state.all.join("; "))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}
