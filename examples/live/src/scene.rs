//! The state to show at one moment.

use std::time::Duration;

use paymentsgate_auth::Health;

use crate::story::END;

/// A line about something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// The source of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An incident of the story.
    Story,
    /// The session's log.
    Log,
    /// A warning in the session's log.
    Warning,
}

#[derive(Debug)]
pub(crate) struct Scene {
    /// The time since the start.
    pub(crate) now: Duration,
    pub(crate) health: Health,
    /// The whole lifetime of a token.
    pub(crate) lifetime: Duration,
    pub(crate) is_network_up: bool,
    /// Tokens that callers got.
    pub(crate) tokens: u64,
    /// Requests of callers that the service answered.
    pub(crate) answered: u64,
    /// Requests without an answer, because the network was down.
    pub(crate) unreached: u64,
    /// Callers that got no token, or one that did not work.
    pub(crate) outages: u64,
    /// Calls that reached the service.
    pub(crate) issues: u64,
    pub(crate) refreshes: u64,
    /// The highest number of times that a refresh token was presented.
    pub(crate) most_presentations: u64,
    pub(crate) lines: Vec<Line>,
}

impl Scene {
    pub(crate) fn is_over(&self) -> bool {
        self.now >= END
    }

    /// Every caller got a token, and no refresh token was presented twice.
    pub(crate) fn is_good(&self) -> bool {
        self.outages == 0 && self.most_presentations <= 1
    }

    pub(crate) fn summary(&self) -> String {
        let Scene { tokens, answered, unreached, outages, issues, refreshes, most_presentations, .. } = self;
        let minutes = self.now.as_secs() / 60;
        format!(
            "{minutes} minutes: {tokens} tokens returned, {outages} outages; {answered} requests answered, {unreached} not \
             answered while the network was down.\nThe service got {issues} issue and {refreshes} refresh calls, and no refresh \
             token more than {most_presentations} time."
        )
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        use paymentsgate_auth::{Counters, Phase};
        let line = |minutes: u64, kind, text: &str| Line {
            at: Duration::from_secs(60 * minutes),
            kind,
            text: text.into(),
        };
        Scene {
            now: Duration::from_secs(56 * 60 + 15),
            health: Health {
                phase: Phase::Advisory,
                generation: 2,
                fingerprint: Some("00112233445566aa".into()),
                seconds_left: 705,
                has_refresh_token: true,
                refreshing: true,
                obstacle: None,
                obstacle_seconds_left: None,
                last_refresh: None,
                clock_skew_seconds: Some(0),
                lifetime_disagreement_seconds: 0,
                last_error: None,
                refused_young: 0,
                replacement_seconds_left: None,
                lifetime_remark: None,
                file_error: None,
                store_error: None,
                counters: Counters::default(),
            },
            lifetime: Duration::from_secs(3600),
            is_network_up: true,
            tokens: 675,
            answered: 615,
            unreached: 60,
            outages: 0,
            issues: 1,
            refreshes: 1,
            most_presentations: 1,
            lines: vec![
                line(8, Kind::Story, "the service revokes the token"),
                line(8, Kind::Warning, "the service refused the token"),
                line(9, Kind::Log, "token of generation 2"),
            ],
        }
    }
}
