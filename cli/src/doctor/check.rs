//! A check and its result.

use anstyle::Style;
use paymentsgate_auth::Error;
use serde::Serialize;

use crate::exit::Exit;
use crate::page::{BAD, DOUBTFUL, GOOD, QUIET, with_options};

/// What was checked, and what was found.
#[derive(Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) result: Verdict,
    /// What was found, and what to do.
    pub(super) text: String,
    /// The exit code of the command if this is the first check that fails.
    #[serde(skip)]
    pub(super) exit: Exit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Ok,
    Warning,
    Failed,
    NotRun,
}

impl Verdict {
    /// The result as a word, and its colour.
    pub(super) fn shown(self) -> (&'static str, Style) {
        match self {
            Verdict::Ok => ("ok", GOOD),
            Verdict::Warning => ("warning", DOUBTFUL),
            Verdict::Failed => ("failed", BAD),
            Verdict::NotRun => ("not run", QUIET),
        }
    }
}

impl Check {
    pub(super) fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Check { name, result: Verdict::Ok, text: text.into(), exit: Exit::Done }
    }

    pub(super) fn warning(name: &'static str, text: impl Into<String>) -> Self {
        Check { result: Verdict::Warning, ..Check::ok(name, text) }
    }

    /// An earlier check failed, or it was not requested.
    pub(super) fn not_run(name: &'static str, why: impl Into<String>) -> Self {
        Check { result: Verdict::NotRun, ..Check::ok(name, why) }
    }

    pub(super) fn failed(name: &'static str, exit: Exit, text: impl Into<String>) -> Self {
        Check { result: Verdict::Failed, exit, ..Check::ok(name, text) }
    }

    pub(super) fn failed_by(name: &'static str, error: &Error) -> Self {
        Check::failed(name, Exit::of(error.status), with_options(error))
    }
}
