//! The world of a history: the emulator behind a road, the store, the processes and their clock; and how each incident
//! starts and ends.

#[path = "figures.rs"]
mod figures;

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use paymentsgate_auth::client::Client;
use paymentsgate_auth::clock::SystemClock;
use paymentsgate_auth::config::Config;
use pg_sandbox::{Action, DateHeader, Fault, Options, Point, RetryAfter, Revoke, Route, Sandbox};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::clock::{SharedClock, now};
use crate::history::History;
use crate::incidents::{Incident, Planned, StoreKind, retry_after};
use crate::oracle::{self, Asked, DEADLINE, HEALTHY, Past, Report};
use crate::road::Road;
use crate::stores::StoreWorld;
use crate::user::{Told, User};

/// How long calls are judged after a time of incidents.
const CALM: Duration = Duration::from_millis(2500);
/// How long a forked child lives, in milliseconds.
const CHILDHOOD: u64 = 6000;

pub(crate) struct World {
    history: History,
    pub(crate) sandbox: Sandbox,
    road: Road,
    store: StoreWorld,
    clock: SharedClock,
    users: Vec<User>,
    incarnations: usize,
    told: Arc<Mutex<Told>>,
    put_forward: (Duration, i64),
    past: Past,
    /// Lasting incidents: two of a kind end with the later one.
    lasting: Vec<Incident>,
    home: TempDir,
}

/// The parts of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Begins,
    Strikes,
    Ends,
}

impl World {
    fn new(history: &History) -> Self {
        let options = Options { switches: history.switches.clone(), ..Options::default() };
        let sandbox = Sandbox::start(options).unwrap();
        let port = sandbox.urls().https.rsplit_once(':').unwrap().1.parse().unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut world = World {
            road: Road::to(port),
            store: StoreWorld::new(history.store, &home),
            clock: SharedClock::create(&home.path().join("clock")),
            users: Vec::new(),
            incarnations: 0,
            told: Arc::default(),
            put_forward: (Duration::ZERO, 0),
            past: Past::new(),
            lasting: Vec::new(),
            history: history.clone(),
            sandbox,
            home,
        };
        for number in 0..history.processes {
            let user = world.start(number);
            world.users.push(user);
        }
        world
    }

    /// A process, which gets a new name at each start.
    fn start(&mut self, number: usize) -> User {
        self.incarnations += 1;
        let agent = format!("user-{number}/{}", self.incarnations);
        let address = self.sandbox.address();
        let mut settings: Vec<(String, String)> = [
            ("base_url", format!("https://127.0.0.1:{}", self.road.port)),
            ("tls.ca_file", address.ca_file.display().to_string()),
            ("tls.system_roots", "false".into()),
            ("store", self.store.setting()),
            ("user_agent", agent.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        settings.extend(self.login());
        settings.extend(self.history.settings.iter().map(|(name, value)| (name.to_string(), value.clone())));
        let clock = self.home.path().join("clock");
        User::start(&agent, &settings, clock.to_str().unwrap(), &self.told)
    }

    /// The credentials, or a pair that no other process has.
    fn login(&self) -> [(String, String); 2] {
        let address = self.sandbox.address();
        let login = [("account_id", address.account_id.clone()), ("public_key", address.public_key.clone())];
        let login = login.map(|(name, value)| (name.to_owned(), value));
        if self.history.store != StoreKind::Pair {
            return login;
        }
        let mut config = Config::default();
        let service = [
            ("base_url".to_owned(), self.sandbox.urls().https.clone()),
            ("tls.ca_file".to_owned(), address.ca_file.display().to_string()),
            ("tls.system_roots".to_owned(), "false".to_owned()),
        ];
        for (name, value) in service.iter().chain(&login) {
            config.set(name, value).unwrap();
        }
        let clock = Arc::new(SystemClock);
        let transport = config.transport(service[0].1.parse().unwrap(), clock.clone()).unwrap();
        let client = Client::with_parts(&config, Box::new(transport), clock).unwrap();
        let pair = client.issue(None, None).unwrap();
        let refresh = pair.refresh.unwrap().secret().expose().to_owned();
        [
            ("access_token".to_owned(), pair.token.access.expose().to_owned()),
            ("refresh_token".to_owned(), refresh),
        ]
    }

    /// Runs a history. It ends with the first call that fails without an excuse.
    pub(crate) fn live(history: &History) -> Report {
        let mut world = World::new(history);
        world.await_first_call();
        for round in &history.rounds {
            let planned: Vec<_> = history
                .incidents
                .iter()
                .map(|(_, planned)| planned.clone())
                .filter(|planned| (round.0..round.1).contains(&planned.at))
                .collect();
            if planned.is_empty() {
                continue;
            }
            world.suffer(&planned, round.0);
            world.rest(HEALTHY + CALM);
            if let Some(wait) = world.judge().obstacle {
                world.note(format!("waits {} s for the end of an obstacle", wait.as_secs()));
                let from = now();
                world.sleep(wait.as_secs() + 1);
                world.past.disturbed(from, now());
                world.rest(HEALTHY + CALM / 2);
            }
            if !world.judge().is_good() {
                break;
            }
        }
        world.judge()
    }

    fn judge(&self) -> Report {
        oracle::judge(&self.history, &self.past, &self.told.lock().unwrap(), &self.sandbox)
    }

    fn await_first_call(&self) {
        let begun = now();
        let is_ready = || {
            let told = self.told.lock().unwrap();
            if self.history.is_warm {
                let has_called = |user: &User| told.calls.iter().any(|call| call.agent == user.agent);
                self.users.iter().all(has_called)
            } else {
                told.is_ready
            }
        };
        while !is_ready() {
            assert!(now() - begun < Duration::from_secs(60), "the processes of a history do not start");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until all calls of this time have ended.
    fn rest(&self, so_long: Duration) {
        thread::sleep(so_long);
        let end = now();
        while now() < end + DEADLINE + oracle::SLACK * 2 {
            if self.told.lock().unwrap().open.iter().all(|(_, from)| *from > end) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn note(&mut self, line: String) {
        self.past.note(line);
    }

    /// Starts and ends the incidents at their times.
    fn suffer(&mut self, planned: &[Planned], offset: u64) {
        let mut agenda: Vec<(u64, Part, usize)> = Vec::new();
        for (number, Planned { at, lasts, incident }) in planned.iter().enumerate() {
            agenda.push((*at, Part::Begins, number));
            let delay = match incident {
                Incident::StoppedInFlight(_, delay) | Incident::KilledInFlight(_, delay) => *delay,
                _ => 0,
            };
            agenda.push((at + delay, Part::Strikes, number));
            agenda.push((at + delay + lasts, Part::Ends, number));
        }
        agenda.sort();
        let begun = now();
        let mut since = vec![Duration::ZERO; planned.len()];
        for (at, part, number) in agenda {
            thread::sleep((begun + Duration::from_millis(at - offset)).saturating_sub(now()));
            let Planned { incident, lasts, .. } = &planned[number];
            match part {
                Part::Begins => {
                    since[number] = now();
                    self.note(format!("begins: {}", planned[number]));
                    self.begin(incident);
                }
                Part::Strikes => self.strike(incident, *lasts),
                Part::Ends => {
                    self.end(incident);
                    if *lasts > 0 {
                        self.note(format!("ends: {}", planned[number]));
                    }
                    self.past.ended(incident, since[number], now());
                }
            }
        }
    }

    /// The first part of incidents that have two.
    fn begin(&mut self, incident: &Incident) {
        if let Incident::StoppedInFlight(who, _) | Incident::KilledInFlight(who, _) = incident {
            for fault in slow_calls() {
                self.sandbox.inject(fault).unwrap();
            }
            self.users[*who].say("reject");
        }
    }

    fn strike(&mut self, incident: &Incident, lasts: u64) {
        use Incident::*;
        if incident.is_a_state() {
            self.lasting.push(incident.clone());
            if self.count(incident) > 1 {
                return;
            }
        }
        let so_long = Duration::from_millis(lasts);
        if matches!(incident, ServiceDown | ServiceFrozen | ConnectionsCut | ConnectionsForgotten) {
            self.past.cuts.push(now());
        }
        match incident {
            Fault(fault) => {
                if let Some(wait) = retry_after(fault) {
                    self.past.asked.push(Asked { route: fault.route, from: now(), to: None, wait });
                }
                self.sandbox.inject(fault.clone()).unwrap();
            }
            RateLimit(limit) => {
                let wait = match limit.retry_after {
                    Some(RetryAfter::Seconds(seconds)) => seconds,
                    Some(RetryAfter::Date { date }) => date + self.most_ahead(),
                    None => 0,
                };
                let wait = Duration::from_secs(wait);
                self.past.asked.push(Asked { route: Route::Any, from: now(), to: None, wait });
                self.sandbox.switches(|switches| switches.rate_limit = Some(*limit));
            }
            OneFamily => self.sandbox.switches(|switches| switches.second_issue_kills_first = true),
            RevokeAccess => self.revoke_access(),
            RevokeFamily => self.revoke_family(),
            RevokeAll => self.sandbox.revoke(&Revoke::All(true)),
            ServiceClock(seconds) => {
                self.sandbox.advance(Duration::from_secs(*seconds));
                self.past.service_steps.push((now(), Duration::from_secs(*seconds)));
            }
            ServiceDown => self.road.close(),
            ServiceFrozen => self.road.freeze(true),
            ConnectionsCut => self.road.cut(),
            ConnectionsForgotten => self.road.forget(),
            StoreAway => self.store.take_away(true),
            StoreFrozen => self.store.freeze(true),
            StoreStopped => self.store.stop_server(true),
            StorePaused => self.store.pause_clients(so_long),
            StoreFull => self.store.fill(true),
            StoreDemoted => self.store.demote(true),
            StoreCut => self.store.cut(),
            StoreForgotten => self.store.forget_connections(),
            StoreRestarted => self.store.restart(),
            StoreEmptied => self.store.empty(),
            RecordBroken => self.store.break_record(),
            RecordSaved => self.store.save(),
            RecordPutBack => self.store.put_back(),
            Sleep(seconds) => self.sleep(*seconds),
            WallClock(seconds) => {
                self.put_forward.1 += seconds;
                self.set_clock();
            }
            Stopped(who) | StoppedInFlight(who, _) => self.users[*who].signal(Signal::STOP),
            Killed(who) | KilledInFlight(who, _) => self.kill(*who),
            NoDescriptors(who) => self.users[*who].say(&format!("no-descriptors {lasts}")),
            NoRoom(who) => self.users[*who].say(&format!("no-room {lasts}")),
            Forked(who) => self.users[*who].say(&format!("fork {CHILDHOOD}")),
            Reject(who) => self.users[*who].say("reject"),
            RejectOld(who) => self.users[*who].say("reject-old"),
            Refresh(who) => self.users[*who].say("refresh"),
            NewCredentials(who) => self.users[*who].say("credentials"),
            Reopened(who) => self.users[*who].say("reopen 100"),
            Burst(who) => self.users[*who].say("burst 20"),
        }
    }

    /// How far the service's clock may be ahead of the library's estimate, in seconds: a pause until a date seems that
    /// much longer.
    fn most_ahead(&self) -> u64 {
        let step = |planned: &Planned| match planned.incident {
            Incident::ServiceClock(seconds) => seconds,
            Incident::WallClock(seconds) => seconds.unsigned_abs(),
            _ => 0,
        };
        match self.history.switches.date_header {
            DateHeader::On => 0,
            DateHeader::SkewS(seconds) => seconds.min(0).unsigned_abs(),
            DateHeader::Off => self.history.incidents.iter().map(|(_, planned)| step(planned)).sum(),
        }
    }

    fn count(&self, incident: &Incident) -> usize {
        let kind = std::mem::discriminant(incident);
        self.lasting.iter().filter(|other| std::mem::discriminant(*other) == kind).count()
    }

    fn end(&mut self, incident: &Incident) {
        use Incident::*;
        if let Some(index) = self.lasting.iter().position(|other| other == incident) {
            self.lasting.remove(index);
            if self.count(incident) > 0 {
                return;
            }
        }
        match incident {
            Fault(fault) => {
                self.sandbox.withdraw(fault.clone()).unwrap();
                self.past.answered(fault.route);
            }
            RateLimit(_) => {
                self.sandbox.switches(|switches| switches.rate_limit = None);
                self.past.answered(Route::Any);
            }
            OneFamily => self.sandbox.switches(|switches| switches.second_issue_kills_first = false),
            ServiceDown => self.road.open(),
            ServiceFrozen => self.road.freeze(false),
            StoreAway => self.store.take_away(false),
            StoreFrozen => self.store.freeze(false),
            StoreStopped => self.store.stop_server(false),
            StoreFull => self.store.fill(false),
            StoreDemoted => self.store.demote(false),
            Stopped(who) => self.users[*who].signal(Signal::CONT),
            StoppedInFlight(who, _) => {
                self.users[*who].signal(Signal::CONT);
                self.take_back(slow_calls());
            }
            KilledInFlight(..) => self.take_back(slow_calls()),
            _ => {}
        }
    }

    fn take_back(&self, faults: [Fault; 2]) {
        for fault in faults {
            self.sandbox.withdraw(fault).unwrap();
        }
    }

    /// Moves both clocks of the processes and the clock of the service.
    fn sleep(&mut self, seconds: u64) {
        let by = Duration::from_secs(seconds);
        self.put_forward.0 += by;
        self.sandbox.advance(by);
        self.past.service_steps.push((now(), by));
        self.past.library_steps.push((now(), by));
        self.set_clock();
    }

    fn set_clock(&mut self) {
        self.clock.put_forward(self.put_forward.0, self.put_forward.1);
        for user in &mut self.users {
            user.say("look");
        }
    }

    fn kill(&mut self, who: usize) {
        self.users[who].kill();
        self.told.lock().unwrap().open.retain(|(agent, _)| *agent != self.users[who].agent);
        self.users[who] = self.start(who);
    }

    /// Revokes the access token of the last business call.
    fn revoke_access(&self) {
        let last = self.sandbox.counters().route(Route::Wallet).last;
        match last.as_ref().and_then(|call| call.bearer()) {
            Some(token) => self.sandbox.revoke(&Revoke::AccessToken(token.into())),
            None => self.sandbox.revoke(&Revoke::All(true)),
        }
    }

    /// Revokes the family of the last refresh.
    fn revoke_family(&self) {
        let last = self.sandbox.counters().route(Route::Refresh).last;
        let body: Option<serde_json::Value> = last.and_then(|call| serde_json::from_str(&call.body).ok());
        match body.as_ref().and_then(|body| body["refresh_token"].as_str()) {
            Some(token) => self.sandbox.revoke(&Revoke::RefreshToken(token.into())),
            None => self.sandbox.revoke(&Revoke::All(true)),
        }
    }
}

/// Makes the next call of each auth route slow.
fn slow_calls() -> [Fault; 2] {
    [Route::Issue, Route::Refresh].map(|route| Fault::new(route, Action::Delay { ms: 1000 }).at(Point::After))
}
