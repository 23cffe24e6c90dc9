//! `status`: shows what the store holds, without a lock and without a call to the service.

use std::time::Duration;

use anstyle::Style;
use paymentsgate_auth::{Committed, Error, Form, Inspection, Operator, Phase, Refusal};
use serde::Serialize;

use crate::arguments::StatusArguments;
use crate::exit::Exit;
use crate::page::{BAD, DOUBTFUL, GOOD, PLAIN, Page, span};
use crate::settings::Settings;
use crate::{Trouble, operator};

/// Credentials that were refused this number of times count as rejected.
const REJECTED: usize = 3;
const WIDTH: usize = 13;

pub(crate) fn run(
    arguments: &StatusArguments,
    settings: &Settings,
    page: &mut Page,
) -> Result<Exit, Trouble> {
    let looked = operator(settings).and_then(|operator| {
        let found = operator.look()?;
        Ok(Report::new(&operator, found))
    });
    match looked {
        Ok(report) => {
            if arguments.json {
                page.json(&report)?
            } else {
                report.print(page)?
            }
            Ok(report.state.exit())
        }
        Err(error) => {
            if arguments.json {
                page.json(&Failure::new(&error))?;
            }
            Err(error.into())
        }
    }
}

/// The JSON output if there is no report.
#[derive(Serialize)]
struct Failure<'a> {
    state: &'static str,
    error: FailureText<'a>,
}

#[derive(Serialize)]
struct FailureText<'a> {
    status: String,
    text: &'a str,
}

impl<'a> Failure<'a> {
    fn new(error: &'a Error) -> Self {
        let error = FailureText { status: format!("{:?}", error.status), text: &error.text };
        Failure { state: "unknown", error }
    }
}

/// The state in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Usable,
    Expired,
    Refused,
    None,
}

impl State {
    fn exit(self) -> Exit {
        match self {
            State::Usable => Exit::Done,
            State::Expired => Exit::Expired,
            State::Refused => Exit::Refused,
            State::None => Exit::NoSession,
        }
    }
}

/// What the store holds; its JSON form is in docs/command-line.md.
#[derive(Serialize)]
struct Report {
    state: State,
    /// `fresh`, `advisory`, `mandatory` or `expired`.
    phase: Option<&'static str>,
    generation: Option<u64>,
    fingerprint: Option<String>,
    seconds_left: Option<u64>,
    has_refresh_token: bool,
    intent: Option<Intent>,
    cooling: Option<Cooling>,
    place: String,
    /// `plain`, `sealed` or `broken`.
    form: Option<&'static str>,
    warning: Option<String>,
}

#[derive(Serialize)]
struct Intent {
    pid: u32,
    seconds_ago: Option<u64>,
}

#[derive(Serialize)]
struct Cooling {
    strikes: usize,
    is_rejected: bool,
    code: Option<String>,
    http_status: Option<u16>,
    seconds_left: u64,
}

impl Report {
    fn new(operator: &Operator, found: Inspection) -> Self {
        let now = operator.now();
        let stored = found.loaded.committed.as_ref();
        let phase = stored.map(|stored| operator.phase(stored));
        let cooling = found.loaded.back_off.filter(|refusal| refusal.until > now.boot);
        let state = match (phase, &cooling) {
            (Some(phase), _) if phase < Phase::Expired => State::Usable,
            (_, Some(_)) => State::Refused,
            (Some(_), None) => State::Expired,
            (None, None) => State::None,
        };
        Report {
            state,
            phase: phase.map(Phase::name),
            generation: stored.map(Committed::generation),
            fingerprint: stored.map(|stored| stored.token().fingerprint().to_string()),
            seconds_left: stored.map(|stored| stored.token().remaining(now).as_secs()),
            has_refresh_token: stored.is_some_and(|stored| stored.has_refresh),
            intent: found
                .intent
                .map(|claim| Intent { pid: claim.pid, seconds_ago: claim.age.map(|age| age.as_secs()) }),
            cooling: cooling.map(|refusal| Cooling::new(refusal, now.boot)),
            place: found.store_name,
            form: found.form.map(|form| match form {
                Form::Plain => "plain",
                Form::Sealed => "sealed",
                Form::Broken => "broken",
            }),
            warning: operator.warning(),
        }
    }

    fn print(&self, page: &mut Page) -> std::io::Result<()> {
        let (style, text) = self.session();
        page.row("session", WIDTH, style, &text)?;
        if let (Some(fingerprint), Some(generation)) = (&self.fingerprint, self.generation) {
            page.row("token", WIDTH, PLAIN, &format!("{fingerprint}, generation {generation}"))?;
            let (style, text) = self.refresh_token();
            page.row("refresh token", WIDTH, style, &text)?;
        }
        if let Some(cooling) = &self.cooling {
            page.row("credentials", WIDTH, BAD, &cooling.text())?;
        }
        let form = match self.form {
            None => "no record".to_owned(),
            Some("broken") => "broken; the next login replaces it".to_owned(),
            Some(form) => form.to_owned(),
        };
        page.row("place", WIDTH, PLAIN, &format!("{} ({form})", self.place))?;
        self.warning.iter().try_for_each(|warning| page.row("warning", WIDTH, DOUBTFUL, warning))
    }

    fn session(&self) -> (Style, String) {
        let left = span(Duration::from_secs(self.seconds_left.unwrap_or(0)));
        match (self.state, self.phase) {
            (State::Usable, Some("fresh")) => (GOOD, format!("fresh, {left} left")),
            (State::Usable, phase) => {
                let phase = phase.unwrap_or_default();
                (DOUBTFUL, format!("{phase}, {left} left; the next `token` may refresh it"))
            }
            (State::Expired, _) if self.has_refresh_token => {
                (DOUBTFUL, "expired; the next `token` refreshes it".into())
            }
            (State::Expired, _) => (DOUBTFUL, "expired; the next `token` logs in again".into()),
            (State::Refused, _) => (BAD, "no token works, and the credentials were refused".into()),
            (State::None, _) if self.place == "memory:" => {
                (DOUBTFUL, "none here: a store of memory: is seen by its own process alone".into())
            }
            (State::None, _) => (DOUBTFUL, "none; `paymentsgate-auth login` obtains one".into()),
        }
    }

    fn refresh_token(&self) -> (Style, String) {
        match &self.intent {
            None if self.has_refresh_token => (PLAIN, "saved".into()),
            None => (PLAIN, "none; the next token is obtained with the credentials".into()),
            Some(Intent { pid, seconds_ago }) => {
                let ago =
                    seconds_ago.map_or("some time".into(), |seconds| span(Duration::from_secs(seconds)));
                let text = format!(
                    "taken by process {pid} {ago} ago, which has not recorded the result; it is not presented again"
                );
                (DOUBTFUL, text)
            }
        }
    }
}

impl Cooling {
    fn new(Refusal { strikes, until, error }: Refusal, boot: Duration) -> Self {
        Cooling {
            strikes,
            is_rejected: strikes >= REJECTED,
            code: error.server.and_then(|server| server.code),
            http_status: error.http_status,
            seconds_left: until.saturating_sub(boot).as_secs(),
        }
    }

    fn text(&self) -> String {
        let left = span(Duration::from_secs(self.seconds_left));
        if self.strikes == 0 {
            let status = self.http_status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
            return format!(
                "not refused, but the service{status} is not called for {left}; `login --force` calls it now"
            );
        }
        let what = if self.is_rejected { "rejected" } else { "refused" };
        let times = if self.strikes == 1 { "once".into() } else { format!("{} times", self.strikes) };
        let code = self.code.as_deref().unwrap_or("no code");
        let status = self.http_status.map(|status| format!(", HTTP {status}")).unwrap_or_default();
        format!("{what} {times} ({code}{status}); not tried again for {left}; `login --force` tries them now")
    }
}
