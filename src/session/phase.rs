//! The phases of an access token's life, computed from its remaining life. They are never stored.

use std::time::Duration;

use serde::Serialize;

use crate::expiry::Lifetime;

/// Where an access token is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Handed out from memory.
    Fresh,
    /// Still handed out at once, while one refresh runs in the background.
    Advisory,
    /// Callers wait for the refresh. If it fails in a way that may pass, they get the current token.
    Mandatory,
    /// No longer handed out: it could expire on its way to the service.
    Expired,
}

impl Phase {
    /// The phase in one word.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Fresh => "fresh",
            Phase::Advisory => "advisory",
            Phase::Mandatory => "mandatory",
            Phase::Expired => "expired",
        }
    }
}

/// How much life must remain for each phase. `margin <= mandatory`, and `advisory` may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// At or below: expired.
    pub margin: Duration,
    /// At or below: mandatory.
    pub mandatory: Duration,
    /// At or below: advisory.
    pub advisory: Duration,
    /// The shortest time between two successful refreshes, so that a wrong clock cannot cause a loop.
    pub floor: Duration,
    /// The lifetime; no token has more remaining life.
    pub length: Duration,
}

impl Windows {
    /// The windows of a lifetime. For an hour they are 30 s, 120 s and 720 s.
    pub fn of(lifetime: &Lifetime) -> Self {
        let seconds = Duration::from_secs;
        let length = lifetime.length;
        let margin = lifetime.margin();
        let mut mandatory = (length / 20).clamp(margin + seconds(10), seconds(120));
        let mut advisory = (length / 5).clamp(mandatory + seconds(30), seconds(900));
        if advisory >= length {
            advisory = length / 2;
            mandatory = margin.max(length / 4);
        }
        let floor = (length.saturating_sub(margin) / 2).min(seconds(30));
        Windows { margin, mandatory, advisory, floor, length }
    }

    /// The phase with `remaining` life.
    pub fn phase(&self, remaining: Duration) -> Phase {
        if remaining <= self.margin {
            Phase::Expired
        } else if remaining <= self.mandatory {
            Phase::Mandatory
        } else if remaining <= self.advisory {
            Phase::Advisory
        } else {
            Phase::Fresh
        }
    }

    /// Whether `remaining` satisfies a caller. A request that no token can satisfy is ignored: otherwise each call
    /// would start a refresh.
    pub fn suffices(&self, remaining: Duration, wanted: Duration) -> bool {
        remaining >= wanted || wanted > self.length
    }

    /// The remaining life at which the background refresh starts. The random `share` (0 to 1) of a third of the
    /// window is skipped; it is drawn per process and generation, so that a fleet does not refresh at the same time.
    pub fn background_at(&self, share: f64) -> Duration {
        self.advisory - (self.advisory / 3).mul_f64(share.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(seconds: u64) -> Windows {
        Windows::of(&Lifetime::of(Duration::from_secs(seconds)))
    }

    #[test]
    fn an_hour_has_the_documented_windows() {
        let hour = windows(3600);
        assert_eq!(
            [hour.margin, hour.mandatory, hour.advisory, hour.floor].map(|w| w.as_secs()),
            [30, 120, 720, 30]
        );
        for (remaining, phase) in [
            (3600, Phase::Fresh),
            (721, Phase::Fresh),
            (720, Phase::Advisory),
            (121, Phase::Advisory),
            (120, Phase::Mandatory),
            (31, Phase::Mandatory),
            (30, Phase::Expired),
            (0, Phase::Expired),
        ] {
            assert_eq!(hour.phase(Duration::from_secs(remaining)), phase, "{remaining}");
        }
    }

    #[test]
    fn other_lifetimes_have_windows_in_proportion_within_their_bounds() {
        // In milliseconds: margin, mandatory, advisory, floor.
        for (seconds, milliseconds) in [
            (86_400, [30_000, 120_000, 900_000, 30_000]),
            (600, [10_000, 30_000, 120_000, 30_000]),
            (60, [5_000, 15_000, 45_000, 27_500]),
            (40, [5_000, 10_000, 20_000, 17_500]),
            (12, [5_000, 5_000, 6_000, 3_500]),
        ] {
            let w = windows(seconds);
            assert_eq!(
                [w.margin, w.mandatory, w.advisory, w.floor].map(|w| w.as_millis()),
                milliseconds,
                "{seconds}"
            );
        }
    }

    #[test]
    fn a_demand_for_more_than_the_lifetime_is_ignored() {
        let hour = windows(3600);
        for (remaining, wanted, suffices) in
            [(3600, 3600, true), (3599, 3600, false), (0, 3601, true), (100, 99, true), (99, 100, false)]
        {
            let [remaining, wanted] = [remaining, wanted].map(Duration::from_secs);
            assert_eq!(hour.suffices(remaining, wanted), suffices, "{remaining:?} {wanted:?}");
        }
    }

    #[test]
    fn the_name_of_a_phase_is_its_name_in_json() {
        for phase in [Phase::Fresh, Phase::Advisory, Phase::Mandatory, Phase::Expired] {
            assert_eq!(serde_json::to_string(&phase).unwrap(), format!("\"{}\"", phase.name()));
        }
    }

    #[test]
    fn windows_of_every_usable_lifetime_are_ordered_and_leave_time_to_hand_out() {
        for seconds in 6..=86_400 {
            let w = windows(seconds);
            let length = Duration::from_secs(seconds);
            assert!(
                w.margin <= w.mandatory && w.mandatory < length && w.advisory < length,
                "{seconds}: {w:?}"
            );
            assert!(w.phase(length) <= Phase::Advisory, "a new token is handed out at once: {seconds} {w:?}");
            assert!(w.floor < length - w.margin, "{seconds}: {w:?}");
        }
    }

    #[test]
    fn the_background_refresh_starts_within_the_first_third_of_its_window() {
        let hour = windows(3600);
        assert_eq!(hour.background_at(0.0).as_secs(), 720);
        assert_eq!(hour.background_at(1.0).as_secs(), 480);
        assert_eq!(hour.background_at(7.0).as_secs(), 480);
    }
}
