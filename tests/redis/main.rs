//! Sessions that share a real Redis server, against the emulator over real TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../bench/mod.rs"]
mod bench;
mod server;

use std::sync::MutexGuard;

use bench::{NOW, PATIENCE, client, config, turn};
use paymentsgate_auth::config::Config;
use paymentsgate_auth::session::Session;
use pg_sandbox::{Options, Route, Sandbox};
use server::RedisServer;

struct Bench {
    sandbox: Sandbox,
    redis: RedisServer,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Self {
        let _turn = turn();
        Bench { sandbox: Sandbox::start(Options::default()).unwrap(), redis: RedisServer::start(&[]), _turn }
    }

    fn config(&self) -> Config {
        let mut config = config(&self.sandbox);
        config.set("store", &self.redis.url()).unwrap();
        config
    }

    /// A session with a client of its own, as another process has.
    fn session(&self) -> Session {
        let config = self.config();
        Session::open(&client(&config, &self.sandbox.urls().https), &config).unwrap()
    }

    fn pass(&self, seconds: u64) {
        bench::pass(&self.sandbox, seconds);
    }

    fn calls(&self) -> (u64, u64) {
        let counters = self.sandbox.counters();
        assert!(counters.most_presentations <= 1, "a refresh token was presented again");
        (counters.calls(Route::Issue), counters.calls(Route::Refresh))
    }
}

#[test]
fn two_clients_have_one_life() {
    let bench = Bench::new();
    let (one, other) = (bench.session(), bench.session());
    let first = one.token(PATIENCE, NOW).unwrap();
    let same = other.token(PATIENCE, NOW).unwrap();
    assert_eq!((first.generation, same.generation), (1, 1));
    assert_eq!(bench.calls(), (1, 0));
    for round in 1..4 {
        bench.pass(3590);
        let next = other.token(PATIENCE, NOW).unwrap();
        assert_eq!(next.generation, one.token(PATIENCE, NOW).unwrap().generation);
        assert_eq!(bench.calls(), (1, round));
    }
}
