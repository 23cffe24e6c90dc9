//! The back-off after a failed flight.

use std::time::Duration;

use super::decision::Random;
use crate::clock::Moment;
use crate::error::Error;

/// Between failures while someone waits: the least and the most.
const URGENT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The same while nobody does.
pub(super) const IDLE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));
/// A caller who comes so long after a failure, and finds no token, ends the pause.
const PROBE_AFTER: Duration = Duration::from_millis(1500);

/// After a failed flight.
#[derive(Debug)]
pub(super) struct Pause {
    pub(super) error: Error,
    pub(super) urgent_until: Duration,
    pub(super) idle_until: Duration,
    /// From then on a caller who comes ends it.
    pub(super) probe_from: Duration,
    pub(super) last: Duration,
    /// What `urgent_until` and `probe_from` were, if the pause was made longer for the sake of the token there is.
    before_postponement: Option<(Duration, Duration)>,
}

impl Pause {
    /// Decorrelated jitter: the next pause is drawn between the least and three times the last one.
    pub(super) fn after(
        error: Error,
        before: Option<Box<Pause>>,
        now: Moment,
        random: Random<'_>,
    ) -> Box<Self> {
        let draw = |(least, most): (Duration, Duration), last: Duration, share: f64| {
            let upper = (last * 3).clamp(least, most);
            least + (upper - least).mul_f64(share.clamp(0.0, 1.0))
        };
        let last = before.map_or(URGENT.0, |before| before.last);
        let asked = error.retry_after.unwrap_or_default();
        let urgent = draw(URGENT, last, random()).max(asked);
        let idle = draw(IDLE, IDLE.1, random()).max(asked);
        Box::new(Pause {
            error,
            urgent_until: now.boot.saturating_add(urgent),
            idle_until: now.boot.saturating_add(idle),
            probe_from: now.boot.saturating_add(asked.max(PROBE_AFTER)),
            last: urgent,
            before_postponement: None,
        })
    }

    /// The next try presents a refresh token that may be spent, and none follows it: as late as the token there is allows, so
    /// that what spoilt the answer has time to go away.
    pub(super) fn postpone(&mut self, usable_for: Duration, now: Moment) {
        self.before_postponement = Some((self.urgent_until, self.probe_from));
        let latest = now.boot.saturating_add(usable_for).min(self.idle_until);
        self.urgent_until = self.urgent_until.max(latest);
        self.probe_from = self.urgent_until;
    }

    /// That token was refused: nothing is left to wait for.
    pub(super) fn end_postponement(&mut self) {
        if let Some((urgent_until, probe_from)) = self.before_postponement.take() {
            (self.urgent_until, self.probe_from) = (urgent_until, probe_from);
        }
    }

    /// A caller has come who finds no token. If the service had time since the failure, the next try is made now.
    pub(super) fn end_for_caller(&mut self, now: Moment) {
        if self.probe_from <= now.boot {
            self.urgent_until = self.urgent_until.min(now.boot);
        }
    }
}
