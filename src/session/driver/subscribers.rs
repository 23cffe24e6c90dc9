//! What a session tells its subscribers: news, and lines of its log.

use super::super::outcome::{FlightOutcome, FlightStats};
use super::super::rejection::ReportVerdict;
use super::State;
use crate::error::Error;
use crate::event::{Body, Level, Notice};
use crate::token::Fingerprint;

/// So many of the tokens that were reported last are remembered.
const MOST_REPORTED: usize = 8;

impl State {
    /// Who does not listen any more is forgotten.
    pub(super) fn notify(&mut self, notice: Notice) {
        if let Notice::CredentialsRejected(error) = &notice {
            self.log(Level::PG_LOG_ERROR, || format!("other credentials are wanted: {error}"));
        }
        self.subscribers.retain(|subscriber| subscriber.to.emit(Body::Notice(notice.clone())));
    }

    pub(super) fn log(&mut self, level: Level, line: impl FnOnce() -> String) {
        if self.subscribers.iter().any(|subscriber| level <= subscriber.level) {
            let line = line();
            self.subscribers.retain(|subscriber| {
                level > subscriber.level || subscriber.to.emit(Body::Log(level, line.clone()))
            });
        }
    }

    /// One line for each token, however many report it; then how many did.
    pub(super) fn note_report(&mut self, refused: Fingerprint, verdict: ReportVerdict) {
        if let Some((_, times)) = self.reported.iter_mut().find(|(reported, _)| *reported == refused) {
            *times += 1;
            return;
        }
        if self.reported.len() == MOST_REPORTED {
            self.log_reports();
            self.reported.pop_front();
        }
        self.reported.push_back((refused, 1));
        self.log(Level::PG_LOG_WARN, || format!("the service refused the token {refused}: {verdict}"));
    }

    fn log_reports(&mut self) {
        let many: Vec<_> = self.reported.iter().copied().filter(|(_, times)| *times > 1).collect();
        self.reported.iter_mut().for_each(|(_, times)| *times = 1);
        for (reported, times) in many {
            self.log(Level::PG_LOG_INFO, || format!("the token {reported} was reported {times} times"));
        }
    }

    /// One line for each trouble, however many flights find it.
    pub(super) fn log_file_trouble(&mut self, trouble: Option<Error>) {
        let text = trouble.map(|error| error.text);
        if let Some(text) = text.as_ref().filter(|text| self.file_error.as_ref() != Some(*text)) {
            self.log(Level::PG_LOG_WARN, || format!("what a file held before goes on: {text}"));
        }
        self.file_error = text;
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
                    format!("token {name} of generation {generation}, which lives for {life} s, {how}")
                });
                if let Some(error) = store_error {
                    self.log(Level::PG_LOG_WARN, || {
                        format!("token {} is this process's own: {error}", token.fingerprint())
                    });
                }
                if disagreement > 0 {
                    self.log(Level::PG_LOG_WARN, || {
                        format!("what the service says of a token's life is {disagreement} s apart: one of its clocks is wrong")
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
