//! Draws histories, runs many at once, and adds up their results.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pg_sandbox::{Action, Fault, Point, Route, Switches};

use crate::history::History;
use crate::incidents::{Incident, Planned, StoreKind};
use crate::oracle::Report;
use crate::shrink::shrink;
use crate::user::How;
use crate::worlds::World;

/// Histories that run at one time: a history mostly waits.
const AT_ONCE: usize = 24;
/// No history starts this shortly before the end.
const LONGEST: Duration = Duration::from_secs(25);
/// How long to search for a smaller failing history.
const PATIENCE: Duration = Duration::from_secs(150);
/// How many failing histories are made smaller.
const SHRUNK: usize = 4;

#[derive(Default)]
struct Figures {
    histories: u64,
    calls: u64,
    judged: BTreeMap<How, u64>,
    late: u64,
    excused: BTreeMap<&'static str, u64>,
    failures: u64,
}

impl Figures {
    fn add(&mut self, report: &Report) {
        self.histories += 1;
        self.calls += report.calls;
        for (how, times) in &report.judged {
            *self.judged.entry(*how).or_default() += times;
        }
        self.late += report.late;
        self.failures += report.failures.len() as u64;
        for (why, times) in &report.excused {
            *self.excused.entry(why).or_default() += times;
        }
    }

    fn line(&self, store: StoreKind) -> String {
        let Figures { histories, calls, judged, late, excused, failures } = self;
        let mut line = format!(
            "explorer: {store:?}: {histories} histories, {calls} calls, {} judged (on a queue {}, for a token {}), {late} not \
                     judged on a late machine, excused:",
            judged.values().sum::<u64>(),
            judged.get(&How::OnQueue).unwrap_or(&0),
            judged.get(&How::TokenOnQueue).unwrap_or(&0),
        );
        for why in ["retry-after", "refused", "young", "pair lost"] {
            let _ = write!(line, " {why} {}", excused.get(why).unwrap_or(&0));
        }
        format!("{line}, unjustified failures: {failures}")
    }
}

/// Each test has the machine to itself, since its times depend on the load.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_call_succeeds_once_everything_is_healthy_again() {
    if let Some(seed) = number("PG_SEED") {
        return again(seed);
    }
    let _turn = turn();
    let left_out = std::env::var("PG_EXPLORE_WITHOUT").unwrap_or_default();
    let begun = Instant::now();
    let longer = number("PG_EXPLORE_SECONDS");
    let time = Duration::from_secs(longer.unwrap_or(60));
    let failures = number("PG_EXPLORE_FAILURES").unwrap_or(1) as usize;
    // The minute of every test run plays the same histories, so a failure comes from a change. Longer runs find new histories.
    let first = if longer.is_some() { u64::from(fastrand::u32(..)) << 16 } else { 0 };
    let next = AtomicU64::new(first);
    let figures: Mutex<BTreeMap<StoreKind, Figures>> = Mutex::default();
    let failed: Mutex<Vec<(History, Report)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while begun.elapsed() + LONGEST < time.max(LONGEST + Duration::from_secs(1))
                    && failed.lock().unwrap().len() < failures
                {
                    let history = History::drawn(next.fetch_add(1, Ordering::SeqCst)).without(&left_out);
                    let report = World::live(&history);
                    figures.lock().unwrap().entry(history.store).or_default().add(&report);
                    if !report.is_good() {
                        println!("{}", told(&history, &report));
                        failed.lock().unwrap().push((history, report));
                    }
                }
            });
        }
    });
    for (store, figures) in figures.lock().unwrap().iter() {
        println!("{}", figures.line(*store));
    }
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|(history, _)| history.incidents.len());
    // One history of each kind of failure.
    let mut kinds = BTreeSet::new();
    failed.retain(|(history, report)| kinds.insert((history.store, kind(report))));
    // Real processes can meet a busy machine: a history that fails once is printed, even if the test passes, and must be
    // examined; one that fails twice fails the test.
    failed.retain(|(history, report)| {
        let is_again = !World::live(history).is_good();
        if !is_again {
            let _ = writeln!(io::stderr(), "FAILED ONCE AND NOT AGAIN:\n{}", told(history, report));
        }
        is_again
    });
    thread::scope(|scope| {
        for (history, _) in failed.iter().take(SHRUNK) {
            scope.spawn(|| match shrink(history, PATIENCE) {
                Some((smaller, report)) => {
                    println!("The smallest failing history:\n{}", told(&smaller, &report))
                }
                None => println!("PG_SEED={} does not fail every time", history.seed),
            });
        }
    });
    assert!(failed.is_empty(), "{} histories have calls that fail without an excuse", failed.len());
}

/// The kind of the first failure of a history.
fn kind(report: &Report) -> String {
    let words =
        report.failures.first().map_or("", |failure| failure.rsplit_once("ms: ").map_or("", |(_, end)| end));
    words.split(' ').next().unwrap_or_default().to_owned()
}

/// One history, or a part of it.
fn again(seed: u64) {
    let mut history = History::drawn(seed);
    if let Ok(keep) = std::env::var("PG_KEEP") {
        let keep: Vec<_> = keep.split(',').filter_map(|number| number.parse().ok()).collect();
        history = history.only(&keep);
    }
    let report = World::live(&history);
    println!("{}{report:#?}\n{}", history, report.story);
    assert!(report.is_good(), "{}", told(&history, &report));
}

fn told(history: &History, report: &Report) -> String {
    let keep: Vec<_> = history.numbers().iter().map(ToString::to_string).collect();
    let mut text = format!("PG_KEEP={} {history}", keep.join(","));
    for failure in report.failures.iter().take(4) {
        let _ = writeln!(text, "  FAILED at {failure}");
    }
    format!("{text}{}", report.story)
}

/// Runs a history of one process with these incidents.
fn scripted(store: StoreKind, ends: u64, switches: Switches, incidents: Vec<Planned>) -> Report {
    let incidents = incidents.into_iter().enumerate().collect();
    let history = History {
        store,
        processes: 1,
        is_warm: true,
        rounds: vec![(0, ends)],
        incidents,
        ..History::drawn(0)
    };
    let report = World::live(&History { switches, settings: Vec::new(), ..history.clone() });
    assert!(report.is_good(), "{}", told(&history, &report));
    report
}

/// The network loses a Refresh that started while all was healthy; then the token is revoked too.
#[test]
fn an_abandoned_call_delays_no_other_caller() {
    let _turn = turn();
    let at = |at, incident| Planned { at, lasts: 0, incident };
    let incidents = vec![
        at(0, Incident::ConnectionsForgotten),
        at(100, Incident::Refresh(0)),
        at(1000, Incident::RevokeAll),
    ];
    scripted(StoreKind::Memory, 1500, Switches { http2: false, ..Switches::default() }, incidents);
}

fn answer(route: Route, status: u16, wait: Option<&str>) -> Incident {
    let headers = wait.map(|wait| ("retry-after".to_owned(), wait.to_owned())).into_iter().collect();
    Incident::Fault(
        Fault::new(route, Action::Status { status, body: None, headers }).at(Point::Before).forever(),
    )
}

/// Shows that a count of zero excuses in the figures does not come from an oracle that never sees one.
#[test]
fn the_oracle_sees_what_excuses_a_failure() {
    let _turn = turn();
    let at = |at, lasts, incident| Planned { at, lasts, incident };
    let asked = || {
        scripted(
            StoreKind::File,
            1000,
            Switches::default(),
            vec![at(0, 0, Incident::RevokeAll), at(1, 900, answer(Route::Issue, 429, Some("20")))],
        )
    };
    // The second and the third try, after one second and after five; on a busy machine later.
    let refused = || {
        scripted(
            StoreKind::Memory,
            12_000,
            Switches::default(),
            vec![at(0, 11_900, answer(Route::Issue, 401, None)), at(1, 0, Incident::RevokeAll)],
        )
    };
    let lost = || {
        scripted(
            StoreKind::Pair,
            1000,
            Switches::default(),
            vec![at(0, 900, answer(Route::Refresh, 401, None)), at(1, 0, Incident::Sleep(3700))],
        )
    };
    let (asked, refused, lost) = thread::scope(|scope| {
        let (asked, refused, lost) = (scope.spawn(asked), scope.spawn(refused), scope.spawn(lost));
        (asked.join().unwrap(), refused.join().unwrap(), lost.join().unwrap())
    });
    assert!(asked.excused["retry-after"] > 0, "{asked:#?}");
    assert!(refused.excused["refused"] > 0, "{refused:#?}");
    assert!(lost.excused["pair lost"] > 0, "{lost:#?}");
}
