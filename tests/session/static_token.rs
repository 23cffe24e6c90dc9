//! Sessions on a static token: served as it is, never replaced, without a call to the service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use paymentsgate_auth::client::Client;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::credentials::Credentials;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::session::phase::Phase;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::token::Fingerprint;

use crate::fixture::Fixture;
use crate::support::{NOW, PATIENCE, TestClock};

const A_YEAR: u64 = 365 * 86_400;

/// A session on a static token, whose clock and emulator are the fixture's.
fn with_a_token(fixture: &Fixture, token: &str) -> Session {
    let mut config = Config::default();
    config.set("static_token", token).unwrap();
    config.set("tls.ca_file", fixture.sandbox.address().ca_file.to_str().unwrap()).unwrap();
    let transport =
        config.transport(fixture.sandbox.urls().https.parse().unwrap(), Arc::new(TestClock)).unwrap();
    let client = Client::with_parts(&config, Box::new(transport), Arc::new(TestClock)).unwrap();
    Session::open(&client, &config).unwrap()
}

fn fingerprint(session: &Session) -> Fingerprint {
    *session.token(NOW, NOW).unwrap().token.fingerprint()
}

fn names_the_setting(error: &Error, status: Status) {
    assert_eq!(error.status, status, "{}", error.text);
    assert!(error.text.contains("static_token") && !error.text.contains("hunter2"), "{}", error.text);
}

#[test]
fn it_is_served_for_years_whatever_the_clocks_do() {
    let fixture = Fixture::new();
    let session = with_a_token(&fixture, "hunter2");
    for step in 0..8 {
        let token = session.token(NOW, Duration::from_secs(86_400)).unwrap();
        assert_eq!((token.token.access.expose(), token.generation), ("hunter2", 1));
        let health = session.health().unwrap();
        assert_eq!((health.phase, health.generation, health.has_refresh_token), (Phase::Fresh, 1, false));
        assert!(health.seconds_left > 80 * A_YEAR, "{}", health.seconds_left);
        assert!(health.obstacle.unwrap().contains("static_token"));
        // Also beyond the tolerance of a jump of the wall clock.
        if step % 2 == 0 { fixture.pass(A_YEAR) } else { fixture.set_wall(7_200) }
    }
    assert_eq!(fixture.calls(), (0, 0));
}

#[test]
fn a_report_and_a_refresh_are_refused_at_once_and_it_is_still_served() {
    let fixture = Fixture::new();
    let session = with_a_token(&fixture, "hunter2");
    let began = Instant::now();
    for _ in 0..3 {
        let error = session.reject(fingerprint(&session)).unwrap_err();
        names_the_setting(&error, Status::PG_ERR_REJECTED_FRESH);
        assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
        names_the_setting(&session.refresh(PATIENCE).unwrap_err(), Status::PG_ERR_NO_CREDENTIALS);
    }
    let key = fixture.sandbox.credentials();
    let credentials = Credentials::new(&key.account_id, &key.public_key, "test").unwrap();
    names_the_setting(&session.set_credentials(credentials).unwrap_err(), Status::PG_ERR_INVALID_ARGUMENT);
    assert!(began.elapsed() < PATIENCE, "nothing waits for its deadline");
    session.reject(Fingerprint::of(&paymentsgate_auth::secret::Secret::new("another").unwrap())).unwrap();
    assert_eq!(session.token(NOW, NOW).unwrap().token.access.expose(), "hunter2");
    let health = session.health().unwrap();
    assert_eq!((health.phase, health.counters.rejected), (Phase::Fresh, 3));
    assert_eq!(fixture.calls(), (0, 0));
}

#[test]
fn a_request_carries_it_and_a_401_comes_back() {
    let fixture = Fixture::new();
    let good = fixture.token().token.access.expose().to_owned();
    assert_eq!(fixture.wallet(&with_a_token(&fixture, &good)), 200);
    let refused = with_a_token(&fixture, "hunter2");
    assert_eq!(fixture.wallet(&refused), 401);
    assert_eq!(fixture.wallet(&refused), 401);
    let counters = fixture.sandbox.counters();
    assert_eq!(counters.calls(pg_sandbox::Route::Wallet), 3, "no request is repeated");
    assert_eq!(fixture.calls(), (1, 0), "the issue is the fixture's");
}

#[test]
fn it_needs_no_base_url_until_a_request_is_made() {
    let mut config = Config::default();
    config.set("static_token", "hunter2").unwrap();
    let client = Client::new(&config).unwrap();
    let session = Session::open(&client, &config).unwrap();
    assert_eq!(session.token(NOW, NOW).unwrap().token.access.expose(), "hunter2");
    let request = ApiRequest::new("GET", "/wallet", &[], None).unwrap();
    let error = session.request(request, None).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_MISSING_SETTING);
    assert!(error.text.contains("base_url"), "{}", error.text);
    session.close(PATIENCE).unwrap();
    assert_eq!(session.token(NOW, NOW).unwrap_err().status, Status::PG_ERR_CLOSED);
}
