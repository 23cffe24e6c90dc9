//! One entry for each call to an auth route, so that a test knows the caller and the reason of each; and the use of
//! each access token.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::call::Call;
use crate::route::Route;
use crate::token::fingerprint;

/// A call to an auth route, recorded when it ended. Tokens are named by fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was processed, or else when it arrived, by the emulator's clock.
    pub at_ms: u64,
    /// `issue` or `refresh`.
    pub route: Route,
    /// The caller's `User-Agent`.
    pub agent: String,
    /// The refresh token that it presented.
    pub presented: Option<String>,
    /// The access token of the pair that was made, whether or not the answer arrived.
    pub made: Option<String>,
    /// How it ended, as in the counters.
    pub outcome: String,
}

impl Entry {
    /// The entry of a call that has arrived; none for other routes.
    pub(crate) fn new(route: Route, call: &Call, now: u64) -> Option<Self> {
        matches!(route, Route::Issue | Route::Refresh).then(|| Self {
            at_ms: now,
            route,
            agent: call.header("user-agent").unwrap_or_default().into(),
            presented: call.refresh_token().map(|token| fingerprint(&token)),
            made: None,
            outcome: String::new(),
        })
    }

    pub(crate) fn acted(&mut self, answer: &Answer, now: u64) {
        self.at_ms = now;
        self.made = answer.body["access_token"].as_str().map(fingerprint);
    }
}

/// How the business routes answered an access token, by the emulator's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// When a call with it was first answered with anything but 401, by the caller's `User-Agent`.
    pub accepted_ms: BTreeMap<String, u64>,
    /// When a call with it was first answered with 401, by a fault or not.
    pub refused_ms: Option<u64>,
}

impl Use {
    /// Records how a caller's request with this token ended; a request without an answer does not count.
    pub(crate) fn ended(&mut self, agent: &str, outcome: &str, now: u64) {
        if outcome == "401" {
            self.refused_ms.get_or_insert(now);
        } else if outcome.parse::<u16>().is_ok() {
            self.accepted_ms.entry(agent.into()).or_insert(now);
        }
    }
}
