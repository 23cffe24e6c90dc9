//! The back-off after a failed flight.

use std::time::Duration;

use super::decision::Random;
use crate::clock::Moment;
use crate::error::Error;

/// The shortest and the longest pause while a caller waits.
const URGENT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// The shortest and the longest pause while no caller waits.
pub(super) const IDLE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));
/// A new caller without a token ends the pause if this time has passed since the failure.
const PROBE_AFTER: Duration = Duration::from_millis(1500);

/// The pause after a failed flight.
#[derive(Debug)]
pub(super) struct Pause {
    pub(super) error: Error,
    pub(super) urgent_until: Duration,
    pub(super) idle_until: Duration,
    /// From this time on a new caller without a token ends the pause.
    pub(super) probe_from: Duration,
    pub(super) last: Duration,
    /// `urgent_until` and `probe_from` before the pause was made longer, if it was.
    before_postponement: Option<(Duration, Duration)>,
}

impl Pause {
    /// Decorrelated jitter: the next pause is random, between the shortest one and three times the last one.
    pub(super) fn after(
        error: Error,
        before: Option<Box<Pause>>,
        now: Moment,
        random: Random<'_>,
    ) -> Box<Self> {
        let draw = |(shortest, longest): (Duration, Duration), last: Duration, share: f64| {
            let upper = (last * 3).clamp(shortest, longest);
            shortest + (upper - shortest).mul_f64(share.clamp(0.0, 1.0))
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

    /// Delays the next try: it presents a refresh token that may be spent, and it is the last one. It is made as late
    /// as the current token allows, so that the fault that lost the answer has time to end.
    pub(super) fn postpone(&mut self, usable_for: Duration, now: Moment) {
        self.before_postponement = Some((self.urgent_until, self.probe_from));
        let latest = now.boot.saturating_add(usable_for).min(self.idle_until);
        self.urgent_until = self.urgent_until.max(latest);
        self.probe_from = self.urgent_until;
    }

    /// Ends the delay: the current token was refused, so there is no reason to wait.
    pub(super) fn end_postponement(&mut self) {
        if let Some((urgent_until, probe_from)) = self.before_postponement.take() {
            (self.urgent_until, self.probe_from) = (urgent_until, probe_from);
        }
    }

    /// A new caller finds no token. If enough time has passed since the failure, the next try is made now.
    pub(super) fn end_for_caller(&mut self, now: Moment) {
        if self.probe_from <= now.boot {
            self.urgent_until = self.urgent_until.min(now.boot);
        }
    }
}
