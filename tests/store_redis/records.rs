//! The records in a Redis server: sealed, broken, of other accounts, and their keys.

use std::fs;
use std::time::Duration;

use paymentsgate_auth::event::{Body, Level, Operation};
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;

use crate::faults::{FAIL, told};
use crate::server::RedisServer;
use crate::shared::{Fixture, ONES, ZEROS, generation};
use crate::support::{NOW, PATIENCE, eventually};

/// All data of the server, as in a backup.
fn dump(fixture: &Fixture) -> Vec<u8> {
    assert_eq!(fixture.redis.cli(&["save"]), "OK");
    let mut bytes = fs::read(fixture.redis.folder.path().join("dump.rdb")).unwrap();
    bytes.extend(fixture.redis.cli_bytes(&["--no-raw", "hgetall", &fixture.redis.key("session")]));
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
fn a_sealed_record_shows_no_byte_of_a_token() {
    let fixture = Fixture::with(&["--rdbcompression", "no"]);
    let plain = fixture.session();
    let token = plain.token(PATIENCE, NOW).unwrap();
    assert!(holds(&dump(&fixture), token.token.access.expose()), "without a store key the token is readable");
    let line = first_line(&plain).unwrap();
    assert!(line.contains("store_key") && line.contains("127.0.0.1"), "{line}");
    fixture.pass(3600);
    let sealed = fixture.session_with(&[("store_key", ZEROS), ("store_accept_plain", "true")]);
    assert_eq!(first_line(&sealed), None);
    let next = sealed.token(PATIENCE, NOW).unwrap();
    assert_eq!((next.generation, fixture.calls()), (2, (1, 1)), "a plain record is sealed from now on");
    let dump = dump(&fixture);
    for token in [&token, &next] {
        let access = token.token.access.expose();
        assert!(access.len() > 16);
        for piece in access.as_bytes().windows(12) {
            assert!(!holds(&dump, std::str::from_utf8(piece).unwrap()));
        }
    }
    assert_eq!(generation(&fixture.session_with(&[("store_key", ZEROS)])), 2);
}

#[test]
fn a_session_with_another_key_works_alone_and_does_not_change_the_record() {
    let fixture = Fixture::new();
    fixture.session_with(&[("store_key", ZEROS)]).token(PATIENCE, NOW).unwrap();
    let sealed = fixture.redis.field("record");
    for settings in [&[("store_key", ONES), FAIL[0]][..], &FAIL] {
        let error = told(&fixture.session_with(settings));
        assert_eq!(error.status, Status::PG_ERR_STORE_KEY, "{error}");
        assert!(error.text.contains("127.0.0.1") && error.text.contains("store_key"), "{error}");
        assert!(!error.is_retryable() && !error.text.contains(ONES), "{error}");
    }
    let alone = fixture.session_with(&[("store_key", ONES)]);
    generation(&alone);
    fixture.pass(3600);
    generation(&alone);
    assert_eq!(fixture.calls(), (3, 0));
    assert_eq!(fixture.redis.field("record"), sealed);
    assert_eq!(fixture.redis.key("lock"), "", "the lease is released");
    assert_eq!(generation(&fixture.session_with(&[("store_key", &format!("{ONES},{ZEROS}"))])), 2);
    assert_eq!(fixture.calls(), (3, 1), "both keys open a record, the first one seals it");
    assert_eq!(generation(&fixture.session_with(&[("store_key", ONES)])), 2);
}

#[test]
fn a_broken_record_is_set_aside_and_replaced() {
    let fixture = Fixture::new();
    fixture.seed();
    let key = fixture.redis.key("session");
    fixture.redis.cli(&["hset", &key, "record", "PGRECORD, but truncated"]);
    let session = fixture.session();
    let healed = generation(&session);
    assert_eq!(fixture.calls(), (2, 0));
    assert_eq!(fixture.redis.field("broken"), "PGRECORD, but truncated");
    assert_eq!(generation(&fixture.session()), healed);
    for (field, value) in
        [("fence", "x"), ("generation", "x"), ("record", "x"), ("fence", "9007199254740993")]
    {
        // Before the token ages: a session that renews in the background would replace the record first.
        fixture.redis.cli(&["hset", &key, field, value]);
        fixture.pass(3600);
        let healed = generation(&session);
        assert_eq!(generation(&fixture.session()), healed, "{field} {value}");
    }
    assert_eq!(fixture.redis.field("broken"), "x", "the newest is kept");
    assert_eq!(fixture.calls(), (3, 3));
}

#[test]
fn a_record_of_another_account_is_refused_and_kept() {
    let fixture = Fixture::new();
    fixture.seed();
    let key = fixture.redis.key("session");
    generation(&fixture.other());
    let theirs: Vec<_> = fixture.redis.cli(&["keys", "pg:*:session"]).lines().map(str::to_owned).collect();
    let theirs = theirs.iter().find(|name| **name != key).unwrap();
    let swap = "redis.call('HSET', KEYS[1], 'record', redis.call('HGET', KEYS[2], 'record'))";
    fixture.redis.cli(&["eval", swap, "2", &key, theirs]);
    let before = fixture.redis.cli(&["hget", &key, "record"]);
    let error = told(&fixture.session_with(&FAIL));
    assert_eq!(error.status, Status::PG_ERR_STORE_REFUSED, "{error}");
    assert!(error.text.contains("another account"), "{error}");
    generation(&fixture.session());
    assert_eq!(fixture.redis.cli(&["hget", &key, "record"]), before);
}

#[test]
fn a_redis_key_of_another_type_is_an_error() {
    let fixture = Fixture::new();
    fixture.seed();
    let key = fixture.redis.key("session");
    fixture.redis.cli(&["set", &key, "a value of another program"]);
    let error = told(&fixture.session_with(&FAIL));
    assert!(error.text.contains("WRONGTYPE"), "{error}");
    generation(&fixture.session());
    assert_eq!(fixture.redis.cli(&["get", &key]), "a value of another program");
}

#[test]
fn the_keys_of_an_account_share_one_slot_of_a_cluster() {
    let fixture = Fixture::on(|| RedisServer::start(&["--cluster-enabled", "yes"]));
    let slots: Vec<_> = (0..16384).map(|slot| slot.to_string()).collect();
    for slots in slots.chunks(4096) {
        let words: Vec<_> =
            ["cluster", "addslots"].into_iter().chain(slots.iter().map(String::as_str)).collect();
        assert_eq!(fixture.redis.cli(&words), "OK");
    }
    eventually("a cluster", || fixture.redis.cli(&["cluster", "info"]).contains("cluster_state:ok"));
    fixture.seed();
    assert_eq!(generation(&fixture.session()), 2);
    assert_eq!(fixture.calls(), (1, 1));
    let key = fixture.redis.key("session");
    let slot = |end: &str| fixture.redis.cli(&["cluster", "keyslot", &key.replace(":session", end)]);
    assert!(slot(":session") == slot(":lock") && slot(":lock") == slot(":news"));
    // A node without the slot of the account is refused.
    fixture.redis.cli(&["cluster", "delslots", &slot(":session")]);
    let error = told(&fixture.session_with(&FAIL));
    assert!(error.status == Status::PG_ERR_STORE_REFUSED && error.text.contains("proxy"), "{error}");
}
