//! What lies in the server: sealed, broken, foreign, and under which names.

use std::fs;
use std::time::Duration;

use paymentsgate_auth::event::{Body, Level, Operation};
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;

use crate::faults::{FAIL, told};
use crate::server::RedisServer;
use crate::shared::{Bench, ONES, ZEROS, generation};
use crate::support::{NOW, PATIENCE, eventually};

/// All that the server has, as it would lie in a backup.
fn dump(bench: &Bench) -> Vec<u8> {
    assert_eq!(bench.redis.cli(&["save"]), "OK");
    let mut bytes = fs::read(bench.redis.folder.path().join("dump.rdb")).unwrap();
    bytes.extend(bench.redis.cli_bytes(&["--no-raw", "hgetall", &bench.redis.key("session")]));
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The first line of the log.
fn first_line(session: &Session) -> Option<String> {
    let queue = Queue::default();
    session.subscribe(queue.begin(1, Operation::Subscription).unwrap(), Level::PG_LOG_WARN);
    match queue.poll(Duration::ZERO).ok()??.body {
        Body::Log(_, line) => Some(line),
        _ => None,
    }
}

#[test]
fn with_a_key_no_byte_of_a_token_is_in_the_server() {
    let bench = Bench::with(&["--rdbcompression", "no"]);
    let plain = bench.session();
    let token = plain.token(PATIENCE, NOW).unwrap();
    assert!(holds(&dump(&bench), token.token.access.expose()), "without a key it is there");
    let line = first_line(&plain).unwrap();
    assert!(line.contains("store_key") && line.contains("127.0.0.1"), "{line}");
    bench.pass(3600);
    let sealed = bench.session_with(&[("store_key", ZEROS), ("store_accept_plain", "true")]);
    assert_eq!(first_line(&sealed), None);
    let next = sealed.token(PATIENCE, NOW).unwrap();
    assert_eq!((next.generation, bench.calls()), (2, (1, 1)), "what was plain is sealed from now on");
    let dump = dump(&bench);
    for token in [&token, &next] {
        let access = token.token.access.expose();
        assert!(access.len() > 16);
        for piece in access.as_bytes().windows(12) {
            assert!(!holds(&dump, std::str::from_utf8(piece).unwrap()));
        }
    }
    assert_eq!(generation(&bench.session_with(&[("store_key", ZEROS)])), 2);
}

#[test]
fn with_another_key_a_session_is_on_its_own_and_changes_nothing() {
    let bench = Bench::new();
    bench.session_with(&[("store_key", ZEROS)]).token(PATIENCE, NOW).unwrap();
    let sealed = bench.redis.field("record");
    for settings in [&[("store_key", ONES), FAIL[0]][..], &FAIL] {
        let error = told(&bench.session_with(settings));
        assert_eq!(error.status, Status::PG_ERR_STORE_KEY, "{error}");
        assert!(error.text.contains("127.0.0.1") && error.text.contains("store_key"), "{error}");
        assert!(!error.is_retryable() && !error.text.contains(ONES), "{error}");
    }
    let alone = bench.session_with(&[("store_key", ONES)]);
    generation(&alone);
    bench.pass(3600);
    generation(&alone);
    assert_eq!(bench.calls(), (3, 0));
    assert_eq!(bench.redis.field("record"), sealed);
    assert_eq!(bench.redis.key("lock"), "", "nor is the lease kept");
    assert_eq!(generation(&bench.session_with(&[("store_key", &format!("{ONES},{ZEROS}"))])), 2);
    assert_eq!(bench.calls(), (3, 1), "either opens, the first seals");
    assert_eq!(generation(&bench.session_with(&[("store_key", ONES)])), 2);
}

#[test]
fn a_broken_record_is_set_aside_and_healed() {
    let bench = Bench::new();
    bench.seed();
    let key = bench.redis.key("session");
    bench.redis.cli(&["hset", &key, "record", "PGRECORD, but not whole"]);
    let session = bench.session();
    let healed = generation(&session);
    assert_eq!(bench.calls(), (2, 0));
    assert_eq!(bench.redis.field("broken"), "PGRECORD, but not whole");
    assert_eq!(generation(&bench.session()), healed);
    for (field, value) in
        [("fence", "x"), ("generation", "x"), ("record", "x"), ("fence", "9007199254740993")]
    {
        bench.pass(3600);
        bench.redis.cli(&["hset", &key, field, value]);
        let healed = generation(&session);
        assert_eq!(generation(&bench.session()), healed, "{field} {value}");
    }
    assert_eq!(bench.redis.field("broken"), "x", "the newest is kept");
    assert_eq!(bench.calls(), (3, 3));
}

#[test]
fn the_record_of_another_account_is_refused_and_left_alone() {
    let bench = Bench::new();
    bench.seed();
    let key = bench.redis.key("session");
    generation(&bench.other());
    let theirs: Vec<_> = bench.redis.cli(&["keys", "pg:*:session"]).lines().map(str::to_owned).collect();
    let theirs = theirs.iter().find(|name| **name != key).unwrap();
    let swap = "redis.call('HSET', KEYS[1], 'record', redis.call('HGET', KEYS[2], 'record'))";
    bench.redis.cli(&["eval", swap, "2", &key, theirs]);
    let before = bench.redis.cli(&["hget", &key, "record"]);
    let error = told(&bench.session_with(&FAIL));
    assert_eq!(error.status, Status::PG_ERR_STORE_REFUSED, "{error}");
    assert!(error.text.contains("another account"), "{error}");
    generation(&bench.session());
    assert_eq!(bench.redis.cli(&["hget", &key, "record"]), before);
}

#[test]
fn a_key_of_another_kind_is_told() {
    let bench = Bench::new();
    bench.seed();
    let key = bench.redis.key("session");
    bench.redis.cli(&["set", &key, "something of somebody else"]);
    let error = told(&bench.session_with(&FAIL));
    assert!(error.text.contains("WRONGTYPE"), "{error}");
    generation(&bench.session());
    assert_eq!(bench.redis.cli(&["get", &key]), "something of somebody else");
}

#[test]
fn the_keys_of_an_account_are_in_one_slot_and_a_node_of_a_cluster_will_do() {
    let bench = Bench::on(|| RedisServer::start(&["--cluster-enabled", "yes"]));
    let slots: Vec<_> = (0..16384).map(|slot| slot.to_string()).collect();
    for slots in slots.chunks(4096) {
        let words: Vec<_> =
            ["cluster", "addslots"].into_iter().chain(slots.iter().map(String::as_str)).collect();
        assert_eq!(bench.redis.cli(&words), "OK");
    }
    eventually("a cluster", || bench.redis.cli(&["cluster", "info"]).contains("cluster_state:ok"));
    bench.seed();
    assert_eq!(generation(&bench.session()), 2);
    assert_eq!(bench.calls(), (1, 1));
    let key = bench.redis.key("session");
    let slot = |end: &str| bench.redis.cli(&["cluster", "keyslot", &key.replace(":session", end)]);
    assert!(slot(":session") == slot(":lock") && slot(":lock") == slot(":news"));
    // A part of the cluster is not the whole.
    bench.redis.cli(&["cluster", "delslots", &slot(":session")]);
    let error = told(&bench.session_with(&FAIL));
    assert!(error.status == Status::PG_ERR_STORE_REFUSED && error.text.contains("proxy"), "{error}");
}
