//! `?replicas=1`: a write counts only once a replica has it.

use paymentsgate_auth::status::Status;
use rustix::process::{Pid, Signal, kill_process};

use crate::faults::{FAIL, told};
use crate::proxy::Proxy;
use crate::server::RedisServer;
use crate::shared::{Fixture, generation};
use crate::support::eventually;

fn replica_of(fixture: &Fixture) -> RedisServer {
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &fixture.redis.port.to_string()]);
    // The replica has acknowledged writes, and is not only connected.
    eventually("a replica in step", || fixture.redis.cli(&["wait", "1", "1000"]) == "1");
    replica
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}?replicas=1")
}

fn signal(server: &RedisServer, signal: Signal) {
    kill_process(Pid::from_raw(server.pid() as i32).unwrap(), signal).unwrap();
}

#[test]
fn a_write_reaches_the_replica_without_further_round_trips() {
    let fixture = Fixture::new();
    let replica = replica_of(&fixture);
    let proxy = Proxy::start(fixture.redis.port);
    let session = fixture.session_at(&url(proxy.port), &[]);
    for expected in 1..4 {
        proxy.forget();
        assert_eq!(generation(&session), expected);
        // An Issue has no intent.
        assert_eq!(proxy.asked("-- "), if expected == 1 { 2 } else { 3 });
        assert!(proxy.asked("") <= 5);
        assert_eq!(replica.field("generation"), expected.to_string(), "at once");
        fixture.pass(3600);
    }
    assert_eq!(fixture.calls(), (1, 2));
}

#[test]
fn without_the_replica_the_refresh_token_is_not_presented() {
    let fixture = Fixture::new();
    let replica = replica_of(&fixture);
    let store = url(fixture.redis.port);
    let session = fixture.session_at(&store, &[]);
    assert_eq!(generation(&session), 1);
    signal(&replica, Signal::STOP);
    fixture.pass(3600);
    let error = told(&fixture.session_at(&store, &FAIL));
    assert_eq!(error.status, Status::PG_ERR_STORE);
    assert!(error.text.contains("0 of 1 replicas") && error.text.contains("`replicas`"), "{error}");
    assert_eq!(fixture.calls(), (1, 0));
    assert_eq!(generation(&session), 2, "a private pair");
    assert_eq!(fixture.calls(), (2, 0));
    signal(&replica, Signal::CONT);
    eventually("a replica in step", || fixture.redis.cli(&["wait", "1", "1000"]) == "1");
    fixture.pass(3600);
    assert_eq!(generation(&session), 3);
    assert_eq!(fixture.calls(), (2, 1), "the refresh token was returned and is still good");
    drop(replica);
    fixture.pass(3600);
    generation(&session);
    assert_eq!(fixture.calls(), (3, 1), "nor after the replica has gone");
    let next = replica_of(&fixture);
    fixture.pass(3600);
    let healed = generation(&session);
    assert_eq!(fixture.calls(), (3, 2));
    assert_eq!(next.field("generation"), healed.to_string());
}

#[test]
fn a_replica_that_takes_over_has_the_intent() {
    let mut fixture = Fixture::new();
    let replica = replica_of(&fixture);
    let proxy = Proxy::start(fixture.redis.port);
    let store = url(proxy.port);
    assert_eq!(generation(&fixture.session_at(&store, &[])), 1);
    fixture.pass(3600);
    fixture.hang_refresh();
    let mut child = fixture.child(&store);
    child.go();
    eventually("a refresh that hangs", || fixture.sandbox.faults().is_empty());
    child.kill();
    fixture.redis.kill();
    replica.cli(&["replicaof", "no", "one"]);
    replica.end_lease();
    let session = fixture.session_at(&replica.url(), &[]);
    assert_eq!(generation(&session), 2);
    assert_eq!(fixture.calls(), (2, 1), "a presented refresh token is not presented again");
}
