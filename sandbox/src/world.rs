//! The state that all parts of the emulator share: service, faults, counters and clock behind a lock.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::call::Call;
use crate::connections::Connections;
use crate::counters::Counters;
use crate::credentials::Credentials;
use crate::fault::Faults;
use crate::journal::{Entry, Use};
use crate::route::Route;
use crate::state::State;
use crate::switches::Switches;
use crate::token::fingerprint;

/// The state of the emulator.
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) faults: Faults,
    pub(crate) counted: Counters,
    pub(crate) foreign: Vec<Call>,
    pub(crate) journal: Vec<Entry>,
    pub(crate) uses: BTreeMap<String, Use>,
    refreshes_at_once: u64,
    advanced: Duration,
    credentials: Credentials,
    start_switches: Switches,
}

impl World {
    pub(crate) fn new(credentials: Credentials, switches: Switches) -> Self {
        Self {
            state: State::new(switches.clone(), &credentials),
            faults: Faults::default(),
            counted: Counters::default(),
            foreign: Vec::new(),
            journal: Vec::new(),
            uses: BTreeMap::new(),
            refreshes_at_once: 0,
            advanced: Duration::ZERO,
            credentials,
            start_switches: switches,
        }
    }

    /// Resets everything. Running refreshes stay counted, since they will still end.
    pub(crate) fn reset(&mut self) {
        let refreshes_at_once = self.refreshes_at_once;
        *self =
            Self { refreshes_at_once, ..Self::new(self.credentials.clone(), self.start_switches.clone()) };
    }

    /// The emulator's time in milliseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(real.saturating_add(self.advanced).as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.advanced = self.advanced.saturating_add(by);
    }

    /// Records a request that was read completely.
    pub(crate) fn enter(&mut self, route: Route, call: &Call) {
        self.counted.was_read(route, call);
        if route != Route::Refresh {
            return;
        }
        self.refreshes_at_once += 1;
        self.counted.most_refreshes_at_once = self.counted.most_refreshes_at_once.max(self.refreshes_at_once);
        if let Some(token) = call.refresh_token() {
            self.counted.presented(fingerprint(&token));
        }
    }

    /// Records how it ended.
    pub(crate) fn leave(&mut self, route: Route, entry: Option<Entry>, outcome: &str) {
        self.end(route, entry, outcome);
        if route == Route::Refresh {
            self.refreshes_at_once -= 1;
        }
    }

    /// Records how the access token of a business call was answered.
    pub(crate) fn used(&mut self, route: Route, call: &Call, outcome: &str) {
        let bearer = call.bearer().filter(|_| !matches!(route, Route::Issue | Route::Refresh));
        let now = self.now();
        if let Some(token) = bearer {
            let agent = call.header("user-agent").unwrap_or_default();
            self.uses.entry(fingerprint(token)).or_default().ended(agent, outcome, now);
        }
    }

    /// The same for a request that was not read.
    pub(crate) fn end(&mut self, route: Route, entry: Option<Entry>, outcome: &str) {
        self.counted.ended(route, outcome.into());
        self.journal.extend(entry.map(|entry| Entry { outcome: outcome.into(), ..entry }));
    }

    pub(crate) fn counters(&self) -> Counters {
        let totals = self.state.totals;
        Counters {
            pairs_issued: totals.issued,
            pairs_refreshed: totals.refreshed,
            payins: totals.payins,
            duplicate_payins: totals.duplicate_payins,
            foreign: self.foreign.len() as u64,
            ..self.counted.clone()
        }
    }
}

/// The world behind its lock, and the open connections. A panic elsewhere must not break the tests after it, so poison is
/// ignored.
pub(crate) struct Shared {
    world: Mutex<World>,
    pub(crate) connections: Connections,
}

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self { world: Mutex::new(world), connections: Connections::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
