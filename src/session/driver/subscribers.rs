//! The notices and log lines of a session for its subscribers.

use super::super::outcome::{FlightOutcome, FlightStats};
use super::super::rejection::ReportVerdict;
use super::State;
use crate::error::Error;
use crate::event::{Body, Level, Notice};
use crate::token::Fingerprint;

/// How many of the last reported tokens are remembered.
const MOST_REPORTED: usize = 8;

impl State {
    /// Delivers a notice, and removes subscribers that have ended.
    pub(super) fn notify(&mut self, notice: Notice) {
        if let Notice::CredentialsRejected(error) = &notice {
            self.log(Level::PG_LOG_ERROR, || format!("new credentials are needed: {error}"));
        }
        if let Some(work) = &mut self.work {
            work.subscribers.retain(|subscriber| subscriber.to.emit(Body::Notice(notice.clone())));
        }
    }

    pub(super) fn log(&mut self, level: Level, line: impl FnOnce() -> String) {
        let Some(work) = &mut self.work else { return };
        if work.subscribers.iter().any(|subscriber| level <= subscriber.level) {
            let line = line();
            work.subscribers.retain(|subscriber| {
                level > subscriber.level || subscriber.to.emit(Body::Log(level, line.clone()))
            });
        }
    }

    /// Logs one line per reported token. The number of its reports is logged later.
    pub(super) fn note_report(&mut self, refused: Fingerprint, verdict: ReportVerdict) {
        let reported = &mut self.work().reported;
        if let Some((_, times)) = reported.iter_mut().find(|(reported, _)| *reported == refused) {
            *times += 1;
            return;
        }
        if reported.len() == MOST_REPORTED {
            self.log_reports();
            self.work().reported.pop_front();
        }
        self.work().reported.push_back((refused, 1));
        self.log(Level::PG_LOG_WARN, || format!("the service refused the token {refused}: {verdict}"));
    }

    fn log_reports(&mut self) {
        let Some(work) = &mut self.work else { return };
        let many: Vec<_> = work.reported.iter().copied().filter(|(_, times)| *times > 1).collect();
        work.reported.iter_mut().for_each(|(_, times)| *times = 1);
        for (reported, times) in many {
            self.log(Level::PG_LOG_INFO, || format!("the token {reported} was reported {times} times"));
        }
    }

    /// Logs one line per error, even if many flights find the same one.
    pub(super) fn log_file_error(&mut self, error: Option<Error>) {
        let text = error.map(|error| error.text);
        if let Some(text) = text.as_ref().filter(|text| self.work().file_error.as_ref() != Some(*text)) {
            self.log(Level::PG_LOG_WARN, || {
                format!("a changed file is not used, its earlier content is: {text}")
            });
        }
        self.work().file_error = text;
    }

    pub(super) fn log_outcome(
        &mut self,
        FlightOutcome { result, stats, lost_answer, store_error, .. }: &FlightOutcome,
    ) {
        if stats.looked_only && result.is_err() {
            return;
        }
        self.log_reports();
        if let Some(error) = lost_answer {
            self.log(Level::PG_LOG_WARN, || format!("the answer to a refresh was lost: {error}"));
        }
        let FlightStats { refreshes, issues, adopted, .. } = stats;
        let calls = format!("{refreshes} refresh and {issues} issue calls");
        match result {
            Ok(committed) => {
                let (token, generation) = (committed.token(), committed.generation());
                let disagreement = token.lifetime.disagreement.as_secs();
                self.log(Level::PG_LOG_INFO, || {
                    let how = if *adopted { "adopted".to_owned() } else { format!("after {calls}") };
                    let (name, life) = (*token.fingerprint(), token.lifetime.length.as_secs());
                    format!("token {name} of generation {generation}, lifetime {life} s, {how}")
                });
                if let Some(error) = store_error {
                    self.log(Level::PG_LOG_WARN, || {
                        format!("token {} is private to this process: {error}", token.fingerprint())
                    });
                }
                if disagreement > 0 {
                    self.log(Level::PG_LOG_WARN, || {
                        format!("the service's statements of a token's lifetime differ by {disagreement} s: one of its clocks is wrong")
                    });
                }
                if let Some(remark) = token.lifetime.remark {
                    self.log(Level::PG_LOG_WARN, || format!("token {}: {remark}", token.fingerprint()));
                }
            }
            Err(error) => self.log(Level::PG_LOG_WARN, || format!("no new token after {calls}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::flights::tests::driver;
    use super::*;
    use crate::event::Operation;
    use crate::expiry::Lifetime;
    use crate::queue::Queue;
    use crate::secret::Secret;
    use crate::status::Status;
    use crate::store::{Committed, MemoryStore};
    use crate::token::Token;

    /// The log lines of a session to which this happens.
    fn lines_of(happens: impl FnOnce(&mut State)) -> Vec<String> {
        let (driver, queue) = (driver(MemoryStore::default()), Queue::default());
        driver.subscribe(queue.begin(7, Operation::Subscription).unwrap(), Level::PG_LOG_INFO);
        happens(&mut driver.state());
        let events = std::iter::from_fn(|| queue.poll(Duration::ZERO).unwrap());
        let line = |body| if let Body::Log(_, line) = body { Some(line) } else { None };
        events.filter_map(|event| line(event.body)).collect()
    }

    #[test]
    fn the_error_of_a_file_is_logged_once_each_time_that_it_begins() {
        let error = |text: &str| Some(Error::new(Status::PG_ERR_FILE_UNREADABLE, text));
        let lines = lines_of(|state| {
            for found in [error("one"), error("one"), error("other"), None, error("other")] {
                state.log_file_error(found);
            }
        });
        let ends: Vec<_> = lines.iter().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(ends, ["one", "other", "other"], "{lines:?}");
    }

    #[test]
    fn statements_of_a_lifetime_that_differ_are_logged() {
        for (disagreement, expected) in [(0, 0), (61, 1)] {
            let hour = Lifetime::of(Duration::from_secs(3600));
            let lifetime = Lifetime { disagreement: Duration::from_secs(disagreement), ..hour };
            let lines = lines_of(|state| {
                let now = crate::clock::Moment { boot: Duration::ZERO, wall: Duration::ZERO };
                let committed = Committed::private(Token::new(Secret::new("a").unwrap(), lifetime, now), 1);
                let crashed = FlightOutcome::crashed(Error::new(Status::PG_ERR_INTERNAL, "unused"));
                state.log_outcome(&FlightOutcome { result: Ok(committed), ..crashed });
            });
            let warnings = lines.iter().filter(|line| line.contains("differ by 61 s"));
            assert_eq!((lines.len(), warnings.count()), (1 + expected, expected), "{lines:?}");
        }
    }
}
