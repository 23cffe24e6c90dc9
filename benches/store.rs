//! The cost of a shared store: the time of a flight on each store, compared with the work of the disk alone, and how long
//! after the first of forty processes the last one has the new token. It has no pass or fail.

#![allow(missing_docs, reason = "a program")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "an error ends the program")]
#![allow(clippy::print_stdout, reason = "it prints its results")]
#![allow(dead_code, reason = "the tests use the rest of what they share with it")]

#[path = "../tests/store_redis/child.rs"]
mod child;
#[path = "../tests/store_redis/proxy.rs"]
mod proxy;
#[path = "../tests/support/redis_server.rs"]
mod server;
#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use child::Asking;
use paymentsgate_auth::session::Session;
use pg_sandbox::{Options, Sandbox};
use proxy::Proxy;
use server::RedisServer;

const FLIGHTS: usize = 200;
const ROUNDS: usize = 5;
const PROCESSES: usize = 40;
/// About the size of a record.
const RECORD: [u8; 1024] = [7; 1024];

fn main() {
    if child::serve() {
        return;
    }
    // Beside the build, because /tmp may be a file system in memory.
    let here = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tempfile::tempdir_in(here).unwrap();
    let redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let proxy = Proxy::start(redis.port);
    let file = format!("file:{}", folder.path().join("sessions").display());

    let [memory, in_folder, on_redis, memory_again] =
        flights(["memory:", &file, &redis.url(), "memory:"]).map(micros);
    let [fsyncs, fsyncs_again] =
        [(), ()].map(|()| micros(median((0..FLIGHTS).map(|_| four_fsyncs(folder.path())).collect())));
    row("a refresh on redis://, fsync always", "memory:", "us", [on_redis, memory, memory_again], 0.0);
    let beyond = in_folder - memory;
    row("a refresh on file:, beyond memory:", "four fsyncs", "us", [beyond, fsyncs, fsyncs_again], 1.5);

    proxy.forget();
    let [_] = flights([&proxy.url()]);
    let scripts = proxy.asked("-- ") as f64 / FLIGHTS as f64;
    row("scripts that a refresh sends to Redis", "one", "", [scripts, 1.0, 0.0], 0.0);

    for (what, store) in [("file:", &file), ("redis://", &redis.url())] {
        let spreads: Vec<_> = (0..ROUNDS).map(|_| spread(store)).collect();
        let what =
            format!("{PROCESSES} processes at expiry on {what}: from the first to the last one served");
        row(&what, "the limit", "ms", [millis(median(spreads)), 100.0, 0.0], 1.0);
    }
}

/// A line for `benches/table.py`: the figure of this library, of what it is compared with, and that once more.
fn row(what: &str, beside: &str, unit: &str, [ours, theirs, again]: [f64; 3], goal: f64) {
    println!("row\t{what}\t{beside}\t{unit}\t{ours:.2}\t{theirs:.2}\t{again:.2}\t{goal}");
}

/// The median time of a refresh on each store, measured alternately.
fn flights<const N: usize>(stores: [&str; N]) -> [Duration; N] {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let sessions = stores.map(|store| {
        let session = open(&sandbox, store);
        session.token(support::PATIENCE, support::NOW).unwrap();
        session
    });
    let mut times = stores.map(|_| Vec::new());
    for _ in 0..FLIGHTS {
        support::pass(&sandbox, 3600);
        for (session, times) in sessions.iter().zip(&mut times) {
            let begun = Instant::now();
            session.token(support::PATIENCE, support::NOW).unwrap();
            times.push(begun.elapsed());
        }
    }
    times.map(median)
}

fn open(sandbox: &Sandbox, store: &str) -> Session {
    let mut config = support::config(sandbox);
    config.set("store", store).unwrap();
    Session::open(&support::client(&config, &sandbox.urls().https), &config).unwrap()
}

/// The disk writes of a flight without the flight: two records, each replaced atomically and durably.
fn four_fsyncs(folder: &Path) -> Duration {
    let (new, old) = (folder.join("new"), folder.join("old"));
    let begun = Instant::now();
    for _ in 0..2 {
        let mut file = File::create(&new).unwrap();
        file.write_all(&RECORD).unwrap();
        file.sync_all().unwrap();
        fs::rename(&new, &old).unwrap();
        File::open(folder).unwrap().sync_all().unwrap();
    }
    begun.elapsed()
}

/// The time from the first process with the new token to the last one, with one refresh for all.
fn spread(store: &str) -> Duration {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    open(&sandbox, store).token(support::PATIENCE, support::NOW).unwrap();
    support::pass(&sandbox, 3600);
    let mut children: Vec<_> = (0..PROCESSES).map(|_| Asking::start(&sandbox, store)).collect();
    children.iter_mut().for_each(Asking::go);
    let told: Vec<_> = children.iter_mut().map(|child| child.told().1).collect();
    let counters = sandbox.counters();
    assert_eq!(counters.pairs_refreshed, 1, "one call for all");
    Duration::from_micros(told.iter().max().unwrap() - told.iter().min().unwrap())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
