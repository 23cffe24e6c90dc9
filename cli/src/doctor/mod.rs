//! `doctor`: runs all checks, whatever the others found. Each says what is wrong and what to do.

mod check;
mod clock;
mod families;
mod files;
mod lifetime;
mod network;
mod proxy;
mod store;

use serde::Serialize;

use crate::Trouble;
use crate::arguments::DoctorArguments;
use crate::exit::Exit;
use crate::page::{Page, span};
use crate::settings::Settings;
use check::{Check, Verdict};

/// As wide as the longest name of a setting that is a file.
const WIDTH: usize = 20;

#[derive(Serialize)]
struct Report {
    checks: Vec<Check>,
    ok: usize,
    warnings: usize,
    failed: usize,
    not_run: usize,
}

pub(crate) fn run(
    arguments: &DoctorArguments,
    settings: &Settings,
    page: &mut Page,
) -> Result<Exit, Trouble> {
    let groups: [&dyn Fn() -> Vec<Check>; 4] =
        [&|| files::examine(settings), &clock::examine, &|| network::examine(settings), &|| {
            store::examine(settings, arguments.issue)
        }];
    let mut checks = Vec::new();
    for examine in groups {
        for check in examine() {
            if !arguments.json {
                page.verdict(check.result.shown(), check.name, WIDTH, &check.text)?;
            }
            checks.push(check);
        }
    }
    let count = |result| checks.iter().filter(|check| check.result == result).count();
    let report = Report {
        ok: count(Verdict::Ok),
        warnings: count(Verdict::Warning),
        failed: count(Verdict::Failed),
        not_run: count(Verdict::NotRun),
        checks,
    };
    if arguments.json {
        page.json(&report)?;
    } else {
        let Report { ok, warnings, failed, not_run, .. } = report;
        page.say(&format!("\n{ok} ok, {warnings} warnings, {failed} failed, {not_run} not run"))?;
    }
    let first = report.checks.iter().find(|check| check.result == Verdict::Failed);
    Ok(first.map_or(Exit::Done, |check| check.exit))
}
