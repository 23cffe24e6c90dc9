//! A Redis server that is down, slow, cut off during a command, empty, outdated, read-only, loading or full.

use std::thread;
use std::time::Duration;

use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;

use crate::proxy::{ACQUIRE, LOAD, RELEASE, Trouble, WRITE};
use crate::server::RedisServer;
use crate::shared::{Fixture, generation};
use crate::support::{NOW, eventually};

pub(crate) const FAIL: [(&str, &str); 1] = [("on_store_down", "fail")];

/// The error of a session that allows no private pair, after its flight has ended.
pub(crate) fn told(session: &Session) -> Error {
    for _ in 0..60 {
        let error = session.token(Duration::from_millis(500), NOW).expect_err("the session has a token");
        if error.status != Status::PG_ERR_TIMEOUT {
            return error;
        }
    }
    panic!("the session has no error");
}

/// During the trouble sessions obtain a private pair, not with the shared refresh token; afterwards the store recovers.
fn is_survived(fixture: &Fixture, store: &str, end: impl FnOnce()) {
    let session = fixture.session_at(store, &[]);
    let (issues, refreshes) = fixture.calls();
    assert!(generation(&session) >= 1);
    assert_eq!(fixture.calls(), (issues + 1, refreshes), "a private pair");
    end();
    fixture.pass(3600);
    let healed = generation(&session);
    assert_eq!(generation(&fixture.session()), healed, "all share one pair again");
}

#[test]
fn without_the_redis_server_sessions_still_get_tokens_and_recover() {
    let mut fixture = Fixture::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let session = fixture.session();
    assert_eq!(generation(&session), 1);
    fixture.redis.kill();
    fixture.pass(3000);
    assert_eq!(generation(&session), 1, "in its advisory window it is served");
    fixture.pass(600);
    assert_eq!(generation(&session), 2, "a private pair");
    assert_eq!(fixture.calls(), (2, 0), "the shared refresh token is not presented");
    let error = told(&fixture.session_with(&FAIL));
    assert_eq!(error.status, Status::PG_ERR_STORE);
    assert!(error.text.contains("127.0.0.1") && error.text.contains("check host and port"), "{error}");
    assert!(error.is_retryable(), "{error}");
    fixture.redis.start_again();
    fixture.pass(3600);
    assert_eq!(generation(&session), 3);
    assert_eq!(fixture.calls(), (2, 1), "the shared refresh token is presented once the server is back");
    assert_eq!(generation(&fixture.session()), 3);
}

#[test]
fn after_a_lost_answer_the_command_is_sent_again() {
    let fixture = Fixture::new();
    fixture.seed();
    let proxy = fixture.proxy();
    let session = fixture.session_at(&proxy.url(), &[]);
    let mut expected = 1;
    for questions in [&[ACQUIRE][..], &[WRITE], &[WRITE, WRITE]] {
        for trouble in [Trouble::Cut, Trouble::CutAnswer] {
            let (last, earlier) = questions.split_last().unwrap();
            earlier.iter().for_each(|question| proxy.next(question, Trouble::None));
            proxy.next(last, trouble);
            let struck = proxy.struck();
            expected += 1;
            assert_eq!(generation(&session), expected, "{questions:?} {trouble:?}");
            assert_eq!(proxy.struck(), struck + questions.len());
            assert_eq!(generation(&fixture.session()), expected, "one generation for all");
            assert_eq!(fixture.redis.field("generation"), expected.to_string());
            assert_eq!(
                fixture.redis.cli(&["exists", &fixture.redis.key("session").replace(":session", ":lock")]),
                "0"
            );
            assert_eq!(fixture.calls(), (1, expected - 1));
            fixture.pass(3600);
        }
    }
}

#[test]
fn a_long_outage_during_a_flight_loses_no_pair_and_presents_no_token_twice() {
    for (number, questions) in [&[ACQUIRE][..], &[WRITE], &[WRITE, WRITE]].into_iter().enumerate() {
        for trouble in [Trouble::Cut, Trouble::CutAnswer] {
            let fixture = Fixture::new();
            fixture.seed();
            let proxy = fixture.proxy();
            let session = fixture.session_at(&proxy.url(), &[]);
            let (last, earlier) = questions.split_last().unwrap();
            earlier.iter().for_each(|question| proxy.next(question, Trouble::None));
            proxy.next(last, trouble);
            proxy.refuse_after(Some(questions.len()));
            generation(&session);
            // The session that presented it has the pair, even if the store may not have it.
            let expected = if number == 2 { (1, 1) } else { (2, 0) };
            assert_eq!(fixture.calls(), expected, "{questions:?} {trouble:?}");
            proxy.refuse_after(None);
            fixture.redis.end_lease();
            fixture.pass(3600);
            let healed = generation(&session);
            assert_eq!(generation(&fixture.session()), healed, "{questions:?} {trouble:?}");
            fixture.calls();
        }
    }
}

#[test]
fn an_intent_with_a_lost_answer_is_withdrawn_and_written_again() {
    let fixture = Fixture::new();
    fixture.seed();
    let proxy = fixture.proxy();
    let session = fixture.session_at(&proxy.url(), &[]);
    let mut expected = 1;
    for written in [Trouble::Cut, Trouble::CutAnswer] {
        for read in [Trouble::Cut, Trouble::CutAnswer] {
            proxy.forget();
            let struck = proxy.struck();
            // The command and its repetition.
            for (what, trouble) in [(WRITE, written), (WRITE, written), (LOAD, read)] {
                proxy.next(what, trouble);
            }
            expected += 1;
            assert_eq!(generation(&session), expected, "{written:?} {read:?}");
            assert_eq!((proxy.struck(), proxy.asked(LOAD)), (struck + 3, 2));
            assert_eq!(fixture.calls(), (1, expected - 1), "{written:?} {read:?}");
            fixture.pass(3600);
        }
    }
}

#[test]
fn the_answer_to_a_release_of_the_lease_can_be_lost() {
    let fixture = Fixture::new();
    fixture.seed();
    let proxy = fixture.proxy();
    let session = fixture.session_at(&proxy.url(), &[]);
    for trouble in [Trouble::Cut, Trouble::CutAnswer] {
        let newest = generation(&fixture.session());
        proxy.next(RELEASE, trouble);
        assert_eq!(generation(&session), newest, "{trouble:?}: adopted");
        eventually("freed", || fixture.redis.key("lock").is_empty());
        assert_eq!(proxy.asked(RELEASE), 2, "{trouble:?}");
        proxy.forget();
        fixture.pass(3600);
    }
}

#[test]
fn a_slow_redis_server_does_not_delay_callers_for_long() {
    let fixture = Fixture::new();
    fixture.seed();
    let proxy = fixture.proxy();
    proxy.freeze(true);
    let told = told(&fixture.session_at(&proxy.url(), &FAIL));
    assert!(told.status == Status::PG_ERR_STORE && told.text.contains("no answer within 5s"), "{told}");
    is_survived(&fixture, &proxy.url(), || proxy.freeze(false));
    // Not so long that the command would time out.
    fixture.redis.cli(&["client", "pause", "1000"]);
    fixture.pass(3600);
    let (issues, refreshes) = fixture.calls();
    generation(&fixture.session());
    assert_eq!(fixture.calls(), (issues, refreshes + 1));
}

#[test]
fn a_redis_server_that_restarts_empty_gets_the_pair_again() {
    let mut fixture = Fixture::new();
    let (one, other) = (fixture.session(), fixture.session());
    assert_eq!((generation(&one), generation(&other)), (1, 1));
    fixture.pass(3600);
    fixture.redis.kill();
    fixture.redis.start_again();
    assert_eq!(fixture.redis.cli(&["dbsize"]), "0");
    assert_eq!((generation(&one), generation(&other)), (2, 2), "generations go on");
    assert_eq!(fixture.calls(), (2, 0));
    assert_eq!(generation(&fixture.session()), 2);
}

#[test]
fn a_redis_server_that_restarts_empty_during_a_flight_gets_the_pair() {
    let mut fixture = Fixture::new();
    fixture.seed();
    let proxy = fixture.proxy();
    let session = fixture.session_at(&proxy.url(), &[]);
    proxy.next(WRITE, Trouble::None);
    proxy.next(WRITE, Trouble::Hold);
    thread::scope(|scope| {
        let flying = scope.spawn(|| generation(&session));
        proxy.await_struck(2);
        fixture.redis.cli(&["flushall"]);
        proxy.go_on();
        assert_eq!(flying.join().unwrap(), 2);
    });
    assert_eq!(generation(&fixture.session()), 2);
    assert_eq!(fixture.calls(), (1, 1));
    fixture.redis.kill();
}

#[test]
fn a_session_with_a_newer_token_ignores_an_older_record() {
    let mut fixture = Fixture::with(&["--dbfilename", "dump"]);
    let session = fixture.session();
    assert_eq!(generation(&session), 1);
    assert_eq!(fixture.redis.cli(&["save"]), "OK");
    fixture.pass(3600);
    assert_eq!(generation(&session), 2);
    assert_eq!(fixture.calls(), (1, 1));
    fixture.redis.kill();
    fixture.redis.start_again();
    assert_eq!(fixture.redis.field("generation"), "1", "the old record has the spent refresh token");
    fixture.pass(3600);
    assert_eq!(generation(&session), 3);
    assert_eq!(fixture.calls(), (2, 1), "the spent refresh token is not presented");
    assert_eq!(generation(&fixture.session()), 3);
}

#[test]
fn a_session_follows_a_failover() {
    let fixture = Fixture::new();
    fixture.seed();
    let proxy = fixture.proxy();
    let session = fixture.session_at(&proxy.url(), &[]);
    assert_eq!(generation(&session), 2);
    let next = RedisServer::start(&["--replicaof", "127.0.0.1", &fixture.redis.port.to_string()]);
    eventually("a replica in step", || next.cli(&["info", "replication"]).contains("master_link_status:up"));
    eventually("the record there", || next.cli(&["dbsize"]) == "1");
    next.cli(&["replicaof", "no", "one"]);
    fixture.redis.cli(&["replicaof", "127.0.0.1", &next.port.to_string()]);
    fixture.pass(3600);
    // Until the address changes to the new primary, nothing can be written.
    let error = told(&fixture.session_at(&fixture.redis.url(), &FAIL));
    assert!(error.text.contains("read only replica") && error.text.contains("name the primary"), "{error}");
    assert!(error.is_retryable(), "{error}");
    let calls = fixture.calls();
    proxy.set_server(next.port);
    assert_eq!(generation(&session), 3, "on a new connection");
    assert_eq!(fixture.calls(), (calls.0, calls.1 + 1));
    assert_eq!(next.field("generation"), "3");
}

#[test]
fn while_redis_loads_its_data_the_session_backs_off() {
    let mut fixture = Fixture::with(&[
        "--dbfilename",
        "dump",
        "--key-load-delay",
        "20000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    fixture.seed();
    let fill = "for i = 1, 300 do redis.call('SET', 'filler' .. i, string.rep('x', 100)) end";
    fixture.redis.cli(&["eval", fill, "0"]);
    assert_eq!(fixture.redis.cli(&["save"]), "OK");
    fixture.redis.kill();
    fixture.redis.begin_again();
    eventually("loading", || fixture.redis.cli(&["info", "persistence"]).contains("loading:1"));
    let error = told(&fixture.session_with(&FAIL));
    assert!(error.text.contains("loading the dataset") && error.text.contains("starting"), "{error}");
    assert!(error.is_retryable(), "{error}");
    eventually("loaded", || fixture.redis.cli(&["ping"]) == "PONG");
    assert_eq!(generation(&fixture.session()), 2);
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn a_full_server_is_an_error_and_the_refresh_token_is_kept() {
    let fixture = Fixture::new();
    fixture.seed();
    fixture.redis.cli(&["config", "set", "maxmemory", "1"]);
    let error = told(&fixture.session_with(&FAIL));
    assert!(error.text.contains("OOM") && error.text.contains("raise maxmemory"), "{error}");
    is_survived(&fixture, &fixture.redis.url(), || {
        fixture.redis.cli(&["config", "set", "maxmemory", "0"]);
    });
    assert_eq!(fixture.calls(), (2, 1));
}

#[test]
fn a_server_that_is_not_redis_is_an_error() {
    let fixture = Fixture::new();
    let port = fixture.sandbox.urls().http.rsplit_once(':').unwrap().1.to_owned();
    let error = told(&fixture.session_at(&format!("redis://127.0.0.1:{port}"), &FAIL));
    assert_eq!(error.status, Status::PG_ERR_STORE, "{error}");
}
