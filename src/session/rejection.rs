//! Reports that the business API refused a token. A token that is refused young is replaced at once. While its
//! successors are refused young, too, there is a pause before each replacement, and no limit on their number.

use std::fmt;
use std::time::Duration;

use crate::expiry::Lifetime;

/// A token refused before this age, or before a quarter of its life, counts as refused young: it was never valid or
/// was revoked at once.
const YOUNG: Duration = Duration::from_secs(30);
/// The first and the longest pause between two replacements.
const REPLACEMENT_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The result of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportVerdict {
    /// The session already has a newer token.
    Newer,
    /// The token is withdrawn and is being replaced.
    Renewing,
    /// The tokens before this one were refused young, too. The token is still served; a report after the pause
    /// replaces it.
    RejectedFresh {
        /// How long the pause still lasts.
        retry_after: Duration,
    },
    /// The token is the session's static token. It is still served.
    Static,
}

impl fmt::Display for ReportVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReportVerdict::Newer => f.write_str("a newer token exists"),
            ReportVerdict::Renewing => f.write_str("it is being replaced"),
            ReportVerdict::RejectedFresh { retry_after } => write!(
                f,
                "it refused the tokens before it soon after their issue, too; the next one comes after {} ms",
                retry_after.as_millis()
            ),
            ReportVerdict::Static => f.write_str("it is a static token, which is never replaced"),
        }
    }
}

/// What is known about the current token from reports and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reports {
    /// The token was refused young.
    was_young: bool,
    /// The service has accepted the token.
    was_accepted: bool,
}

impl Reports {
    /// Processes a report of the token at this age. `refused_young`: how many tokens in a row before it were refused
    /// young. `share` (0 to 1) is drawn once per token. Never returns [`ReportVerdict::Newer`].
    pub fn judge(
        &mut self,
        age: Duration,
        lifetime: &Lifetime,
        refused_young: u32,
        share: f64,
    ) -> ReportVerdict {
        // The first refusal decides: a token reported again during the pause is still refused young.
        self.was_young |= age < YOUNG.min(lifetime.length / 4);
        let pause = replacement_pause(self.row(refused_young), share);
        match pause.checked_sub(age) {
            Some(retry_after) if self.was_young && !retry_after.is_zero() => {
                ReportVerdict::RejectedFresh { retry_after }
            }
            _ => ReportVerdict::Renewing,
        }
    }

    /// The service answered a request with the token, and the answer was not 401.
    pub fn accept(&mut self) {
        self.was_accepted = true;
    }

    /// The number of tokens refused young in a row if the token is replaced now. 0: this token was not refused young,
    /// and a Refresh suffices.
    pub fn next_row(&self, refused_young: u32) -> u32 {
        if self.was_young { self.row(refused_young).saturating_add(1) } else { 0 }
    }

    /// The tokens refused young in a row before this one. An accepted token begins a new row, at one if there was a
    /// row before: one part of an API may accept what another refuses, and from zero each refusal would replace the
    /// token at once.
    fn row(&self, refused_young: u32) -> u32 {
        if self.was_accepted { refused_young.min(1) } else { refused_young }
    }
}

/// The pause after `row` replacements in a row: 1 s, 2 s, 4 s … 60 s, plus up to a quarter at random.
pub fn replacement_pause(row: u32, share: f64) -> Duration {
    if row == 0 {
        return Duration::ZERO;
    }
    let doubled = REPLACEMENT_PAUSE
        .0
        .saturating_mul(1_u32.checked_shl(row - 1).unwrap_or(u32::MAX))
        .min(REPLACEMENT_PAUSE.1);
    doubled + (doubled / 4).mul_f64(share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: u64) -> Lifetime {
        Lifetime::of(Duration::from_secs(seconds))
    }

    fn judge(reports: &mut Reports, age: u64, refused_young: u32) -> ReportVerdict {
        reports.judge(Duration::from_secs(age), &of(3600), refused_young, 0.0)
    }

    fn refused_fresh(seconds: u64) -> ReportVerdict {
        ReportVerdict::RejectedFresh { retry_after: Duration::from_secs(seconds) }
    }

    #[test]
    fn an_old_token_and_the_first_young_one_are_replaced_at_once() {
        let mut old = Reports::default();
        assert_eq!((judge(&mut old, 40, 0), old.next_row(0)), (ReportVerdict::Renewing, 0));
        let mut young = Reports::default();
        assert_eq!((judge(&mut young, 5, 0), young.next_row(0)), (ReportVerdict::Renewing, 1));
    }

    #[test]
    fn young_is_at_most_a_quarter_of_a_life() {
        let brief = of(12);
        let mut reports = Reports::default();
        for age in [4, 3] {
            reports.judge(Duration::from_secs(age), &brief, 0, 0.0);
            assert_eq!(reports.next_row(0), 0);
        }
        reports.judge(Duration::from_secs(2), &brief, 0, 0.0);
        assert_eq!(reports.next_row(0), 1);
    }

    #[test]
    fn replacements_in_a_row_have_pauses_and_no_limit() {
        for (row, pause) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)] {
            let mut reports = Reports::default();
            assert_eq!(judge(&mut reports, 0, row), refused_fresh(pause), "{row}");
            assert_eq!(judge(&mut reports, pause - 1, row), refused_fresh(1), "{row}");
            assert_eq!(judge(&mut reports, pause, row), ReportVerdict::Renewing, "{row}");
            assert_eq!(reports.next_row(row), row.saturating_add(1));
        }
    }

    #[test]
    fn a_token_refused_only_when_old_ends_the_row() {
        let mut reports = Reports::default();
        assert_eq!((judge(&mut reports, 31, 9), reports.next_row(9)), (ReportVerdict::Renewing, 0));
    }

    #[test]
    fn an_accepted_token_begins_a_new_row() {
        let mut reports = Reports::default();
        reports.accept();
        assert_eq!((judge(&mut reports, 2, 9), reports.next_row(9)), (ReportVerdict::Renewing, 2));
        assert_eq!(judge(&mut reports, 0, 9), refused_fresh(1));
    }

    #[test]
    fn a_pause_is_at_most_a_quarter_longer() {
        assert_eq!(replacement_pause(1, 1.0), Duration::from_millis(1250));
        assert_eq!(replacement_pause(7, 7.0), Duration::from_secs(75));
    }

    #[test]
    fn each_verdict_says_what_becomes_of_the_token() {
        for (verdict, words) in [
            (ReportVerdict::Newer, "newer"),
            (ReportVerdict::Renewing, "is being replaced"),
            (refused_fresh(2), "after 2000 ms"),
            (ReportVerdict::Static, "never replaced"),
        ] {
            assert!(verdict.to_string().contains(words), "{verdict}");
        }
    }
}
