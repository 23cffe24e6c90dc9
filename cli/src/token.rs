//! `token`: prints a token that works, for another program.

use std::io::{self, Write};
use std::time::Duration;

use paymentsgate_auth::{Committed, Error, Inspection, Operator, Phase, Renewal, Windows};
use serde::Serialize;

use crate::arguments::{Need, TokenArguments};
use crate::exit::Exit;
use crate::page::{self, Color};
use crate::settings::Settings;
use crate::{Trouble, operator};

/// The output of `--json`; docs/command-line.md gives its keys.
#[derive(Serialize)]
struct Report<'a> {
    access_token: &'a str,
    fingerprint: String,
    generation: u64,
    seconds_left: u64,
}

pub(crate) fn run(arguments: &TokenArguments, settings: &Settings, color: Color) -> Result<Exit, Trouble> {
    let operator = open(settings, color)?;
    let committed = find_or_renew(&operator, &arguments.need, color)?;
    let access = committed.token().access.expose();
    let mut output = io::stdout().lock();
    if arguments.json {
        let report = Report {
            access_token: access,
            fingerprint: committed.token().fingerprint().to_string(),
            generation: committed.generation(),
            seconds_left: committed.token().remaining(operator.now()).as_secs(),
        };
        writeln!(output, "{}", serde_json::to_string_pretty(&report).map_err(io::Error::from)?)?;
    } else if arguments.header {
        writeln!(output, "Authorization: Bearer {access}")?;
    } else {
        writeln!(output, "{access}")?;
    }
    output.flush()?;
    Ok(Exit::Done)
}

/// A token for another program.
pub(crate) fn obtain(settings: &Settings, need: &Need, color: Color) -> Result<Committed, Error> {
    find_or_renew(&open(settings, color)?, need, color)
}

fn open(settings: &Settings, color: Color) -> Result<Operator, Error> {
    let operator = operator(settings)?;
    if settings.keeps_nothing() {
        page::warn(
            color,
            "store is memory:, so this token is saved nowhere and the next call obtains another one",
        );
    }
    Ok(operator)
}

/// The current token, if it is valid for long enough; otherwise a new one.
fn find_or_renew(operator: &Operator, need: &Need, color: Color) -> Result<Committed, Error> {
    let min_remaining = Duration::from_secs(need.min_remaining);
    // The flight reports problems of the store that matter.
    let found = operator.look().or_else(|error| match Exit::of(error.status) {
        Exit::Store => Ok(Inspection::default()),
        _ => Err(error),
    })?;
    let stored = found.loaded.committed.as_ref();
    let is_enough = |stored: &&Committed| {
        let token = stored.token();
        let (windows, remaining) = (Windows::of(&token.lifetime), token.remaining(operator.now()));
        // A caller that asks for a whole lifetime every second must not cause a new token every second.
        let is_new = windows.length.saturating_sub(remaining) < windows.floor;
        operator.phase(stored) < Phase::Mandatory && (is_new || windows.suffices(remaining, min_remaining))
    };
    if let Some(stored) = stored.filter(is_enough) {
        return Ok(stored.clone());
    }
    let outcome = operator.renew(&found, Renewal::Due, need.patience.timeout());
    let error = match outcome.map(|outcome| (outcome.result, outcome.store_error)) {
        Ok((Ok(committed), store_error)) => {
            if let Some(error) = store_error {
                page::warn(color, &format!("this token is saved nowhere: {error}"));
            }
            return Ok(committed);
        }
        Ok((Err(error), _)) | Err(error) => error,
    };
    // It is valid for a shorter time than requested, but it works.
    if let Some(stored) = stored.filter(|stored| operator.phase(stored) < Phase::Expired) {
        let left = page::span(stored.token().remaining(operator.now()));
        page::warn(color, &format!("no new token; this is the old one, with {left} left: {error}"));
        return Ok(stored.clone());
    }
    Err(error)
}
