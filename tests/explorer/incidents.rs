//! The incidents: of the service, the network, the store, the processes, their clocks and their users.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use pg_sandbox::{Action, Fault, Form, Point, RateLimit, RetryAfter, Route};
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StoreKind {
    Memory,
    File,
    Redis,
    /// No store: each session is opened from a pair alone, without credentials.
    Pair,
}

impl StoreKind {
    /// Each process has its own pair.
    pub(crate) fn is_of_one_process(self) -> bool {
        matches!(self, StoreKind::Memory | StoreKind::Pair)
    }
}

/// An incident, at one moment or for some time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Incident {
    /// The service gives wrong answers, or breaks or loses them.
    Fault(Fault),
    RateLimit(RateLimit),
    /// A second Issue ends the tokens of the first.
    OneFamily,
    RevokeAccess,
    RevokeFamily,
    RevokeAll,
    ServiceClock(u64),

    ServiceDown,
    ServiceFrozen,
    ConnectionsCut,
    ConnectionsForgotten,

    StoreAway,
    StoreFrozen,
    StoreStopped,
    StorePaused,
    StoreFull,
    StoreDemoted,
    StoreCut,
    StoreForgotten,
    StoreRestarted,
    StoreEmptied,
    RecordBroken,
    RecordSaved,
    RecordPutBack,

    /// The machine was suspended while the service went on.
    Sleep(u64),
    WallClock(i64),
    Stopped(usize),
    Killed(usize),
    /// The same in the middle of a slow flight, this many milliseconds after its start.
    StoppedInFlight(usize, u64),
    KilledInFlight(usize, u64),
    NoDescriptors(usize),
    NoRoom(usize),
    Forked(usize),

    Reject(usize),
    RejectOld(usize),
    Refresh(usize),
    NewCredentials(usize),
    Reopened(usize),
    Burst(usize),
}

/// The time in its history and the duration, in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) at: u64,
    pub(crate) lasts: u64,
    pub(crate) incident: Incident,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:6} ms {:5} ms  ", self.at, self.lasts)?;
        match &self.incident {
            Incident::Fault(fault) => {
                let point = fault.point.map_or_else(String::new, |point| format!(" {point:?}"));
                write!(f, "Fault {:?}{point} {:?}", fault.route, fault.action)
            }
            other => write!(f, "{other:?}"),
        }
    }
}

impl Incident {
    /// A state that either holds or not, so two such incidents cannot overlap.
    pub(crate) fn is_a_state(&self) -> bool {
        use Incident::*;
        matches!(
            self,
            RateLimit(_)
                | OneFamily
                | ServiceDown
                | ServiceFrozen
                | StoreAway
                | StoreFrozen
                | StoreStopped
                | StoreFull
                | StoreDemoted
        )
    }

    /// Operations that started during the incident can last this much longer.
    pub(crate) fn lingers(&self) -> Duration {
        match self {
            Incident::Fault(Fault { action: Action::Delay { ms }, .. }) => Duration::from_millis(*ms),
            Incident::StoppedInFlight(..) | Incident::KilledInFlight(..) => Duration::from_secs(1),
            _ => Duration::ZERO,
        }
    }

    /// Takes no time.
    fn is_instant(&self) -> bool {
        use Incident::*;
        matches!(
            self,
            RevokeAccess
                | RevokeFamily
                | RevokeAll
                | ServiceClock(_)
                | ConnectionsCut
                | ConnectionsForgotten
                | StoreCut
                | StoreForgotten
                | StoreRestarted
                | StoreEmptied
                | RecordBroken
                | RecordSaved
                | RecordPutBack
                | Sleep(_)
                | WallClock(_)
                | Killed(_)
                | KilledInFlight(..)
                | Reject(_)
                | RejectOld(_)
                | Refresh(_)
                | NewCredentials(_)
                | Reopened(_)
                | Burst(_)
        )
    }
}

/// The limits of a draw: the kind of store, the number of processes, the lifetime of a token, and the times of incidents.
pub(crate) struct Frame {
    pub(crate) store: StoreKind,
    pub(crate) processes: usize,
    pub(crate) lifetime: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Several incidents that overlap.
pub(crate) fn draw(rng: &mut Rng, frame: &Frame, count: usize) -> Vec<Planned> {
    let mut planned = Vec::new();
    while planned.len() < count {
        let incident = one(rng, frame);
        let at = rng.u64(frame.from..frame.to);
        let lasts = if incident.is_instant() { 0 } else { rng.u64(100..4000).min(frame.to - at) };
        // An incident that lasts matters only if a new token is needed meanwhile.
        if lasts > 0 && rng.bool() {
            let at = rng.u64(at..at + lasts);
            planned.push(Planned { at, lasts: 0, incident: need(rng, frame) });
        }
        // Revocations come in rows.
        let is_revocation = matches!(incident, Incident::RevokeAll | Incident::RevokeAccess);
        let (times, apart) = match rng.u8(0..5) {
            _ if !is_revocation => (1, 0),
            // So fast that no token is accepted in between.
            0 => (50, 80),
            _ => (rng.u64(1..4), rng.u64(200..2500)),
        };
        for number in 0..times {
            let at = at + number * apart;
            if at < frame.to {
                planned.push(Planned { at, lasts, incident: incident.clone() });
            }
        }
    }
    planned.sort_by_key(|planned| planned.at);
    planned
}

/// An incident after which a new token is needed.
fn need(rng: &mut Rng, frame: &Frame) -> Incident {
    let part = |share: f64| Incident::Sleep((frame.lifetime as f64 * share) as u64);
    match rng.u8(0..6) {
        0 if frame.store == StoreKind::Pair => Incident::Refresh(rng.usize(0..frame.processes)),
        0 => Incident::RevokeAll,
        1 => Incident::Reject(rng.usize(0..frame.processes)),
        2 => part(0.85),
        3 => part(0.97),
        _ => part(1.1),
    }
}

fn one(rng: &mut Rng, frame: &Frame) -> Incident {
    let who = rng.usize(0..frame.processes);
    if frame.store == StoreKind::Pair {
        return pair(rng, who, frame.lifetime);
    }
    match rng.u8(0..10) {
        0..=2 => Incident::Fault(fault(rng)),
        3 => service(rng),
        4 => network(rng),
        5..=6 if frame.store != StoreKind::Memory => store(rng, frame.store),
        5..=7 => platform(rng, who, frame.lifetime),
        8 => user(rng, who),
        _ => Incident::RevokeAll,
    }
}

fn service(rng: &mut Rng) -> Incident {
    match rng.u8(0..7) {
        0 => rate_limit(rng),
        1 => Incident::OneFamily,
        2 => Incident::ServiceClock(rng.u64(1..4000)),
        3 => Incident::RevokeFamily,
        4 => Incident::RevokeAll,
        _ => Incident::RevokeAccess,
    }
}

fn rate_limit(rng: &mut Rng) -> Incident {
    let retry_after = match rng.u8(0..3) {
        0 => None,
        1 => Some(RetryAfter::Seconds(rng.u64(1..6))),
        _ => Some(RetryAfter::Date { date: rng.u64(1..6) }),
    };
    Incident::RateLimit(RateLimit { requests: rng.usize(0..2), per_s: 10, retry_after })
}

/// The incidents that a session without credentials survives: not the loss of its process or of its refresh token.
fn pair(rng: &mut Rng, who: usize, lifetime: u64) -> Incident {
    use Incident::*;
    match rng.u8(0..20) {
        0..=8 => spoilt(rng),
        9..=11 => network(rng),
        12 => rate_limit(rng),
        13 => ServiceClock(rng.u64(1..4000)),
        14 => Sleep(rng.u64(1..2 * lifetime)),
        15 => WallClock(rng.i64(-7200..7200)),
        16 => Stopped(who),
        17 => StoppedInFlight(who, rng.u64(0..700)),
        18 => NoDescriptors(who),
        _ => [Reject(who), RejectOld(who), Refresh(who), Burst(who)][rng.usize(0..4)].clone(),
    }
}

/// A fault that, if it strikes only once, leaves the refresh token its second presentation.
fn spoilt(rng: &mut Rng) -> Incident {
    let no_successor = Action::Remove { field: "refresh_token".into() };
    let mut drawn = fault(rng);
    while drawn.action == no_successor {
        drawn = fault(rng);
    }
    if drawn.route == Route::Issue {
        drawn.route = Route::Refresh;
    }
    Incident::Fault(if rng.u8(0..3) > 0 { drawn.times(1) } else { drawn })
}

fn network(rng: &mut Rng) -> Incident {
    use Incident::*;
    [ServiceDown, ServiceDown, ServiceFrozen, ConnectionsCut, ConnectionsForgotten][rng.usize(0..5)].clone()
}

fn store(rng: &mut Rng, kind: StoreKind) -> Incident {
    use Incident::*;
    let both = [StoreAway, StoreAway, StoreEmptied, RecordBroken, RecordSaved, RecordPutBack];
    let redis = [
        StoreFrozen,
        StoreStopped,
        StorePaused,
        StoreFull,
        StoreDemoted,
        StoreCut,
        StoreForgotten,
        StoreRestarted,
    ];
    let choices: Vec<_> =
        both.into_iter().chain(redis.into_iter().filter(|_| kind == StoreKind::Redis)).collect();
    choices[rng.usize(0..choices.len())].clone()
}

fn platform(rng: &mut Rng, who: usize, lifetime: u64) -> Incident {
    use Incident::*;
    match rng.u8(0..9) {
        0 => Sleep(rng.u64(1..2 * lifetime)),
        1 => WallClock(rng.i64(-7200..7200)),
        2 => Stopped(who),
        3 => Killed(who),
        4 => StoppedInFlight(who, rng.u64(0..700)),
        5 => KilledInFlight(who, rng.u64(0..700)),
        6 => NoDescriptors(who),
        7 => NoRoom(who),
        _ => Forked(who),
    }
}

fn user(rng: &mut Rng, who: usize) -> Incident {
    use Incident::*;
    match rng.u8(0..7) {
        0 | 1 => Reject(who),
        2 => RejectOld(who),
        3 => Refresh(who),
        4 => NewCredentials(who),
        5 => Reopened(who),
        _ => Burst(who),
    }
}

/// A fault of the service, and how long it lasts.
fn fault(rng: &mut Rng) -> Fault {
    let route = [Route::Issue, Route::Issue, Route::Refresh, Route::Refresh, Route::Any, Route::Wallet]
        [rng.usize(0..6)];
    let point = [Point::Head, Point::Before, Point::After][rng.usize(0..3)];
    let fault = match rng.u8(0..19) {
        16..=18 | 0..=2 => return Fault::new(route, refusal(rng)).at(Point::Before).forever(),
        3..=4 => Fault::new(route, Action::Reset).at(point),
        5 => Fault::new(route, Action::Close).at(point),
        6 => Fault::new(route, Action::Hang).at(point),
        7..=8 => Fault::new(route, Action::Delay { ms: rng.u64(50..3000) }).at(point),
        9 => Fault::new(route, Action::Cut { bytes: rng.u64(0..400) }),
        10 => Fault::new(route, Action::RefuseStream).at(Point::Before),
        11 => Fault::new(route, Action::Redirect { status: [302, 307][rng.usize(0..2)] }).at(Point::Before),
        12 => Fault::new(Route::Any, [Action::Reset, Action::Close, Action::Hang][rng.usize(0..3)].clone())
            .at(Point::Accept),
        13 => Fault::new(route, altered(rng)),
        _ => Fault::new(route, Action::Body(form(rng))),
    };
    fault.forever()
}

/// A refusal of the API has the status 400 or 401; one of a gateway has another status.
fn refusal(rng: &mut Rng) -> Action {
    let html = || Some(json!("<html><body>Sorry</body></html>"));
    let (status, body): (u16, Option<Value>) = match rng.u8(0..14) {
        0 | 11 => (401, None),
        1 | 12 => (400, None),
        2 => (403, html()),
        3 => (404, html()),
        4 => (502, html()),
        5 => (500, None),
        6 => (503, None),
        7 => (503, html()),
        8 => (408, None),
        9 => (425, None),
        _ => (429, None),
    };
    let mut headers = BTreeMap::new();
    if matches!(status, 429 | 503) && rng.bool() {
        let wait = if rng.bool() { rng.u64(1..8) } else { rng.u64(10..90) };
        headers.insert("retry-after".to_owned(), wait.to_string());
    }
    Action::Status { status, body, headers }
}

/// The wait that a fault asks the caller for, if any.
pub(crate) fn retry_after(fault: &Fault) -> Option<Duration> {
    let Action::Status { headers, .. } = &fault.action else { return None };
    headers.get("retry-after")?.parse().ok().map(Duration::from_secs)
}

fn altered(rng: &mut Rng) -> Action {
    let field = || "expires_in".to_owned();
    match rng.u8(0..7) {
        0 => Action::Set { field: field(), value: json!(0) },
        1 => Action::Set { field: field(), value: json!(-5) },
        2 => Action::Set { field: field(), value: json!("soon") },
        3 => Action::Set { field: field(), value: json!(2) },
        4 => Action::Set { field: field(), value: json!(1_000_000_000) },
        5 => Action::Remove { field: "access_token".into() },
        _ => Action::Remove { field: "refresh_token".into() },
    }
}

fn form(rng: &mut Rng) -> Form {
    let forms = [
        Form::Malformed,
        Form::Truncated,
        Form::Dribbled { ms: 3 },
        Form::NonUtf8,
        Form::Html,
        Form::Gzip,
        Form::Empty,
        Form::Array,
        Form::Deep,
    ];
    forms[rng.usize(0..forms.len())].clone()
}
