//! Credentials that are refused or replaced.

use paymentsgate_auth::config::Config;
use paymentsgate_auth::credentials::Credentials;
use paymentsgate_auth::event::Level;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use pg_sandbox::{Action, Point, Revoke, Route};
use serde_json::json;
use tempfile::TempDir;

use crate::fixture::{Fixture, answer, lines, log_of};
use crate::support::{NOW, PATIENCE, eventually};

#[test]
fn refused_credentials_are_not_presented_again_and_new_ones_are() {
    let fixture = Fixture::new();
    let good = fixture.sandbox.credentials().clone();
    let other = fixture.sandbox.add_account().unwrap();
    fixture
        .session
        .set_credentials(Credentials::new(&good.account_id, &other.public_key, "test").unwrap())
        .unwrap();
    for _ in 0..10 {
        let error = fixture.session.token(PATIENCE, NOW).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_REFUSED);
        let wait = error.retry_after.unwrap().as_secs();
        assert!((25..=30).contains(&wait), "the error has the longer of the two waits: {wait} s");
    }
    assert_eq!(fixture.calls(), (1, 0), "one strike, then a back-off");
    let error = fixture
        .session
        .set_credentials(Credentials::new(&other.account_id, &other.public_key, "test").unwrap())
        .unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_INVALID_ARGUMENT, "a session has one account: {error}");
    assert_eq!(fixture.session.token(PATIENCE, NOW).unwrap_err().status, Status::PG_ERR_REFUSED);
    fixture
        .session
        .set_credentials(Credentials::new(&good.account_id, &good.public_key, "test").unwrap())
        .unwrap();
    assert_eq!(fixture.token().generation, 1);
}

#[test]
fn a_refusal_of_old_credentials_does_not_affect_new_ones() {
    let fixture = Fixture::new();
    let good = fixture.sandbox.credentials().clone();
    let other = fixture.sandbox.add_account().unwrap();
    fixture
        .session
        .set_credentials(Credentials::new(&good.account_id, &other.public_key, "test").unwrap())
        .unwrap();
    fixture.fault(Route::Issue, Point::Before, Action::Delay { ms: 300 });
    fixture.session.token(NOW, NOW).unwrap_err();
    eventually("a running call", || fixture.calls().0 == 1);
    fixture
        .session
        .set_credentials(Credentials::new(&good.account_id, &good.public_key, "test").unwrap())
        .unwrap();
    assert_eq!(fixture.token().generation, 1);
}

#[test]
fn sessions_of_two_accounts_do_not_mix() {
    let fixture = Fixture::new();
    let other = fixture.sandbox.add_account().unwrap();
    let mut config = Config::default();
    config.set("account_id", &other.account_id).unwrap();
    config.set("public_key", &other.public_key).unwrap();
    let second = Session::open(&fixture.client, &config).unwrap();
    let (one, two) = (fixture.token(), second.token(PATIENCE, NOW).unwrap());
    assert_ne!(*one.token.fingerprint(), *two.token.fingerprint());
    second.reject(*one.token.fingerprint()).unwrap();
    assert_eq!(fixture.calls(), (2, 0), "a report of another session's token costs no call");
}

#[test]
fn with_credentials_that_have_worked_a_caller_waits_through_a_short_refusal() {
    let fixture = Fixture::new();
    let session = fixture.open(&[]);
    session.token(PATIENCE, NOW).unwrap();
    fixture.sandbox.revoke(&Revoke::All(true));
    fixture.pass(3601);
    fixture.fault(Route::Issue, Point::Before, answer(401, None, &[]));
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
}

#[test]
fn a_key_rotated_in_its_file_is_used_at_once_after_the_old_one_was_refused() {
    let fixture = Fixture::new();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("credentials.json");
    let write = |key: &str| {
        let account = &fixture.sandbox.credentials().account_id;
        std::fs::write(&file, json!({ "account_id": account, "public_key": key }).to_string()).unwrap();
    };
    write(&fixture.sandbox.add_account().unwrap().public_key);
    for store in [String::from("memory:"), format!("file:{}", folder.path().join("store").display())] {
        let session = fixture.open(&[("credentials_file", file.to_str().unwrap()), ("store", &store)]);
        let refused = session.token(PATIENCE, NOW).unwrap_err();
        assert_eq!(refused.status, Status::PG_ERR_REFUSED);
        std::fs::write(&file, "half of a fi").unwrap();
        fixture.pass(31);
        assert_eq!(session.token(PATIENCE, NOW).unwrap_err().status, Status::PG_ERR_REFUSED);
        write(&fixture.sandbox.credentials().public_key);
        fixture.pass(121);
        assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
        write(&fixture.sandbox.add_account().unwrap().public_key);
    }
}

#[test]
fn a_key_in_the_file_that_the_host_has_set_already_is_not_another_one() {
    let fixture = Fixture::new();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("credentials.json");
    let good = fixture.sandbox.credentials();
    let write = |key: &str| {
        let text = json!({ "account_id": good.account_id, "public_key": key }).to_string();
        std::fs::write(&file, text).unwrap();
    };
    write(&fixture.sandbox.add_account().unwrap().public_key);
    let session = fixture.open(&[("credentials_file", file.to_str().unwrap())]);
    let log = log_of(&session, Level::PG_LOG_INFO);
    write(&good.public_key);
    session.set_credentials(Credentials::new(&good.account_id, &good.public_key, "test").unwrap()).unwrap();
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
    assert_eq!(fixture.calls(), (1, 0));
    session.close(PATIENCE).unwrap();
    let lines = lines(&log);
    assert!(!lines.iter().any(|line| line.contains("has another key")), "{lines:?}");
}
