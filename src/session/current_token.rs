//! The current token of a session: how long it may be handed out, and the reports about it.

use std::time::Duration;

use super::decision::Random;
use super::phase::{Phase, Windows};
use super::rejection::Reports;
use crate::clock::Moment;
use crate::store::Committed;

/// The current token of a session.
#[derive(Debug)]
pub(super) struct CurrentToken {
    pub(super) committed: Committed,
    /// The background refresh starts at this remaining life.
    pub(super) background_at: Duration,
    pub(super) since: Duration,
    /// Readers can take the token from memory.
    pub(super) published: bool,
    /// The service refused the token: it is not handed out, and its successor must differ.
    pub(super) refused: bool,
    pub(super) reports: Reports,
    /// A random share (0 to 1) of the pause before the next replacement.
    pub(super) jitter: f64,
    /// A jump of the wall clock was acted on; it counts only once.
    pub(super) wall_jump_handled: bool,
    /// The age of the token is not known.
    pub(super) has_uncertain_age: bool,
    /// The token was obtained with replaced credentials, and is never written to the record of the new ones.
    pub(super) is_of_another_record: bool,
}

impl CurrentToken {
    /// A token that was just obtained or adopted.
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

    /// When the token turns mandatory, on the boot clock.
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

    /// How long the token may still be handed out.
    pub(super) fn usable_for(&self, now: Moment) -> Duration {
        self.remaining(now).saturating_sub(self.windows().margin)
    }

    /// Whether the wall clock ran ahead of the boot clock, and no flight has acted on that yet.
    pub(super) fn has_jumped(&self, now: Moment) -> bool {
        !self.wall_jump_handled && self.committed.token().wall_has_jumped(now)
    }
}
