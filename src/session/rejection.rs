//! Reports that the business API refused a token. One report renews the token; a service that refuses what it
//! has just issued is not asked again and again.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::clock::Moment;

/// A token refused at this age was never good.
const FRESH: Duration = Duration::from_secs(30);
/// So many of them within so long open the breaker.
const BREAKER_COUNT: usize = 3;
const BREAKER_WINDOW: Duration = Duration::from_secs(5 * 60);
/// How long the breaker stays open at first and at most.
const BREAKER_OPEN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));

/// What a report came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is a newer token already.
    Newer,
    /// The token is withdrawn and a successor is on its way.
    Renewing,
    /// The successor of a token that was refused when new is refused when new: another one would not help. The
    /// token goes on being served.
    RejectedFresh,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Newer => "there is a newer one",
            Verdict::Renewing => "it is being replaced",
            Verdict::RejectedFresh => "so was its predecessor when new, another one would not help",
        })
    }
}

/// The memory of reports.
#[derive(Debug, Default)]
pub struct Rejections {
    /// The token there is was issued because its predecessor was refused when new.
    successor_of_fresh: bool,
    /// The next successor must come from Issue.
    wants_issue: bool,
    /// The last time that a token was refused when new.
    refused_at: Duration,
    rejected_fresh: VecDeque<Duration>,
    open_until: Duration,
    open_for: Duration,
}

impl Rejections {
    /// A report of the token there is, which is as old as `age`.
    pub fn judge(&mut self, age: Duration, now: Moment) -> Verdict {
        if now.boot < self.open_until {
            return Verdict::RejectedFresh;
        }
        if age >= FRESH {
            self.successor_of_fresh = false;
            // While the breaker was open the token grew old: only a time without refusals makes good.
            if now.boot.saturating_sub(self.open_until) > BREAKER_WINDOW {
                self.open_for = Duration::ZERO;
            }
            return Verdict::Renewing;
        }
        if !self.successor_of_fresh {
            (self.wants_issue, self.refused_at) = (true, now.boot);
            return Verdict::Renewing;
        }
        self.rejected_fresh.push_back(now.boot);
        self.rejected_fresh.retain(|at| now.boot.saturating_sub(*at) <= BREAKER_WINDOW);
        if self.rejected_fresh.len() >= BREAKER_COUNT {
            self.rejected_fresh.clear();
            self.open_for = (self.open_for * 2).clamp(BREAKER_OPEN.0, BREAKER_OPEN.1);
            self.open_until = now.boot.saturating_add(self.open_for);
        }
        Verdict::RejectedFresh
    }

    /// A successor is there, born at that time on the boot clock. One that others had before proves nothing.
    pub fn renewed(&mut self, born: Duration) {
        self.successor_of_fresh = std::mem::take(&mut self.wants_issue) && born >= self.refused_at;
    }

    /// Whether the refresh token is left alone for the next successor.
    pub fn wants_issue(&self) -> bool {
        self.wants_issue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment { boot: Duration::from_secs(seconds), wall: Duration::ZERO }
    }

    const NEW: Duration = Duration::from_secs(5);
    const OLD: Duration = Duration::from_secs(40);

    #[test]
    fn a_token_refused_when_new_gets_one_issue() {
        let mut rejections = Rejections::default();
        assert_eq!(rejections.judge(OLD, at(0)), Verdict::Renewing);
        assert!(!rejections.wants_issue());
        rejections.renewed(at(0).boot);
        assert_eq!(rejections.judge(NEW, at(5)), Verdict::Renewing);
        assert!(rejections.wants_issue());
        rejections.renewed(at(5).boot);
        assert_eq!(rejections.judge(NEW, at(10)), Verdict::RejectedFresh);
    }

    #[test]
    fn a_successor_that_others_had_before_the_refusal_is_not_the_last_try() {
        let mut rejections = Rejections::default();
        assert_eq!(rejections.judge(NEW, at(5)), Verdict::Renewing);
        rejections.renewed(at(3).boot);
        assert_eq!(rejections.judge(NEW, at(6)), Verdict::Renewing);
        assert!(rejections.wants_issue());
    }

    #[test]
    fn three_of_those_open_the_breaker_which_doubles() {
        let mut rejections = Rejections { successor_of_fresh: true, ..Rejections::default() };
        for seconds in [1, 2, 3] {
            assert_eq!(rejections.judge(NEW, at(seconds)), Verdict::RejectedFresh);
        }
        assert_eq!(rejections.judge(OLD, at(62)), Verdict::RejectedFresh, "open for 60 s");
        for seconds in [64, 65, 66] {
            assert_eq!(rejections.judge(NEW, at(seconds)), Verdict::RejectedFresh);
        }
        assert_eq!(rejections.judge(OLD, at(66 + 119)), Verdict::RejectedFresh, "open for 120 s");
        assert_eq!(rejections.judge(OLD, at(66 + 121)), Verdict::Renewing);
    }

    #[test]
    fn far_apart_they_do_not_add_up() {
        let mut rejections = Rejections { successor_of_fresh: true, ..Rejections::default() };
        for seconds in [0, 400, 800, 1200] {
            assert_eq!(rejections.judge(NEW, at(seconds)), Verdict::RejectedFresh);
        }
        assert_eq!(rejections.judge(OLD, at(1201)), Verdict::Renewing);
    }
}
