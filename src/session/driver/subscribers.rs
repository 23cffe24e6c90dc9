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

    fn committed(lifetime: Lifetime) -> Committed {
        let now = crate::clock::Moment { boot: Duration::ZERO, wall: Duration::ZERO };
        Committed::private(Token::new(Secret::new("a").unwrap(), lifetime, now), 1)
    }

    fn fingerprint(number: usize) -> Fingerprint {
        Fingerprint::of(&Secret::new(&format!("a{number}")).unwrap())
    }

    #[test]
    fn a_line_goes_to_each_subscriber_whose_level_has_it() {
        let (driver, queue) = (driver(MemoryStore::default()), Queue::default());
        let levels = [Level::PG_LOG_NONE, Level::PG_LOG_ERROR, Level::PG_LOG_WARN, Level::PG_LOG_INFO];
        for level in levels {
            driver.subscribe(queue.begin(level as u64, Operation::Subscription).unwrap(), level);
        }
        let mut made = 0;
        for (level, expected) in [
            (Level::PG_LOG_WARN, &[2, 3][..]),
            (Level::PG_LOG_ERROR, &[1, 2, 3]),
            (Level::PG_LOG_DEBUG, &[]),
            (Level::PG_LOG_INFO, &[3]),
        ] {
            driver.state().log(level, || {
                made += 1;
                "line".into()
            });
            let events: Vec<_> = std::iter::from_fn(|| queue.poll(Duration::ZERO).unwrap()).collect();
            let ends: Vec<_> = events.iter().map(|event| event.id).collect();
            assert_eq!(ends, expected, "{level:?}");
        }
        assert_eq!(made, 3, "a line that nobody reads is not made");
    }

    #[test]
    fn reports_are_counted_for_the_last_eight_tokens() {
        let lines = lines_of(|state| {
            let mut report = |number| state.note_report(fingerprint(number), ReportVerdict::Newer);
            (0..3).for_each(|_| report(0));
            (1..8).for_each(&mut report);
            // They are all known. One of them has been reported only once.
            (0..7).for_each(&mut report);
            // This one takes the place of the first, and the counts begin again.
            report(8);
            (1..9).for_each(&mut report);
            report(0);
        });
        let times = |number: usize, times: u64| {
            format!("the token {} was reported {times} times", fingerprint(number))
        };
        let refused = |number: usize| format!("the service refused the token {}: ", fingerprint(number));
        let mut expected: Vec<_> = (0..8).map(refused).collect();
        expected.push(times(0, 4));
        expected.extend((1..7).map(|number| times(number, 2)));
        expected.push(refused(8));
        expected.extend((1..9).map(|number| times(number, 2)));
        expected.push(refused(0));
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.starts_with(&expected), "{expected}: {lines:?}");
        }
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
    fn the_end_of_a_flight_is_logged_unless_it_only_looked_and_failed() {
        for (looked_only, is_err, expected) in [
            (false, true, "no new token after"),
            (false, false, "token "),
            (true, true, ""),
            (true, false, "token "),
        ] {
            let mut outcome = FlightOutcome::crashed(Error::new(Status::PG_ERR_STORE, "the store is down"));
            outcome.stats.looked_only = looked_only;
            if !is_err {
                outcome.result = Ok(committed(Lifetime::of(Duration::from_secs(3600))));
            }
            let lines = lines_of(|state| state.log_outcome(&outcome));
            assert_eq!(lines.len(), usize::from(!expected.is_empty()), "{lines:?}");
            assert!(lines.iter().all(|line| line.starts_with(expected)), "{expected}: {lines:?}");
        }
    }

    #[test]
    fn statements_of_a_lifetime_that_differ_are_logged() {
        for (disagreement, expected) in [(0, 0), (61, 1)] {
            let hour = Lifetime::of(Duration::from_secs(3600));
            let lifetime = Lifetime { disagreement: Duration::from_secs(disagreement), ..hour };
            let lines = lines_of(|state| {
                let crashed = FlightOutcome::crashed(Error::new(Status::PG_ERR_INTERNAL, "unused"));
                state.log_outcome(&FlightOutcome { result: Ok(committed(lifetime)), ..crashed });
            });
            let warnings = lines.iter().filter(|line| line.contains("differ by 61 s"));
            assert_eq!((lines.len(), warnings.count()), (1 + expected, expected), "{lines:?}");
        }
    }
}
