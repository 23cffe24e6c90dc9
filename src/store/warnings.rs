//! Collects warnings about the chosen store, for the host.

use std::sync::{Mutex, MutexGuard};

use crate::sync::lock;

/// Sentences, each delivered once as new and kept for later queries.
#[derive(Debug, Default)]
pub(super) struct Warnings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    all: Vec<String>,
    /// How many of them have been delivered.
    told: usize,
}

impl Warnings {
    pub(super) fn extend(&self, warnings: impl IntoIterator<Item = String>) {
        let mut state = self.state();
        for note in warnings {
            if !state.all.contains(&note) {
                state.all.push(note);
            }
        }
    }

    pub(super) fn new_warnings(&self) -> Vec<String> {
        let mut state = self.state();
        let news = state.all[state.told..].to_vec();
        state.told = state.all.len();
        news
    }

    pub(super) fn all(&self) -> Option<String> {
        let state = self.state();
        (!state.all.is_empty()).then(|| state.all.join("; "))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_new_once_and_is_kept_once() {
        let warnings = Warnings::default();
        assert!(warnings.new_warnings().is_empty() && warnings.all().is_none());
        warnings.extend(["one".into(), "two".into(), "one".into()]);
        assert_eq!(warnings.new_warnings(), ["one", "two"]);
        warnings.extend(["two".into(), "three".into()]);
        assert_eq!(warnings.new_warnings(), ["three"]);
        assert!(warnings.new_warnings().is_empty());
        assert_eq!(warnings.all().as_deref(), Some("one; two; three"));
    }
}
