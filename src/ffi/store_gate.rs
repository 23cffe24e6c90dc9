//! The gate before the program's stores: which of them may be called, and how many calls are in progress.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::error::Error;
use crate::runtime::process::PerProcess;
use crate::sync::{ignore_poison, lock};

/// What tells a store from others: its context and its callback `lock`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoreId(pub(super) usize, pub(super) usize);

/// A call in progress, which ends when this is dropped.
pub(super) struct Call(StoreId);

#[derive(Default)]
struct State {
    calls: usize,
    is_retired: bool,
}

#[derive(Default)]
struct Gate {
    stores: Mutex<BTreeMap<StoreId, State>>,
    a_call_ended: Condvar,
}

/// A child has no calls of its parent, and none of its locks.
fn gate() -> Result<&'static Gate, Error> {
    static GATE: PerProcess<Gate> = PerProcess::new();
    GATE.get_or_try_init(|| Ok(Gate::default()))
}

/// Begins a call. `None`: the store is retired.
pub(super) fn enter(store: StoreId) -> Option<Call> {
    let gate = gate().ok()?;
    let mut stores = lock(&gate.stores);
    let state = stores.entry(store).or_default();
    if state.is_retired {
        return None;
    }
    state.calls += 1;
    Some(Call(store))
}

impl Drop for Call {
    fn drop(&mut self) {
        let Ok(gate) = gate() else { return };
        let mut stores = lock(&gate.stores);
        // A call that forked ends in the child too, which has not seen it begin.
        let Some(state) = stores.get_mut(&self.0) else { return };
        state.calls = state.calls.saturating_sub(1);
        if state.calls == 0 && !state.is_retired {
            stores.remove(&self.0);
        }
        gate.a_call_ended.notify_all();
    }
}

/// Lets no call begin any more, and waits for those in progress. False: one has not ended within `patience`.
pub(super) fn retire(store: StoreId, patience: Duration) -> Result<bool, Error> {
    let gate = gate()?;
    let mut stores = lock(&gate.stores);
    stores.entry(store).or_default().is_retired = true;
    let is_called = |stores: &mut BTreeMap<_, State>| stores.get(&store).is_some_and(|state| state.calls > 0);
    let waited = ignore_poison(gate.a_call_ended.wait_timeout_while(stores, patience, is_called));
    Ok(!waited.1.timed_out())
}
