//! A host's store in memory: sound, failing at a chosen call, or with a flaw.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use paymentsgate_auth::store::{Host, HostRecord};

/// The callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Lock,
    Unlock,
    Load,
    Save,
}

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It fails.
    Fail,
    /// It does its work and then fails.
    FailAfterwards,
    /// It fails, and so does every later call of every kind.
    FailForever,
    /// It returns only when the test releases it.
    Hang,
    /// This call and every later one return only when the test releases them.
    HangForever,
}

/// How a store breaks its contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flaw {
    #[default]
    None,
    FindsWhatWasNeverSaved,
    SavesOverNothing,
    DeniesThatItSaved,
    RefusesTheFirstSave,
    ReplacesWithoutExpecting,
    RefusesTheExpectedVersion,
    IgnoresTheVersion,
    RoundsVersions,
    EndsAtNul,
    CutsRecords,
    BreaksBytes,
    CutsKeys,
    LocksEverythingAtOnce,
    LocksForEverybody,
    DoesNotRenew,
    UnlocksForEverybody,
    NeverUnlocks,
    LeaseNeverEnds,
    LeaseInWholeSeconds,
    RenewsWhatIsLost,
    DoesNotProlong,
    SavesWithoutAtomicity,
    LocksWithoutAtomicity,
}

#[derive(Default)]
pub(crate) struct Table {
    flaw: Flaw,
    state: Mutex<State>,
    let_go: Condvar,
}

#[derive(Default)]
struct State {
    records: HashMap<CString, HostRecord>,
    locks: HashMap<CString, (CString, Instant)>,
    earlier: Option<CString>,
    /// The number of calls of this kind before the trouble.
    trouble: Option<(Call, u32, Trouble)>,
    is_down: bool,
    hanging: u32,
    calls: u64,
}

impl Table {
    pub(crate) fn with(flaw: Flaw) -> Self {
        Table { flaw, ..Table::default() }
    }

    /// Sets trouble at the call of this kind after `after` others of it.
    pub(crate) fn arm(&self, call: Call, after: u32, trouble: Trouble) {
        self.state().trouble = Some((call, after, trouble));
    }

    /// Whether the trouble has come.
    pub(crate) fn is_over(&self) -> bool {
        self.state().trouble.is_none()
    }

    /// Ends the trouble.
    pub(crate) fn repair(&self) {
        let mut state = self.state();
        (state.trouble, state.is_down, state.hanging) = (None, false, 0);
        self.let_go.notify_all();
    }

    pub(crate) fn hanging(&self) -> u32 {
        self.state().hanging
    }

    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(crate) fn is_locked(&self) -> bool {
        let now = Instant::now();
        self.state().locks.values().any(|(_, until)| *until > now)
    }

    pub(crate) fn end_leases(&self) {
        self.state().locks.clear();
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.state().records.values().flat_map(|kept| kept.record.to_vec()).collect()
    }

    /// Removes all records, as an administrator can.
    pub(crate) fn remove_records(&self) {
        self.state().records.clear();
    }

    pub(crate) fn versions(&self) -> Vec<u64> {
        self.state().records.values().map(|kept| kept.version).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn perform<T>(&self, call: Call, work: impl FnOnce() -> T) -> Result<T, String> {
        let mut state = self.state();
        state.calls += 1;
        let words = || format!("no {call:?} today");
        if state.is_down {
            return Err(words());
        }
        let trouble = match &mut state.trouble {
            Some((kind, after, trouble)) if *kind == call && *after == 0 => Some(*trouble),
            Some((kind, after, _)) if *kind == call => {
                *after -= 1;
                None
            }
            _ => None,
        };
        if trouble.is_some_and(|trouble| trouble != Trouble::HangForever) {
            state.trouble = None;
        }
        match trouble {
            Some(Trouble::Hang | Trouble::HangForever) => {
                state.hanging += 1;
                while state.hanging > 0 {
                    state = self.let_go.wait(state).unwrap();
                }
            }
            Some(Trouble::FailForever) => {
                state.is_down = true;
                return Err(words());
            }
            Some(Trouble::Fail) => return Err(words()),
            Some(Trouble::FailAfterwards) | None => {}
        }
        drop(state);
        let done = work();
        if trouble == Some(Trouble::FailAfterwards) { Err(words()) } else { Ok(done) }
    }

    fn key(&self, key: &CStr) -> CString {
        match self.flaw {
            Flaw::CutsKeys => CString::new(&key.to_bytes()[..38.min(key.count_bytes())]).unwrap(),
            _ => key.to_owned(),
        }
    }
}

impl Host for Table {
    fn lock(&self, key: &CStr, owner: &CStr, lease: Duration) -> Result<bool, String> {
        self.perform(Call::Lock, || {
            let key =
                if self.flaw == Flaw::LocksEverythingAtOnce { CString::default() } else { self.key(key) };
            let lease = match self.flaw {
                Flaw::LeaseNeverEnds => Duration::from_secs(1_000_000),
                Flaw::LeaseInWholeSeconds => Duration::from_secs(lease.as_secs()),
                _ => lease,
            };
            let (now, mut state) = (Instant::now(), self.state());
            let holder = state.locks.get(&key).filter(|(_, until)| *until > now).cloned();
            if self.flaw == Flaw::LocksWithoutAtomicity {
                drop(state);
                thread::sleep(Duration::from_millis(5));
                state = self.state();
            }
            let is_mine = holder.as_ref().is_some_and(|(holder, _)| **holder == *owner);
            let may = match self.flaw {
                Flaw::LocksForEverybody => true,
                Flaw::DoesNotRenew => holder.is_none(),
                Flaw::RenewsWhatIsLost => {
                    holder.is_none() || is_mine || state.earlier.as_deref() == Some(owner)
                }
                _ => holder.is_none() || is_mine,
            };
            if may && !(is_mine && self.flaw == Flaw::DoesNotProlong) {
                let before = state.locks.insert(key, (owner.to_owned(), now + lease));
                state.earlier = before.map(|(before, _)| before);
            }
            may
        })
    }

    fn unlock(&self, key: &CStr, owner: &CStr) -> Result<(), String> {
        self.perform(Call::Unlock, || {
            let key =
                if self.flaw == Flaw::LocksEverythingAtOnce { CString::default() } else { self.key(key) };
            let mut state = self.state();
            let is_mine = state.locks.get(&key).is_some_and(|(holder, _)| **holder == *owner);
            let frees = match self.flaw {
                Flaw::UnlocksForEverybody => true,
                Flaw::NeverUnlocks => false,
                _ => is_mine,
            };
            if frees {
                state.locks.remove(&key);
            }
        })
    }

    fn load(&self, key: &CStr) -> Result<Option<HostRecord>, String> {
        self.perform(Call::Load, || {
            let found = self.state().records.get(&self.key(key)).cloned();
            match self.flaw {
                Flaw::FindsWhatWasNeverSaved if found.is_none() => {
                    Some(HostRecord { version: 1, record: b"never saved".to_vec().into() })
                }
                Flaw::RoundsVersions => {
                    found.map(|kept| HostRecord { version: kept.version as f64 as u64, ..kept })
                }
                _ => found,
            }
        })
    }

    fn save(&self, key: &CStr, expected: u64, version: u64, record: &[u8]) -> Result<bool, String> {
        self.perform(Call::Save, || {
            let (key, mut state) = (self.key(key), self.state());
            let there = state.records.get(&key).map(|kept| kept.version);
            if self.flaw == Flaw::SavesWithoutAtomicity {
                drop(state);
                thread::sleep(Duration::from_millis(5));
                state = self.state();
            }
            let may = match self.flaw {
                Flaw::SavesOverNothing => there.is_none() || there == Some(expected),
                Flaw::RefusesTheFirstSave => expected != 0 && there == Some(expected),
                Flaw::ReplacesWithoutExpecting => expected == 0 || there == Some(expected),
                Flaw::RefusesTheExpectedVersion => expected == 0 && there.is_none(),
                Flaw::IgnoresTheVersion => (expected == 0) == there.is_none(),
                _ => there.unwrap_or(0) == expected,
            };
            let mut record = record.to_vec();
            match self.flaw {
                Flaw::EndsAtNul => {
                    record.truncate(record.iter().position(|byte| *byte == 0).unwrap_or(record.len()))
                }
                Flaw::CutsRecords => record.truncate(8192),
                Flaw::BreaksBytes => record.iter_mut().for_each(|byte| *byte &= 0x7f),
                _ => {}
            }
            let denies = self.flaw == Flaw::DeniesThatItSaved && there.is_none() && expected != 0;
            if may || denies {
                state.records.insert(key, HostRecord { version, record: record.into() });
            }
            may
        })
    }
}
