//! The token that a session has: how long it may be handed out, and what was said against it.

use std::time::Duration;

use super::decision::Random;
use super::phase::{Phase, Windows};
use super::rejection::Reports;
use crate::clock::Moment;
use crate::store::Committed;

/// The token there is.
#[derive(Debug)]
pub(super) struct CurrentToken {
    pub(super) committed: Committed,
    /// The background refresh starts when so much remains.
    pub(super) background_at: Duration,
    pub(super) since: Duration,
    /// Readers have it without asking.
    pub(super) published: bool,
    /// The service refused it: it is not handed out, and its successor must differ.
    pub(super) refused: bool,
    pub(super) reports: Reports,
    /// From 0 to 1: where in its range the pause before the next replacement is.
    pub(super) jitter: f64,
    /// The wall clock has had its say.
    pub(super) wall_jump_handled: bool,
    /// How much of its life is over is not known.
    pub(super) has_uncertain_age: bool,
    /// It was got with credentials that have been replaced since: it is never written to the record of the new ones.
    pub(super) is_of_another_record: bool,
}

impl CurrentToken {
    /// A token that has just come, or was adopted.
    pub(super) fn new(committed: Committed, now: Moment, random: Random<'_>) -> Self {
        let windows = Windows::of(&committed.token().lifetime);
        let has_uncertain_age = committed.has_uncertain_age;
        CurrentToken {
            committed,
            background_at: windows.background_at(random()),
            since: now.boot,
            published: !has_uncertain_age,
            refused: false,
            reports: Reports::default(),
            jitter: random(),
            wall_jump_handled: false,
            has_uncertain_age,
            is_of_another_record: false,
        }
    }

    pub(super) fn windows(&self) -> Windows {
        Windows::of(&self.committed.token().lifetime)
    }

    pub(super) fn remaining(&self, now: Moment) -> Duration {
        self.committed.token().remaining(now)
    }

    /// When it turns mandatory, on the boot clock.
    pub(super) fn turns_mandatory(&self) -> Duration {
        let token = self.committed.token();
        token.anchor.boot + token.lifetime.length.saturating_sub(self.windows().mandatory)
    }

    pub(super) fn is_usable(&self, now: Moment) -> bool {
        !self.refused && self.remaining(now) > self.windows().margin
    }

    pub(super) fn phase(&self, now: Moment) -> Phase {
        if self.refused {
            return Phase::Expired;
        }
        let phase = self.windows().phase(self.remaining(now));
        if self.has_jumped(now) || self.has_uncertain_age { phase.max(Phase::Mandatory) } else { phase }
    }

    /// How long it may still be handed out.
    pub(super) fn usable_for(&self, now: Moment) -> Duration {
        self.remaining(now).saturating_sub(self.windows().margin)
    }

    /// The wall clock says that more time has passed than the boot clock has counted; that counts once.
    pub(super) fn has_jumped(&self, now: Moment) -> bool {
        !self.wall_jump_handled && self.committed.token().wall_has_jumped(now)
    }
}
