//! Credentials files that are replaced, broken, of another account, or that hang.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use paymentsgate_auth::ShardedArc;
use paymentsgate_auth::client::Client;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::credentials::Credentials;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::token::Grant;
use pg_sandbox::{Revoke, Route, Sandbox};
use tempfile::TempDir;

use crate::{PATIENCE, replace, sandbox};

/// A PEM that the service does not know, as the key of the same account.
const STALE_KEY: &str = "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KQUFBQQotLS0tLUVORCBQVUJMSUMgS0VZLS0tLS0K";

/// A session with its own credentials file.
struct Lodger {
    sandbox: Sandbox,
    session: Session,
    folder: TempDir,
}

impl Lodger {
    fn new(key: &str, store: bool) -> Self {
        Lodger::on(sandbox(), key, store)
    }

    fn on(sandbox: Sandbox, key: &str, store: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        fs::write(&path, Lodger::json(&sandbox, key)).unwrap();
        let mut config = Config::default();
        config.set("base_url", &sandbox.urls().http).unwrap();
        config.set("credentials_file", path.to_str().unwrap()).unwrap();
        if store {
            config.set("store", &format!("file:{}", folder.path().join("store").display())).unwrap();
        }
        let session = Session::open(&Client::new(&config).unwrap(), &config).unwrap();
        Lodger { sandbox, session, folder }
    }

    fn json(sandbox: &Sandbox, key: &str) -> String {
        format!(r#"{{"account_id":"{}","public_key":"{key}"}}"#, sandbox.credentials().account_id)
    }

    fn rotate(&self, json: impl AsRef<[u8]>) {
        replace(&self.folder.path().join("credentials.json"), json);
    }

    fn rotate_to(&self, key: &str) {
        self.rotate(Lodger::json(&self.sandbox, key));
    }

    fn good_key(&self) -> String {
        self.sandbox.credentials().public_key.clone()
    }

    fn token(&self) -> Result<ShardedArc<Grant>, Error> {
        self.session.token(Duration::from_secs(20), Duration::ZERO)
    }

    /// The library checks the file once a second; after a refused key it would otherwise wait half a minute.
    fn token_before_the_wait_is_over(&self) -> ShardedArc<Grant> {
        let patience = Instant::now() + Duration::from_secs(15);
        loop {
            match self.token() {
                Ok(grant) => return grant,
                Err(error) => assert!(Instant::now() < patience, "{error}"),
            }
            thread::yield_now();
        }
    }

    /// The number of Issues, and the body of the last one.
    fn issues(&self) -> (u64, String) {
        let counters = self.sandbox.counters();
        let issue = &counters.routes[&Route::Issue];
        (issue.calls, issue.last.clone().unwrap().body)
    }

    /// Makes the service refuse both tokens, so that an Issue is due.
    fn revoke(&self, token: &Grant) {
        self.sandbox.revoke(&Revoke::All(true));
        self.session.reject(*token.token.fingerprint()).unwrap();
    }
}

#[test]
fn a_key_that_is_replaced_after_it_was_refused_ends_the_wait() {
    for store in [false, true] {
        let lodger = Lodger::new(STALE_KEY, store);
        let error = lodger.token().unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_REFUSED);
        assert!(error.retry_after.unwrap() > Duration::from_secs(10));
        lodger.rotate_to(&lodger.good_key());
        lodger.token_before_the_wait_is_over();
        assert_eq!(lodger.issues().0, 2, "no other call was made for it");
        assert!(lodger.session.health().unwrap().file_error.is_none());
    }
}

#[test]
fn the_next_issue_uses_the_key_that_is_in_the_file_at_that_time() {
    for store in [false, true] {
        let sandbox = sandbox();
        let good = sandbox.credentials().public_key.clone();
        let lodger = Lodger::on(sandbox, &good, store);
        let first = lodger.token().unwrap();
        lodger.rotate_to(STALE_KEY);
        lodger.revoke(&first);
        // The service would accept the old key, but the library no longer presents it.
        lodger.session.token(Duration::from_millis(500), Duration::ZERO).unwrap_err();
        assert!(lodger.issues().1.contains(STALE_KEY), "{}", lodger.issues().1);
        lodger.rotate_to(&good);
        let second = lodger.token_before_the_wait_is_over();
        assert_ne!(second.token.fingerprint(), first.token.fingerprint());
    }
}

#[test]
fn a_broken_file_or_one_of_another_account_does_not_change_a_session() {
    let other = format!(r#"{{"account_id":"b-2","public_key":"{STALE_KEY}"}}"#);
    for (json, trouble) in [("{", "line 1"), (other.as_str(), "b-2")] {
        let sandbox = sandbox();
        let good = sandbox.credentials().public_key.clone();
        let lodger = Lodger::on(sandbox, &good, false);
        let first = lodger.token().unwrap();
        lodger.rotate(json);
        lodger.revoke(&first);
        lodger.token().unwrap();
        let error = lodger.session.health().unwrap().file_error.unwrap();
        assert!(error.contains("credentials.json") && error.contains(trouble), "{error}");
        let (calls, body) = lodger.issues();
        assert!(calls == 2 && body.contains(&good), "{calls} {body}");
    }
}

/// As on a lost mount: the file can be found, but reading it never ends.
#[test]
fn a_file_that_hangs_delays_one_call_for_a_second_and_no_other() {
    let sandbox = sandbox();
    let good = sandbox.credentials().public_key.clone();
    let lodger = Lodger::on(sandbox, &good, false);
    let first = lodger.token().unwrap();
    let path = lodger.folder.path().join("credentials.json");
    let pipe = lodger.folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::rename(&pipe, &path).unwrap();
    lodger.revoke(&first);
    lodger.token().unwrap();
    assert!(lodger.session.health().is_ok(), "nothing waits for the file");
    // The hanging read ends, and the file is good again.
    // Opened for reading and writing, so that this open does not wait for a reader.
    drop(fs::OpenOptions::new().read(true).write(true).open(&path).unwrap());
    lodger.rotate_to(STALE_KEY);
    lodger.session.refresh(Duration::from_secs(20)).unwrap();
}

#[test]
fn an_unchanged_file_does_not_undo_credentials_that_the_host_set() {
    let lodger = Lodger::new(STALE_KEY, false);
    lodger.token().unwrap_err();
    let account = lodger.sandbox.credentials().account_id.clone();
    lodger.session.set_credentials(Credentials::new(&account, &lodger.good_key(), "test").unwrap()).unwrap();
    let token = lodger.token().unwrap();
    lodger.revoke(&token);
    lodger.token().unwrap();
    assert!(lodger.issues().1.contains(&lodger.good_key()));
}

#[test]
fn a_bare_issue_uses_the_current_key_of_the_file() {
    let sandbox = sandbox();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials.json");
    let good = fs::read_to_string(&sandbox.address().credentials_file).unwrap();
    let key = sandbox.credentials().public_key.clone();
    // Another PEM of the same account, which the service does not know.
    let stale =
        good.replace(&key, "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KQUFBQQotLS0tLUVORCBQVUJMSUMgS0VZLS0tLS0K");
    assert_ne!(stale, good);
    replace(&path, &stale);
    let mut config = Config::default();
    config.set("base_url", &sandbox.urls().http).unwrap();
    config.set("credentials_file", path.to_str().unwrap()).unwrap();
    let client = Client::new(&config).unwrap();
    assert_eq!(client.issue(None, PATIENCE).unwrap_err().status, Status::PG_ERR_REFUSED);
    replace(&path, &good);
    client.issue(None, PATIENCE).unwrap();
    replace(&path, good.replace(&sandbox.credentials().account_id, "another"));
    client.issue(None, PATIENCE).unwrap();
}
