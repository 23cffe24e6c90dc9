//! The oracle: judges every business call of a history by invariant 6, and the history by what must never happen.
//!
//! A call that starts when everything has been healthy for two seconds succeeds. What excuses a failure is computed from
//! the journal of the emulator, call by call:
//! - `retry-after`: the service asked for a pause that is not over;
//! - `refused`: it refused the credentials, and the pause after that many refusals in a row is not over;
//! - `young`: it refused several new tokens in a row, and the pause since the last replacement is not over. If another
//!   process has replaced it, the session has one second to find that;
//! - `pair lost`: of a session from a pair alone, the service refused the refresh token, or two answers to it may have been
//!   lost: broken by the emulator or cut off by the network. The call must report that at once.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use paymentsgate_auth::clock::{Clock, SystemClock};
use pg_sandbox::{Entry, Rotation, Route, Sandbox};

use crate::clock::now;
use crate::history::History;
use crate::incidents::{Incident, StoreKind};
use crate::user::{Call, How, Told};

/// The deadline of a judged call: half of the default of a request.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);
/// How long everything must have been healthy.
pub(crate) const HEALTHY: Duration = Duration::from_secs(2);
/// How long after its deadline a call may end on a busy machine.
pub(crate) const SLACK: Duration = Duration::from_secs(2);
/// The pauses after refusals of credentials that have worked before, and of those that have not.
const WORKED: [u64; 5] = [1, 5, 30, 120, 900];
const UNTRIED: [u64; 3] = [30, 120, 900];
const SECOND: Duration = Duration::from_secs(1);
/// The longest time in which a flight that met a disturbed store obtains its pair.
const UNSHARED: Duration = Duration::from_secs(10);
const LOST: &str = "pair lost";

/// The timeout of a session from a pair. While a Refresh hangs nothing else can be tried, and the default timeout is
/// three times as long as a call here waits. It is longer than the detection of a lost HTTP/2 connection takes, so that
/// the second presentation does not use the lost connection.
pub(crate) const REFRESH_TIMEOUT_MS: u64 = 10_000;

/// For some time, the service answers with a pause.
pub(crate) struct Asked {
    pub(crate) route: Route,
    pub(crate) from: Duration,
    pub(crate) to: Option<Duration>,
    pub(crate) wait: Duration,
}

/// The events so far, by the boot clock of the machine.
pub(crate) struct Past {
    began: Duration,
    /// How far the wall clock is ahead of the boot clock.
    wall: Duration,
    disturbances: Vec<(Duration, Duration)>,
    pub(crate) asked: Vec<Asked>,
    /// When the network may have lost running calls.
    pub(crate) cuts: Vec<Duration>,
    pub(crate) service_steps: Vec<(Duration, Duration)>,
    pub(crate) library_steps: Vec<(Duration, Duration)>,
    notes: Vec<(Duration, String)>,
}

/// The result of a history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) calls: u64,
    /// Calls by the way in which they waited.
    pub(crate) judged: BTreeMap<How, u64>,
    /// Calls that are not judged, since the machine did not run the process for half a second.
    pub(crate) late: u64,
    pub(crate) excused: BTreeMap<&'static str, u64>,
    pub(crate) failures: Vec<String>,
    /// How much longer the last obstacle lasts.
    pub(crate) obstacle: Option<Duration>,
    /// The last events before the first failure.
    pub(crate) story: String,
}

/// Why a call may fail.
#[derive(Debug)]
struct Obstacle {
    why: &'static str,
    /// The process that it applies to; `None`: all.
    agent: Option<String>,
    from: Duration,
    /// By the clock of the library.
    until: Duration,
    /// When a new pair ended it.
    over: Option<Duration>,
}

impl Past {
    pub(crate) fn new() -> Self {
        let now = SystemClock.now();
        Past {
            began: now.boot,
            wall: now.wall - now.boot,
            disturbances: Vec::new(),
            asked: Vec::new(),
            cuts: Vec::new(),
            service_steps: Vec::new(),
            library_steps: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn note(&mut self, line: String) {
        self.notes.push((now(), line));
    }

    pub(crate) fn disturbed(&mut self, from: Duration, to: Duration) {
        self.disturbances.push((from, to));
    }

    pub(crate) fn ended(&mut self, incident: &Incident, from: Duration, to: Duration) {
        self.disturbed(from, to + incident.lingers());
    }

    /// The service no longer asks for pauses on this route.
    pub(crate) fn answered(&mut self, route: Route) {
        if let Some(asked) = self.asked.iter_mut().find(|asked| asked.route == route && asked.to.is_none()) {
            asked.to = Some(now());
        }
    }

    fn library_time(&self, at: Duration) -> Duration {
        at + self.library_steps.iter().filter(|(when, _)| *when <= at).map(|(_, by)| *by).sum::<Duration>()
    }

    /// The time of an entry by the boot clock of the machine.
    fn real_time(&self, at_ms: u64) -> Duration {
        let mut at = Duration::from_millis(at_ms).saturating_sub(self.wall);
        for (when, by) in &self.service_steps {
            if at >= *when + *by {
                at -= *by;
            }
        }
        at
    }
}

impl Report {
    pub(crate) fn is_good(&self) -> bool {
        self.failures.is_empty()
    }
}

pub(crate) fn judge(history: &History, past: &Past, told: &Told, sandbox: &Sandbox) -> Report {
    let mut report = Report { calls: told.calls.len() as u64, ..Report::default() };
    let journal = sandbox.journal();
    let obstacles = obstacles(history, past, &journal, sandbox);
    let overlaps = |ranges: &[(Duration, Duration)], call: &Call, after: Duration| {
        ranges.iter().any(|(from, to)| *from < call.to && *to + after > call.from)
    };
    let mut failed = Vec::new();
    for call in &told.calls {
        let is_late = overlaps(&told.late, call, Duration::ZERO);
        if call.to - call.from > call.deadline + SLACK && !is_late {
            failed.push((call, "ended after its deadline"));
        }
        if call.deadline != DEADLINE || overlaps(&past.disturbances, call, HEALTHY) {
            continue;
        }
        if is_late {
            report.late += 1;
            continue;
        }
        *report.judged.entry(call.how).or_default() += 1;
        if call.is_good() {
            continue;
        }
        match obstacles.iter().find(|obstacle| obstacle.excuses(call, past)) {
            Some(obstacle) => *report.excused.entry(obstacle.why).or_default() += 1,
            None => failed.push((call, "failed without an excuse")),
        }
    }
    let shown = |call: &Call, why: &str| {
        let (at, took) = ((call.from - past.began).as_millis(), (call.to - call.from).as_millis());
        format!("{at} ms: a call of {} ({:?}) {why} after {took} ms: {}", call.agent, call.how, call.outcome)
    };
    report.failures = failed.iter().map(|(call, why)| shown(call, why)).collect();
    report.failures.extend(broken(history, past, told, &journal));
    let (here, there) = (now(), past.library_time(now()));
    let ahead = obstacles
        .iter()
        .filter(|obstacle| obstacle.why != LOST && obstacle.over.is_none() && obstacle.from < here);
    report.obstacle =
        ahead.map(|obstacle| obstacle.until.saturating_sub(there)).max().filter(|left| !left.is_zero());
    if !report.is_good() {
        let end = failed.first().map_or(here, |(call, _)| call.to);
        report.story = story(past, told, &journal, end);
    }
    report
}

impl Obstacle {
    fn excuses(&self, call: &Call, past: &Past) -> bool {
        self.agent.as_ref().is_none_or(|agent| *agent == call.agent)
            && self.from <= call.to
            && self.over.is_none_or(|over| call.from <= over)
            && past.library_time(call.from) <= self.until
            && (self.why != LOST || self.is_told(call))
    }

    /// A session reports a lost pair at once when it knows. Until then the existing token may be refused.
    fn is_told(&self, call: &Call) -> bool {
        // A call may wait for both presentations.
        let known = self.from + 2 * Duration::from_millis(REFRESH_TIMEOUT_MS);
        call.to < call.from.max(known) + SLACK
            && (call.outcome == "401" || call.outcome.starts_with("PG_ERR_NO_CREDENTIALS"))
    }
}

/// What must never happen.
fn broken(history: &History, past: &Past, told: &Told, journal: &[Entry]) -> Vec<String> {
    let mut broken: Vec<String> = told.complaint.iter().cloned().collect();
    let limit = DEADLINE + SLACK * 2;
    broken.extend(told.open.iter().filter(|(_, from)| now() - *from > limit).map(|(agent, from)| {
        format!("{} ms: a call of {agent} was never answered", (*from - past.began).as_millis())
    }));
    let puts_back = history.incidents.iter().any(|(_, planned)| planned.incident == Incident::RecordPutBack);
    if history.switches.rotation != Rotation::Static && !puts_back {
        let replays = history.store == StoreKind::Pair || history.setting("on_ambiguous") == Some("replay");
        let most = if replays { 2 } else { 1 };
        let mut presented = BTreeMap::<&str, Vec<&str>>::new();
        for entry in journal {
            if let Some(token) = entry.presented.as_deref().filter(|_| !is_unseen(history, entry)) {
                presented.entry(token).or_default().push(&entry.outcome);
            }
        }
        let twice = presented.into_iter().filter(|(_, outcomes)| outcomes.len() > most);
        broken.extend(
            twice.map(|(token, outcomes)| format!("the refresh token {token} was presented: {outcomes:?}")),
        );
    }
    let seconds = (now() - past.began).as_secs() as usize;
    let most = 30 + history.processes * (seconds + 10 * history.incidents.len());
    if journal.len() > most {
        broken.push(format!("{} calls to the auth routes, at most {most} are allowed", journal.len()));
    }
    broken
}

/// The answer says that the service has not processed the refresh token.
fn is_unseen(history: &History, entry: &Entry) -> bool {
    matches!(&*entry.outcome, "429" | "425") || entry.outcome == "refuse_stream" && history.switches.http2
}

fn obstacles(history: &History, past: &Past, journal: &[Entry], sandbox: &Sandbox) -> Vec<Obstacle> {
    let mut scopes: BTreeMap<Option<&str>, Vec<&Entry>> = BTreeMap::new();
    for entry in journal {
        let whose = history.store.is_of_one_process().then_some(&*entry.agent);
        scopes.entry(whose).or_default().push(entry);
    }
    let mut obstacles = Vec::new();
    for (agent, entries) in scopes {
        let mut found = pauses(past, &entries);
        found.extend(refusals(past, &entries));
        found.extend(young(history, past, &entries, sandbox));
        if history.store == StoreKind::Pair {
            found.extend(lost(history, past, &entries, sandbox));
        }
        obstacles.extend(
            found.into_iter().map(|obstacle| Obstacle { agent: agent.map(str::to_owned), ..obstacle }),
        );
    }
    obstacles
}

/// When the next pair was made.
fn next_pair(past: &Past, entries: &[&Entry]) -> Option<Duration> {
    entries.iter().find(|entry| entry.outcome == "200").map(|entry| past.real_time(entry.at_ms))
}

fn pauses(past: &Past, entries: &[&Entry]) -> Vec<Obstacle> {
    let mut obstacles = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let at = past.real_time(entry.at_ms);
        let asked = past.asked.iter().filter(|asked| {
            matches!(&*entry.outcome, "429" | "503")
                && matches!(asked.route, route if route == entry.route || route == Route::Any)
                && asked.from <= at + SECOND
                && asked.to.is_none_or(|to| at <= to + SECOND)
        });
        if let Some(wait) = asked.map(|asked| asked.wait).max() {
            // A pair that another process obtained while its store was in trouble is private to that process for some time.
            let ends = |pair: &&&Entry| {
                let made = past.real_time(pair.at_ms);
                let since = made.saturating_sub(UNSHARED);
                let is_shared = !past.disturbances.iter().any(|(from, to)| *from <= made && *to >= since);
                pair.outcome == "200" && (pair.agent == entry.agent || is_shared)
            };
            let over = entries[number + 1..].iter().find(ends).map(|pair| past.real_time(pair.at_ms));
            // The wait is in whole seconds, and the answer takes a moment.
            let until = past.library_time(at) + wait + SECOND;
            obstacles.push(Obstacle { why: "retry-after", agent: None, from: at, until, over });
        }
    }
    obstacles
}

fn refusals(past: &Past, entries: &[&Entry]) -> Vec<Obstacle> {
    let (mut strikes, mut have_worked) = (0, false);
    let mut obstacles = Vec::new();
    for (number, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.route == Route::Issue) {
        match &*entry.outcome {
            "200" => (strikes, have_worked) = (0, true),
            "400" | "401" => {
                let pauses: &[u64] = if have_worked { &WORKED } else { &UNTRIED };
                let pause = Duration::from_secs(pauses[strikes.min(pauses.len() - 1)]);
                strikes += 1;
                let at = past.real_time(entry.at_ms);
                let over = next_pair(past, &entries[number + 1..]);
                let until = past.library_time(at) + pause + SECOND / 2;
                obstacles.push(Obstacle { why: "refused", agent: None, from: at, until, over });
            }
            _ => {}
        }
    }
    obstacles
}

/// A row of tokens that were refused young. For a process that saw a token accepted, the row starts again.
fn young(history: &History, past: &Past, entries: &[&Entry], sandbox: &Sandbox) -> Vec<Obstacle> {
    let uses = sandbox.uses();
    let youth_ms = (history.switches.access_lifetime_s * 250).min(30_000);
    // How often the store is searched for a pair of others.
    let look = if history.store.is_of_one_process() { Duration::ZERO } else { SECOND };
    // How many tokens of the row came before.
    let mut row: u32 = 0;
    let mut obstacles = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        // A token in a lost answer was never used.
        let Some(seen) = entry.made.as_ref().and_then(|token| uses.get(token)) else { continue };
        let is_young = |refused: &u64| refused.saturating_sub(entry.at_ms) < youth_ms;
        let Some(refused) = seen.refused_ms.filter(is_young) else {
            row = 0;
            continue;
        };
        let next = entries[number + 1..].iter().find(|entry| entry.outcome == "200");
        if let Some(last) = row.checked_sub(1) {
            let pause = Duration::from_secs((1 << last.min(6)).min(60));
            let until = past.library_time(past.real_time(entry.at_ms)) + pause.mul_f64(1.25);
            let over = next.map(|next| past.real_time(next.at_ms) + look);
            let from = past.real_time(refused);
            obstacles.push(Obstacle { why: "young", agent: None, from, until, over });
        }
        let accepted = next.and_then(|next| seen.accepted_ms.get(&next.agent));
        row = 1 + if accepted.is_some_and(|accepted| *accepted < refused) { row.min(1) } else { row };
    }
    obstacles
}

/// Since when the refresh token of a session without credentials is lost. A pair whose token was used has arrived.
fn lost(history: &History, past: &Past, entries: &[&Entry], sandbox: &Sandbox) -> Vec<Obstacle> {
    let uses = sandbox.uses();
    let mut events: Vec<(Duration, Option<&Entry>)> = past.cuts.iter().map(|at| (*at, None)).collect();
    let seen = entries.iter().filter(|entry| !is_unseen(history, entry));
    events.extend(seen.map(|entry| (past.real_time(entry.at_ms), Some(*entry))));
    events.sort_by_key(|(at, _)| *at);
    let mut obstacles: Vec<Obstacle> = Vec::new();
    let mut losses = 0;
    for (at, entry) in events {
        if entry.is_some_and(|entry| entry.made.as_ref().is_some_and(|token| uses.contains_key(token))) {
            losses = 0;
            obstacles.iter_mut().for_each(|obstacle| obstacle.over = obstacle.over.or(Some(at)));
            continue;
        }
        losses += 1;
        if losses >= 2 || entry.is_some_and(|entry| matches!(&*entry.outcome, "400" | "401")) {
            obstacles.push(Obstacle { why: LOST, agent: None, from: at, until: Duration::MAX, over: None });
        }
    }
    obstacles
}

/// The last events: incidents, calls to the auth routes, and the results of business calls.
fn story(past: &Past, told: &Told, journal: &[Entry], end: Duration) -> String {
    let mut lines = past.notes.clone();
    for entry in journal {
        let name =
            |token: &Option<String>| token.as_ref().map_or("-".to_owned(), |token| token[..6].to_owned());
        let Entry { route, agent, outcome, presented, made, .. } = entry;
        let text = format!(
            "    {route:?} of {agent}: {outcome}, presented {}, made {}",
            name(presented),
            name(made)
        );
        lines.push((past.real_time(entry.at_ms), text));
    }
    let mut calls: Vec<_> = told.calls.iter().collect();
    calls.sort_by_key(|call| call.from);
    let mut last = BTreeMap::new();
    for call in calls {
        // Only changes are printed.
        let short: String = call.outcome.chars().take(160).collect();
        if last.insert(&call.agent, short.clone()).as_ref() != Some(&short) {
            lines.push((call.from, format!("        {} calls ({:?}): {short}", call.agent, call.how)));
        }
    }
    lines.retain(|(at, _)| *at <= end);
    lines.sort();
    let mut story = String::new();
    for (at, line) in &lines[lines.len().saturating_sub(60)..] {
        let _ = writeln!(story, "  {:6} ms {line}", at.saturating_sub(past.began).as_millis());
    }
    story
}
