//! Single steps of a flight on a record: what a ledger reads, writes and refuses.

use std::sync::Arc;
use std::time::Duration;

use super::key::RecordKey;
use super::keyring::Keyring;
use super::keyring::tests::keyring;
use super::ledger::{Bytes, Entry, Found, Ledger};
use crate::clock::{Clock, Moment};
use crate::error::{Error, ServerError};
use crate::expiry::Lifetime;
use crate::secret::Secret;
use crate::status::Status;
use crate::store::{Committed, Form, Refusal};
use crate::token::{Pair, RefreshToken, Token};

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Moment {
        Moment { boot: Duration::from_secs(1000), wall: Duration::from_secs(1_700_000_000) }
    }
}

fn ledger_of(account_id: &str, keyring: Option<Keyring>) -> Ledger {
    let key = RecordKey::new(&"https://pay.example".parse().unwrap(), account_id, "key");
    Ledger::new(key, keyring, Arc::new(Frozen), "here".into())
}

fn ledger() -> Ledger {
    ledger_of("account", None)
}

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn pair(number: u64) -> Pair {
    let lifetime = Lifetime::of(Duration::from_secs(3600));
    let token = Token::new(secret(&format!("a{number}")), lifetime, Frozen.now());
    Pair { token, refresh: Some(RefreshToken::new(secret(&format!("r{number}")))) }
}

/// The record of a pair, with the generation after `base`, and what callers get.
fn written(base: u64, number: u64) -> (Bytes, Committed) {
    ledger().next_record(None, base, &pair(number)).unwrap()
}

fn entry(ledger: &Ledger, bytes: &Bytes) -> Option<Entry> {
    ledger.read(Some(bytes)).unwrap().entry()
}

/// A ledger that has loaded this record.
fn knowing(bytes: &Bytes) -> Ledger {
    let mut ledger = ledger();
    let entry = entry(&ledger, bytes);
    ledger.load(entry);
    ledger
}

#[test]
fn a_record_is_newer_than_what_the_caller_and_this_process_know() {
    let (bytes, _) = written(4, 1);
    let found = entry(&ledger(), &bytes).unwrap();
    assert!(ledger().is_newer(&found, 4) && !ledger().is_newer(&found, 5) && !ledger().is_newer(&found, 6));
    assert!(!knowing(&bytes).is_newer(&found, 0));
}

#[test]
fn a_record_that_is_older_than_one_seen_before_gives_nothing() {
    let mut ledger = knowing(&written(4, 2).0);
    let old = written(0, 1).0;
    let loaded = ledger.load(entry(&ledger, &old));
    let committed = loaded.committed.unwrap();
    assert_eq!((committed.generation(), committed.has_refresh, loaded.has_worked), (5, false, true));
    assert!(ledger.claim(entry(&ledger, &old)).unwrap().is_none());
    let same = written(4, 2).0;
    assert!(ledger.load(entry(&ledger, &same)).committed.unwrap().has_refresh);
    assert_eq!(ledger.claim(entry(&ledger, &same)).unwrap().unwrap().secret.expose(), "r2");
}

#[test]
fn a_claim_is_undone_or_taken_back_only_with_its_token() {
    let mut ledger = knowing(&written(0, 1).0);
    let claim = ledger.claim(entry(&ledger, &written(0, 1).0)).unwrap().unwrap();
    let claimed = entry(&ledger, &claim.intent).unwrap();
    assert!(Ledger::is_claimed(&claimed) && !Ledger::is_claimed(&entry(&ledger, &claim.undo).unwrap()));
    assert!(ledger.load(entry(&ledger, &claim.undo)).committed.unwrap().has_refresh);
    let error = ledger.retract(Some(claimed), &RefreshToken::new(secret("r2"))).unwrap_err();
    assert!(error.text.contains("another session has replaced the intent of this flight"), "{error}");
    let back = ledger.retract(entry(&ledger, &claim.intent), &RefreshToken::new(secret("r1"))).unwrap();
    assert_eq!(ledger.claim(entry(&ledger, &back)).unwrap().unwrap().secret.expose(), "r1");
}

#[test]
fn a_pair_is_found_as_committed_only_in_a_newer_record_with_its_token() {
    let (bytes, _) = written(0, 1);
    let found = entry(&ledger(), &bytes).unwrap();
    assert_eq!(ledger().find_committed(&found, &pair(1)).unwrap().generation(), 1);
    assert!(ledger().find_committed(&found, &pair(2)).is_none(), "another pair");
    assert!(knowing(&bytes).find_committed(&found, &pair(1)).is_none(), "known already");
}

#[test]
fn a_pair_of_another_session_is_not_overwritten() {
    let theirs = written(0, 1).0;
    let mut ledger = ledger();
    let error = ledger.next_record(entry(&ledger, &theirs), 0, &pair(2)).map(drop).unwrap_err();
    assert!(error.text.contains("another session has committed a pair during this flight"), "{error}");
    // The same pair: an earlier write has arrived.
    let (_, committed) = ledger.next_record(entry(&ledger, &theirs), 0, &pair(1)).unwrap();
    assert_eq!((committed.generation(), committed.has_refresh), (1, true));
    // Known pairs are replaced.
    let mut knows = knowing(&theirs);
    assert_eq!(knows.next_record(entry(&knows, &theirs), 0, &pair(2)).unwrap().1.generation(), 2);
    assert_eq!(knows.next_record(entry(&knows, &theirs), 7, &pair(2)).unwrap().1.generation(), 8);
}

#[test]
fn a_refresh_token_that_may_have_been_taken_is_not_written_again() {
    let (bytes, _) = written(0, 1);
    let mut ledger = knowing(&bytes);
    let (offered, committed) = ledger.next_record(entry(&ledger, &bytes), 1, &pair(2)).unwrap();
    assert!(committed.has_refresh);
    // The write has not arrived.
    assert!(ledger.next_record(entry(&ledger, &bytes), 1, &pair(2)).unwrap().1.has_refresh);
    // It has, and nobody has touched the token.
    assert!(ledger.next_record(entry(&ledger, &offered), 1, &pair(2)).unwrap().1.has_refresh);
    // It has, and another session has taken the token.
    let other = knowing(&offered);
    let taken = other.claim(entry(&other, &offered)).unwrap().unwrap().intent;
    assert!(!ledger.next_record(entry(&ledger, &taken), 1, &pair(2)).unwrap().1.has_refresh);
    // Another pair has not been offered.
    let mut pair = pair(2);
    pair.refresh = Some(RefreshToken::new(secret("r3")));
    let (offered, committed) = ledger.next_record(entry(&ledger, &taken), 1, &pair).unwrap();
    assert!(committed.has_refresh);
    // Now it has, and it is taken too.
    let other = knowing(&offered);
    let taken = other.claim(entry(&other, &offered)).unwrap().unwrap().intent;
    assert!(!ledger.next_record(entry(&ledger, &taken), 1, &pair).unwrap().1.has_refresh);
}

/// The service may leave the refresh token as it is.
#[test]
fn a_refresh_token_that_stays_the_same_is_written_with_the_next_pair() {
    let mut ledger = ledger();
    let (bytes, committed) = ledger.next_record(None, 0, &pair(1)).unwrap();
    ledger.remember(&committed);
    assert_eq!(ledger.generation(), 1);
    let next = Pair { refresh: pair(1).refresh, ..pair(2) };
    let (_, committed) = ledger.next_record(entry(&ledger, &bytes), 1, &next).unwrap();
    assert_eq!((committed.generation(), committed.has_refresh), (2, true));
}

#[test]
fn a_record_that_cannot_be_used_is_an_error_that_says_what_to_do() {
    let (plain, _) = written(0, 1);
    let sealed = ledger_of("account", Some(keyring(&[1]))).next_record(None, 0, &pair(1)).unwrap().0;
    for (ledger, bytes, status, words) in [
        (
            ledger_of("other", None),
            &plain,
            Status::PG_ERR_STORE_REFUSED,
            "belongs to another account; move it away",
        ),
        (ledger(), &sealed, Status::PG_ERR_STORE_KEY, "the record is sealed, and no store_key is set"),
        (
            ledger_of("account", Some(keyring(&[2]))),
            &sealed,
            Status::PG_ERR_STORE_KEY,
            "sealed with another key",
        ),
        (
            ledger_of("account", Some(keyring(&[1]))),
            &plain,
            Status::PG_ERR_STORE_KEY,
            "the record is not sealed",
        ),
    ] {
        let error = ledger.read(Some(bytes)).map(drop).unwrap_err();
        assert_eq!(error.status, status, "{error}");
        assert!(error.text.starts_with("store here: ") && error.text.contains(words), "{error}");
    }
    assert!(matches!(ledger().read(None).unwrap(), Found::Nothing));
    assert!(matches!(ledger().read(Some(&plain[1..])).unwrap(), Found::Broken));
}

#[test]
fn an_inspection_names_the_store_and_the_form_of_the_record() {
    let (plain, _) = written(0, 1);
    let keyed = || ledger_of("account", Some(keyring(&[1])));
    let sealed = keyed().next_record(None, 0, &pair(1)).unwrap().0;
    let broken = Bytes::new(plain[1..].to_vec());
    for (ledger, bytes, form, has_token) in [
        (ledger(), None, None, false),
        (ledger(), Some(&broken), Some(Form::Broken), false),
        (ledger(), Some(&plain), Some(Form::Plain), true),
        (keyed(), Some(&sealed), Some(Form::Sealed), true),
    ] {
        let found = ledger.inspect(bytes).unwrap();
        assert_eq!((&*found.store_name, found.form), ("here", form));
        assert_eq!(found.loaded.committed.is_some(), has_token);
    }
}

/// Others can write to a store that is not sealed. Beside tokens of megabytes it would take seconds to redact the code.
#[test]
fn a_code_in_a_record_shows_no_token_and_is_left_out_beside_long_ones() {
    for (length, code, shown) in [(20, "a".repeat(20), Some("[redacted]")), (70_000, "ERROR_NO".into(), None)]
    {
        let token =
            Token::new(secret(&"a".repeat(length)), Lifetime::of(Duration::from_secs(3600)), Frozen.now());
        let (bytes, _) = ledger().next_record(None, 0, &Pair { token, refresh: None }).unwrap();
        let mut ledger = ledger();
        let server = Some(Box::new(ServerError { code: Some(code), ..ServerError::default() }));
        let error = Error { server, ..Error::new(Status::PG_ERR_REFUSED, "no") };
        let refusal = Refusal { strikes: 1, until: Duration::from_secs(1030), error };
        let refused = ledger.with_refusal(entry(&ledger, &bytes), &refusal).unwrap();
        let error = ledger.load(entry(&ledger, &refused)).back_off.unwrap().error;
        assert_eq!(error.server.and_then(|server| server.code).as_deref(), shown);
        let words = format!("the service refused the credentials ({});", shown.unwrap_or("no code"));
        assert!(error.text.starts_with(&words), "{}", error.text);
    }
}

#[test]
fn a_refusal_keeps_the_pair_and_says_who_refused() {
    let (bytes, _) = written(0, 1);
    let server = ServerError { code: Some("ERROR_NO".into()), ..ServerError::default() };
    for (status, words) in [
        (Status::PG_ERR_REFUSED, "the service refused the credentials (ERROR_NO); check account_id"),
        (Status::PG_ERR_RATE_LIMITED, "the service had too many requests"),
        (Status::PG_ERR_BLOCKED, "something refused Issue, but not in the API's own way"),
        (Status::PG_ERR_REDIRECT, "something refused Issue, but not in the API's own way"),
        (Status::PG_ERR_CONNECTION_LOST, "the answer to a refresh was lost, and on_ambiguous is fail"),
    ] {
        let error = Error {
            http_status: Some(403),
            server: Some(Box::new(server.clone())),
            ..Error::new(status, "the text of the service")
        };
        let until = Duration::from_secs(1030);
        let mut ledger = ledger();
        let refused =
            ledger.with_refusal(entry(&ledger, &bytes), &Refusal { strikes: 2, until, error }).unwrap();
        let loaded = ledger.load(entry(&ledger, &refused));
        assert!(loaded.committed.unwrap().has_refresh);
        let Refusal { strikes, until: found, error } = loaded.back_off.unwrap();
        assert_eq!((strikes, found, error.status, error.http_status), (2, until, status, Some(403)));
        assert_eq!(error.server.unwrap().code.as_deref(), Some("ERROR_NO"));
        assert!(error.text.starts_with(words), "{}", error.text);
        assert!(error.text.ends_with("(stored by another session of this account)"), "{}", error.text);
    }
}
