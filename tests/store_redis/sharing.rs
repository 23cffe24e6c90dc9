//! One pair for many: threads, processes, accounts.

use std::sync::Arc;
use std::thread;

use paymentsgate_auth::client::Client;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use pg_sandbox::{Action, Fault, Point, Route};
use rustix::process::{Pid, Signal, kill_process};

use crate::child::Asking;
use crate::proxy::{ACQUIRE, Trouble, WRITE};
use crate::shared::{Fixture, generation};
use crate::support::{NOW, PATIENCE, client, eventually};

#[test]
fn two_clients_share_one_pair() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.session(), fixture.session());
    assert_eq!((generation(&one), generation(&other)), (1, 1));
    assert_eq!(fixture.calls(), (1, 0));
    for round in 1..4 {
        fixture.pass(3590);
        assert_eq!((generation(&other), generation(&one)), (round + 1, round + 1));
        assert_eq!(fixture.calls(), (1, round));
    }
}

#[test]
fn twenty_four_processes_at_expiry_make_one_call() {
    let fixture = Fixture::new();
    fixture.seed();
    for round in 1..=2 {
        let mut children: Vec<_> = (0..24).map(|_| fixture.child(&fixture.redis.url())).collect();
        children.iter_mut().for_each(Asking::go);
        let tokens: Vec<_> = children.iter_mut().map(Asking::token).collect();
        assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
        assert_eq!(fixture.calls(), (1, round));
        fixture.pass(3600);
    }
}

/// Sessions of this many accounts on one client.
fn many(fixture: &Fixture, number: usize) -> Vec<Session> {
    let config = fixture.config(&fixture.redis.url(), &[]);
    let client = client(&config, &fixture.sandbox.urls().https);
    (0..number).map(|_| of_another_account(fixture, &client)).collect()
}

fn of_another_account(fixture: &Fixture, client: &Arc<Client>) -> Session {
    let account = fixture.sandbox.add_account().unwrap();
    Session::open(client, &fixture.login(&account.account_id, &account.public_key)).unwrap()
}

#[test]
fn sessions_of_one_client_share_a_connection_and_have_their_own_keys() {
    let fixture = Fixture::new();
    let sessions = many(&fixture, 40);
    thread::scope(|scope| {
        for session in &sessions {
            scope.spawn(|| assert_eq!(generation(session), 1));
        }
    });
    assert_eq!(fixture.redis.clients().len(), 1, "{:#?}", fixture.redis.clients());
    let mut tokens: Vec<_> =
        sessions.iter().map(|session| *session.token(PATIENCE, NOW).unwrap().token.fingerprint()).collect();
    tokens.sort_by_key(|token| format!("{token}"));
    tokens.dedup();
    assert_eq!(tokens.len(), 40, "accounts do not mix");
    assert_eq!(fixture.redis.cli(&["dbsize"]), "40");
    assert_eq!(fixture.calls(), (40, 0));
}

#[test]
fn a_reported_token_is_renewed_once_for_all_sessions() {
    let fixture = Fixture::new();
    let (one, two) = (fixture.session(), fixture.session());
    let old = one.token(PATIENCE, NOW).unwrap();
    two.token(PATIENCE, NOW).unwrap();
    fixture.pass(60);
    for session in [&one, &two] {
        session.reject(*old.token.fingerprint()).unwrap();
        assert_eq!(generation(session), 2);
    }
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn refused_credentials_are_presented_once_for_all_sessions_and_refusals_add_up() {
    let fixture = Fixture::new();
    let account = fixture.sandbox.add_account().unwrap();
    let config = fixture.login(&account.account_id, &fixture.sandbox.credentials().public_key);
    let session = || Session::open(&client(&config, &fixture.sandbox.urls().https), &config).unwrap();
    // Another process each time; the pauses are 30 s, 120 s and a quarter of an hour.
    for (strike, wait) in [(1, 30), (2, 120), (3, 900)] {
        for _ in 0..4 {
            let error = session().token(PATIENCE, NOW).unwrap_err();
            let left = error.retry_after.unwrap().as_secs();
            assert!(left <= wait && left + 5 > wait, "strike {strike}: {left} s");
            assert_eq!(error.status, Status::PG_ERR_REFUSED, "{error}");
        }
        assert_eq!(fixture.calls(), (strike, 0));
        fixture.pass(wait + 1);
    }
}

#[test]
fn a_waiter_subscribes_and_polls_from_time_to_time() {
    let fixture = Fixture::new();
    fixture.seed();
    fixture.sandbox.inject(Fault::new(Route::Refresh, Action::Hang).at(Point::Before)).unwrap();
    let mut holder = fixture.child(&fixture.redis.url());
    holder.go();
    eventually("a refresh that hangs", || fixture.sandbox.faults().is_empty());
    let session = fixture.session();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| generation(&session));
        let channel = fixture.redis.key("session").replace(":session", ":news");
        eventually("a listener", || fixture.redis.cli(&["pubsub", "numsub", &channel]).ends_with('1'));
        holder.kill();
        fixture.redis.end_lease();
        assert_eq!(waiting.join().unwrap(), 2);
    });
    assert_eq!(fixture.calls(), (2, 1));
}

#[test]
fn a_flight_makes_three_round_trips_and_a_fresh_token_none() {
    let fixture = Fixture::new();
    fixture.seed();
    let proxy = fixture.proxy();
    let session = fixture.session_at(&proxy.url(), &[]);
    let flown = |expected| {
        proxy.forget();
        assert_eq!(generation(&session), expected);
        assert_eq!((proxy.asked("-- "), proxy.asked(ACQUIRE)), (3, 1), "generation {expected}");
        assert!(proxy.asked("") <= 5, "including those of a new connection");
        proxy.forget();
        (0..100).for_each(|_| assert_eq!(generation(&session), expected));
        assert_eq!(proxy.asked(""), 0);
        fixture.pass(3600);
    };
    (2..5).for_each(flown);
    assert_eq!(fixture.calls(), (1, 3));
}

#[test]
fn an_unused_connection_is_closed() {
    let fixture = Fixture::new();
    let session = fixture.session();
    assert_eq!(generation(&session), 1);
    let first = fixture.redis.clients();
    fixture.pass(3600);
    assert_eq!(generation(&session), 2);
    let second = fixture.redis.clients();
    assert!(first.len() == 1 && second.len() == 1, "{first:?} {second:?}");
    let id = |line: &str| line.split(' ').next().unwrap().to_owned();
    assert_ne!(id(&first[0]), id(&second[0]));
}

#[test]
fn a_waiter_gets_the_committed_pair_without_the_lock() {
    let fixture = Fixture::new();
    fixture.seed();
    let proxy = fixture.proxy();
    let holder = fixture.session_at(&proxy.url(), &[]);
    let others: Vec<_> = (0..4).map(|_| fixture.session()).collect();
    proxy.next(WRITE, Trouble::Hold);
    thread::scope(|scope| {
        let flying = scope.spawn(|| generation(&holder));
        proxy.await_struck(1);
        let waiting: Vec<_> = others.iter().map(|other| scope.spawn(|| generation(other))).collect();
        eventually("waiters", || fixture.redis.count("eval") > 12);
        proxy.go_on();
        assert_eq!(flying.join().unwrap(), 2);
        waiting.into_iter().for_each(|waiting| assert_eq!(waiting.join().unwrap(), 2));
    });
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn a_forked_child_opens_its_own_connection_and_the_parent_keeps_its_one() {
    let fixture = Fixture::new();
    let mut parent = fixture.child(&fixture.redis.url());
    parent.go();
    let (first, _, parents) = parent.told();
    parent.say("fork");
    let (renewed, _, childs) = parent.told();
    assert!(renewed != first && childs != parents);
    assert_eq!(fixture.calls(), (2, 0), "a token that is refused young is replaced by an Issue");
    assert_eq!(fixture.redis.clients().len(), 2);
    parent.say("renew");
    assert_eq!(parent.token(), renewed, "the parent and its child share it");
    assert_eq!(fixture.calls(), (2, 0));
    assert_eq!(fixture.redis.clients().len(), 2);
    kill_process(Pid::from_raw(childs).unwrap(), Signal::KILL).unwrap();
}
