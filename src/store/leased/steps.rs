//! Single operations of a leased store, on a server that the test sets and a clock that only the test moves.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::protocol::{Acquired, Backend, LeaseView, LeasedStore, RENEWAL, RecordWrite, new_owner};
use crate::clock::{BootId, Clock, Moment};
use crate::error::Error;
use crate::expiry::Lifetime;
use crate::secret::Secret;
use crate::status::Status;
use crate::store::record::{self, Bytes, Ledger, RecordKey};
use crate::store::{Lock, Refusal, Store, Storing};
use crate::token::{Pair, RefreshToken, Token};

const PATIENCE: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);
/// How far the wall clock is ahead of the boot clock on the first machine.
const WALL: Duration = Duration::from_secs(1_700_000_000);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lease {
    Free,
    /// Of the session with this number.
    Of(u32),
}

/// What the server and the test know.
struct Scene {
    now: Duration,
    version: u64,
    record: Option<Bytes>,
    lease: Lease,
    is_down: bool,
    /// The next write arrives, and its answer is lost.
    loses_answer: bool,
    /// How many seconds the server's clock is ahead of the clock of the first machine, if it has one.
    clock_ahead: Option<i64>,
    /// How long a call takes.
    call_takes: Duration,
    /// How the lease changes when the session waits.
    after_wait: Option<Lease>,
    calls: Vec<&'static str>,
}

#[derive(Clone)]
struct Server(Arc<Mutex<Scene>>);

struct Link {
    server: Server,
    number: u32,
}

impl Server {
    fn new() -> Self {
        Server(Arc::new(Mutex::new(Scene {
            now: 1000 * SECOND,
            version: 1,
            record: None,
            lease: Lease::Free,
            is_down: false,
            loses_answer: false,
            clock_ahead: None,
            call_takes: Duration::ZERO,
            after_wait: None,
            calls: Vec::new(),
        })))
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.0.lock().unwrap()
    }

    /// The store of one session on the first machine.
    fn session(&self, number: u32) -> LeasedStore<Link> {
        self.session_on(Arc::new(self.clone()), number)
    }

    fn session_on(&self, clock: Arc<dyn Clock>, number: u32) -> LeasedStore<Link> {
        let key = RecordKey::new(&"https://pay.example".parse().unwrap(), "account", "key");
        let ledger = Ledger::new(key, None, clock.clone(), "test".into());
        LeasedStore::new(Link { server: self.clone(), number }, ledger, clock, PATIENCE)
    }

    /// A session that holds the lease, and has loaded pair 1.
    fn holder(&self) -> LeasedStore<Link> {
        let other = self.session(9);
        held(&other);
        wait(other.commit(0, pair(1))).unwrap();
        let session = self.session(1);
        held(&session);
        self.scene().calls.clear();
        session
    }

    fn pass(&self, time: Duration) {
        self.scene().now += time;
    }

    /// The calls since the last question.
    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.scene().calls)
    }

    /// Another session takes the lease.
    fn take_lease(&self) {
        let mut scene = self.scene();
        scene.version += 10;
        scene.lease = Lease::Of(7);
    }
}

impl Clock for Server {
    fn now(&self) -> Moment {
        let boot = self.scene().now;
        Moment { boot, wall: boot + WALL }
    }

    fn boot_id(&self) -> Option<BootId> {
        Some(BootId([1; 16]))
    }
}

/// Another machine, whose wall clock is wrong by this many seconds, and which booted that many seconds ago.
struct Elsewhere(Server, i64, u64);

impl Clock for Elsewhere {
    fn now(&self) -> Moment {
        Moment { boot: Duration::from_secs(self.2), wall: ahead(self.0.now().wall, self.1) }
    }

    fn boot_id(&self) -> Option<BootId> {
        Some(BootId([9; 16]))
    }
}

fn ahead(wall: Duration, seconds: i64) -> Duration {
    Duration::from_secs(wall.as_secs().checked_add_signed(seconds).unwrap())
}

impl Link {
    fn ask<T>(&self, call: &'static str, work: impl FnOnce(&mut Scene) -> T) -> Storing<'_, T>
    where
        T: Send + 'static,
    {
        let mut scene = self.server.scene();
        scene.calls.push(call);
        let takes = scene.call_takes;
        scene.now += takes;
        let answer = if scene.is_down {
            Err(Error::new(Status::PG_ERR_STORE, "the server is down"))
        } else {
            Ok(work(&mut scene))
        };
        Box::pin(std::future::ready(answer))
    }

    fn view(&self, scene: &Scene) -> LeaseView {
        LeaseView {
            is_held: scene.lease == Lease::Of(self.number),
            version: scene.version,
            record: scene.record.clone().filter(|record| !record.is_empty()),
            wall: scene.clock_ahead.map(|seconds| ahead(scene.now + WALL, seconds)),
        }
    }
}

impl Backend for Link {
    fn acquire(&self, _lease: Duration, known: u64) -> Storing<'_, Acquired> {
        self.ask("acquire", |scene| match scene.lease {
            Lease::Of(number) if number != self.number => {
                let generation = scene.record.as_ref().map_or(0, |record| record::generation(record));
                Acquired::Busy((generation > known).then(|| self.view(scene)))
            }
            _ => {
                scene.version += 1;
                scene.lease = Lease::Of(self.number);
                Acquired::Held(self.view(scene))
            }
        })
    }

    fn load(&self, _lease: Duration) -> Storing<'_, LeaseView> {
        self.ask("load", |scene| self.view(scene))
    }

    fn write<'a>(&'a self, _lease: Duration, version: u64, write: RecordWrite<'a>) -> Storing<'a, bool> {
        let record = write.record.clone();
        let is_lost = std::mem::take(&mut self.server.scene().loses_answer);
        let answer = self.ask("write", |scene| {
            if scene.version != version {
                return false;
            }
            (scene.version, scene.record) = (version + 1, Some(record));
            if write.frees_lease {
                scene.lease = Lease::Free;
            }
            true
        });
        if is_lost {
            return Box::pin(std::future::ready(Err(Error::new(Status::PG_ERR_STORE, "no answer"))));
        }
        answer
    }

    fn renew(&self, _lease: Duration, version: u64) -> Storing<'_, bool> {
        self.ask("renew", |scene| scene.lease == Lease::Of(self.number) && scene.version == version)
    }

    fn release(&self) -> Storing<'_, ()> {
        self.ask("release", |scene| scene.lease = Lease::Free)
    }

    fn sleep_for(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut scene = self.server.scene();
        scene.calls.push("sleep");
        scene.now += time;
        Box::pin(std::future::ready(()))
    }

    fn wait_for_change(&self, most: Duration) -> Storing<'_, ()> {
        let mut scene = self.server.scene();
        scene.now += most;
        scene.lease = scene.after_wait.take().unwrap_or(scene.lease);
        Box::pin(std::future::ready(Ok(())))
    }

    fn warning(&self) -> Option<String> {
        Some("a warning of the server".into())
    }
}

fn wait<T>(operation: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(operation)
}

/// Takes the lease, and loads the record.
fn held(session: &LeasedStore<Link>) {
    assert_eq!(wait(session.lock(0)).unwrap(), Lock::Held);
    wait(session.load()).unwrap();
}

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn pair(number: u64) -> Pair {
    let anchor = Moment { boot: 1000 * SECOND, wall: 1000 * SECOND + WALL };
    let token = Token::new(secret(&format!("a{number}")), Lifetime::of(3600 * SECOND), anchor);
    Pair { token, refresh: Some(RefreshToken::new(secret(&format!("r{number}")))) }
}

fn refusal(server: &Server) -> Refusal {
    Refusal::after(0, true, Error::new(Status::PG_ERR_RATE_LIMITED, "wait"), server.now())
}

/// The refresh token that an intent gives.
fn claimed(session: &LeasedStore<Link>) -> Result<Option<String>, Error> {
    let claimed = wait(session.intend())?;
    Ok(claimed.map(|refresh| refresh.secret().expose().to_owned()))
}

fn is_lost(error: &Error) -> bool {
    error.status == Status::PG_ERR_STORE
        && error.text
            == "store test: the lease has ended, or another session has taken it; the session goes on and tries again"
}

#[test]
fn an_owner_has_a_name_of_its_own() {
    let names = [new_owner().unwrap(), new_owner().unwrap()];
    assert!(names[0] != names[1] && names.iter().all(|name| name.len() == 32), "{names:?}");
}

#[test]
fn the_warning_is_that_of_the_server() {
    assert_eq!(Server::new().session(1).warning().as_deref(), Some("a warning of the server"));
}

#[test]
fn a_refresh_token_that_is_put_back_can_be_taken_again() {
    let server = Server::new();
    let session = server.holder();
    assert_eq!(claimed(&session).unwrap().as_deref(), Some("r1"));
    assert_eq!(claimed(&session).unwrap(), None, "it is taken");
    wait(session.retract(RefreshToken::new(secret("r1")))).unwrap();
    assert_eq!(claimed(&session).unwrap().as_deref(), Some("r1"));
}

#[test]
fn a_refusal_is_there_for_other_sessions_and_the_lease_stays() {
    let server = Server::new();
    let session = server.holder();
    wait(session.back_off(refusal(&server))).unwrap();
    assert_eq!(server.scene().lease, Lease::Of(1));
    let found = wait(server.session(2).load()).unwrap().back_off.unwrap();
    assert_eq!(found.error.status, Status::PG_ERR_RATE_LIMITED);
}

#[test]
fn the_lease_is_freed_once() {
    let server = Server::new();
    let session = server.holder();
    wait(session.unlock()).unwrap();
    assert_eq!((server.calls(), server.scene().lease), (vec!["release"], Lease::Free));
    wait(session.unlock()).unwrap();
    assert!(server.calls().is_empty(), "it is free");
    held(&session);
    wait(session.commit(1, pair(2))).unwrap();
    assert_eq!(server.scene().lease, Lease::Free, "the commit frees it");
    server.calls();
    wait(session.unlock()).unwrap();
    assert!(server.calls().is_empty());
}

#[test]
fn a_waiter_gets_a_newer_pair_while_the_lease_is_held() {
    let server = Server::new();
    let waiter = server.session(2);
    server.holder();
    assert_eq!(wait(waiter.lock(0)).unwrap(), Lock::Moved);
    server.calls();
    assert_eq!(wait(waiter.load()).unwrap().committed.unwrap().generation(), 1);
    assert!(server.calls().is_empty(), "the record came with the answer");
    // The same pair is not newer.
    server.scene().after_wait = Some(Lease::Free);
    assert_eq!(wait(waiter.lock(1)).unwrap(), Lock::Held);
}

#[test]
fn a_wait_for_the_lease_ends_with_an_error_that_says_what_to_look_for() {
    let server = Server::new();
    server.take_lease();
    let begun = server.scene().now;
    let error = wait(server.session(1).lock(0)).unwrap_err();
    assert!(error.text.contains("other sessions have held the lease for more than 20 s"), "{error}");
    assert_eq!(error.status, Status::PG_ERR_STORE);
    let waited = server.scene().now - begun;
    assert!((PATIENCE..PATIENCE + SECOND).contains(&waited), "{waited:?}");
}

#[test]
fn a_record_that_cannot_be_read_is_not_asked_for_again() {
    let server = Server::new();
    let mut broken = server.session(9);
    held(&broken);
    wait(broken.commit(0, pair(1))).unwrap();
    broken = server.session(2);
    {
        let mut scene = server.scene();
        // A generation that says that it is newer, and a checksum that is wrong.
        let record = scene.record.as_mut().unwrap();
        let last = record.len() - 1;
        record[last] ^= 1;
        scene.lease = Lease::Of(7);
        scene.after_wait = Some(Lease::Free);
    }
    assert_eq!(wait(broken.lock(0)).unwrap(), Lock::Held);
    assert!(wait(broken.load()).unwrap().committed.is_none());
}

/// Such a record comes from a session that had seen a pair before the server was emptied.
#[test]
fn a_record_without_a_pair_is_not_a_newer_one() {
    let server = Server::new();
    let session = server.holder();
    server.scene().record = None;
    wait(session.load()).unwrap();
    wait(session.back_off(refusal(&server))).unwrap();
    server.scene().after_wait = Some(Lease::Free);
    assert_eq!(wait(server.session(2).lock(0)).unwrap(), Lock::Held);
}

#[test]
fn nothing_is_written_without_the_lease() {
    let server = Server::new();
    let session = server.holder();
    wait(session.unlock()).unwrap();
    server.calls();
    assert!(is_lost(&claimed(&session).unwrap_err()));
    assert!(is_lost(&wait(session.retract(RefreshToken::new(secret("r1")))).unwrap_err()));
    assert!(is_lost(&wait(session.back_off(refusal(&server))).unwrap_err()));
    assert!(is_lost(&wait(session.commit(1, pair(2))).unwrap_err().error));
    assert!(is_lost(&wait(session.forget()).unwrap_err()));
    assert!(server.calls().is_empty());
}

#[test]
fn a_session_that_lost_the_lease_writes_nothing_and_knows_it_afterwards() {
    let server = Server::new();
    let session = server.holder();
    server.take_lease();
    assert!(is_lost(&wait(session.back_off(refusal(&server))).unwrap_err()));
    server.calls();
    assert!(is_lost(&wait(session.back_off(refusal(&server))).unwrap_err()));
    assert!(server.calls().is_empty(), "it does not try");
}

#[test]
fn a_call_needs_a_lease_of_the_last_two_seconds() {
    let server = Server::new();
    let session = server.holder();
    server.pass(RENEWAL);
    wait(session.ensure_lease()).unwrap();
    assert!(server.calls().is_empty(), "it is recent");
    server.pass(SECOND / 1000);
    wait(session.ensure_lease()).unwrap();
    assert_eq!(server.calls(), ["renew"]);
    wait(session.ensure_lease()).unwrap();
    assert!(server.calls().is_empty(), "it is recent again");
    server.pass(3 * SECOND);
    server.scene().is_down = true;
    assert!(wait(session.ensure_lease()).is_ok(), "the call uses up no token");
    server.scene().is_down = false;
    server.take_lease();
    assert!(is_lost(&wait(session.ensure_lease()).unwrap_err()));
    // Without a lease nothing can be lost.
    assert!(wait(server.session(3).ensure_lease()).is_ok());
}

#[test]
fn a_lease_whose_renewal_took_longer_than_two_seconds_is_not_recent() {
    let server = Server::new();
    let session = server.holder();
    server.pass(3 * SECOND);
    server.scene().call_takes = 3 * SECOND;
    assert!(is_lost(&wait(session.ensure_lease()).unwrap_err()));
}

#[test]
fn the_lease_is_renewed_until_it_is_lost() {
    let server = Server::new();
    let session = server.holder();
    server.take_lease();
    let begun = server.scene().now;
    wait(session.keep_lease());
    assert_eq!((server.calls(), server.scene().now - begun), (vec!["sleep", "renew"], RENEWAL));
    // Nothing is renewed without a lease.
    wait(server.session(3).keep_lease());
    assert!(server.calls().is_empty());
}

#[test]
fn a_pair_whose_commit_was_not_answered_is_found_in_the_record() {
    let server = Server::new();
    let session = server.holder();
    server.scene().loses_answer = true;
    let uncommitted = wait(session.commit(1, pair(2))).unwrap_err();
    assert_eq!(uncommitted.error.text, "no answer");
    server.calls();
    assert_eq!(wait(session.commit(1, uncommitted.pair)).unwrap().generation(), 2);
    assert_eq!(server.calls(), ["load"], "it is not written again");
    assert_eq!(wait(session.load()).unwrap().committed.unwrap().generation(), 2);
}

#[test]
fn an_intent_whose_answer_was_lost_is_taken_back() {
    let server = Server::new();
    let session = server.holder();
    server.scene().loses_answer = true;
    assert_eq!(claimed(&session).unwrap_err().text, "no answer");
    assert_eq!(server.calls(), ["write", "load", "write"]);
    assert_eq!(claimed(&session).unwrap().as_deref(), Some("r1"));
}

#[test]
fn a_token_is_not_handed_out_if_the_lease_was_lost_meanwhile() {
    let server = Server::new();
    let session = server.holder();
    server.take_lease();
    assert!(is_lost(&claimed(&session).unwrap_err()));
    let record = server.scene().record.clone();
    assert_eq!(claimed(&server.session(7)).map_err(|error| is_lost(&error)), Err(true), "not locked");
    assert_eq!(server.scene().record, record, "the record is as it was");
}

#[test]
fn a_holder_that_finds_another_holder_waits_for_it() {
    let server = Server::new();
    let session = server.holder();
    server.take_lease();
    server.scene().after_wait = Some(Lease::Free);
    assert_eq!(wait(session.load()).unwrap().committed.unwrap().generation(), 1);
    assert_eq!(server.calls(), ["load", "acquire", "acquire"]);
    assert_eq!(server.scene().lease, Lease::Of(1));
    // A holder that still has the lease asks for nothing else.
    wait(session.load()).unwrap();
    assert_eq!(server.calls(), ["load"]);
    // One that never had it does not wait.
    server.take_lease();
    wait(server.session(3).load()).unwrap();
    assert_eq!(server.calls(), ["load"]);
}

#[test]
fn a_forgotten_account_has_no_record_and_a_later_pair_is_found() {
    let server = Server::new();
    let session = server.holder();
    wait(session.forget()).unwrap();
    assert!(server.scene().record.as_ref().is_some_and(|record| record.is_empty()));
    assert_eq!(server.scene().lease, Lease::Free);
    assert!(wait(session.load()).unwrap().committed.is_none());
    held(&session);
    assert_eq!(wait(session.commit(0, pair(2))).unwrap().generation(), 1);
}

#[test]
fn an_inspection_shows_the_record_and_takes_no_lease() {
    let server = Server::new();
    drop(server.holder());
    let found = wait(server.session(2).inspect()).unwrap();
    assert_eq!(found.loaded.committed.unwrap().generation(), 1);
    assert_eq!((server.calls(), server.scene().lease), (vec!["load"], Lease::Of(1)));
}

/// The wall clocks of both machines are wrong: the server's clock decides how old a token is, and how long a pause.
#[test]
fn the_clock_of_the_server_counts_between_two_machines() {
    for (here, there, booted) in
        [(0, 0, 9999), (500, 900, 9999), (-500, -900, 9999), (500, -900, 4), (-500, 900, 4)]
    {
        let server = Server::new();
        server.scene().clock_ahead = Some(here);
        let session = server.session(1);
        held(&session);
        wait(session.commit(0, pair(1))).unwrap();
        held(&session);
        let pause = 30 * SECOND;
        wait(session.back_off(Refusal { until: server.now().boot + pause, ..refusal(&server) })).unwrap();
        assert_eq!(claimed(&session).unwrap().as_deref(), Some("r1"));
        server.pass(10 * SECOND);
        let clock = Arc::new(Elsewhere(server.clone(), there, booted));
        let other = server.session_on(clock.clone(), 2);
        let found = wait(other.load()).unwrap();
        let committed = found.committed.unwrap();
        assert_eq!(committed.token().remaining(clock.now()), 3590 * SECOND, "{here} {there}");
        assert!(!committed.has_uncertain_age);
        assert_eq!(found.back_off.unwrap().until, clock.now().boot + pause - 10 * SECOND, "{here} {there}");
        let claimant = wait(server.session_on(clock, 3).inspect()).unwrap().intent.unwrap();
        assert_eq!(claimant.age, Some(10 * SECOND), "{here} {there}");
    }
}
