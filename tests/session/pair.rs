//! Sessions that begin with a pair of tokens and have no credentials.

use std::sync::Arc;
use std::time::Duration;

use paymentsgate_auth::client::Client;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::event::{Body, Level, Notice, Operation};
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::token::RefreshToken;
use paymentsgate_auth::transport::{HttpTransport, Transport};
use pg_sandbox::{Action, Fault, Point, Revoke, Rotation, Route};

use crate::fixture::{Fixture, Fragile, answer, html};
use crate::support::{NOW, PATIENCE, TestClock, client, config, eventually};

const AN_HOUR: &[(&str, &str)] = &[("access_token_expires_in_s", "3600")];

/// A session from a pair that was issued by a bare call, without credentials.
fn from_a_pair(fixture: &Fixture, settings: &[(&str, &str)]) -> (Session, Queue) {
    from_a_pair_over(fixture, settings, |transport| Box::new(transport))
}

fn from_a_pair_over(
    fixture: &Fixture,
    settings: &[(&str, &str)],
    wrap: impl FnOnce(HttpTransport) -> Box<dyn Transport>,
) -> (Session, Queue) {
    let pair = fixture.client.issue(None, None).unwrap();
    let trust = config(&fixture.sandbox);
    let mut config = Config::default();
    config.set("access_token", pair.token.access.expose()).unwrap();
    config.set("refresh_token", pair.refresh.unwrap().secret().expose()).unwrap();
    for (name, value) in settings {
        config.set(name, value).unwrap();
    }
    let url = fixture.sandbox.urls().https.parse().unwrap();
    let transport = trust.transport(url, Arc::new(TestClock)).unwrap();
    let client = Client::with_parts(&Config::default(), wrap(transport), Arc::new(TestClock)).unwrap();
    let session = Session::open(&client, &config).unwrap();
    let queue = Queue::default();
    session.subscribe(queue.begin(7, Operation::Subscription).unwrap(), Level::PG_LOG_NONE);
    (session, queue)
}

/// The events in the queue.
fn news(queue: &Queue) -> Vec<Body> {
    std::iter::from_fn(|| queue.poll(NOW).unwrap()).map(|event| event.body).collect()
}

#[test]
fn a_pair_is_served_and_refreshed_and_the_host_gets_each_new_pair() {
    let fixture = Fixture::new();
    let (session, queue) = from_a_pair(&fixture, AN_HOUR);
    assert_eq!(session.token(NOW, NOW).unwrap().generation, 1);
    for generation in 2..5 {
        fixture.pass(3600);
        let token = session.token(PATIENCE, NOW).unwrap();
        assert_eq!((token.generation, token.refresh.is_none()), (generation, true));
        let [Body::Notice(Notice::Rotated(kept))] = &news(&queue)[..] else { panic!("not one rotation") };
        assert_eq!(*kept.token.fingerprint(), *token.token.fingerprint());
        let last = fixture.sandbox.counters().route(Route::Refresh).last.unwrap();
        assert!(
            !last.body.contains(kept.refresh.as_ref().unwrap().secret().expose()),
            "the new refresh token has not been used"
        );
    }
    assert_eq!(fixture.calls(), (1, 3));
}

#[test]
fn a_pair_of_unknown_age_is_renewed_before_it_is_used() {
    let fixture = Fixture::new();
    let (session, _queue) = from_a_pair(&fixture, &[]);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn without_credentials_a_lost_answer_is_replayed_once() {
    for (rotation, calls) in
        [(Rotation::Window(30), Ok(2)), (Rotation::SingleUse, Err(Status::PG_ERR_NO_CREDENTIALS))]
    {
        let fixture = Fixture::new();
        fixture.sandbox.switches(|switches| switches.rotation = rotation);
        let (session, queue) = from_a_pair(&fixture, AN_HOUR);
        fixture.pass(3600);
        fixture.fault(Route::Refresh, Point::After, Action::Reset);
        let answer = session.token(PATIENCE, NOW);
        assert_eq!(answer.as_ref().map(|token| token.generation).map_err(|error| error.status), calls);
        assert_eq!((fixture.calls(), fixture.sandbox.counters().most_presentations), ((1, 2), 2));
        assert!(matches!(news(&queue)[0], Body::Notice(Notice::Ambiguous(_))));
        let _ = session.token(PATIENCE, NOW);
        assert_eq!(fixture.calls(), (1, 2), "it is never presented again");
    }
}

#[test]
fn an_answer_of_a_gateway_keeps_the_refresh_token_of_a_pair_without_credentials() {
    for spoilt in [html(403), html(404), answer(307, None, &[("Location", "https://elsewhere.example/")])] {
        let fixture = Fixture::new();
        let (session, _queue) = from_a_pair(&fixture, AN_HOUR);
        fixture.pass(3601);
        fixture.fault(Route::Refresh, Point::Before, spoilt);
        assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
        assert_eq!(fixture.calls(), (1, 2));
    }
}

#[test]
fn a_refresh_token_that_the_api_refuses_is_not_presented_again() {
    let fixture = Fixture::new();
    let (session, _queue) = from_a_pair(&fixture, AN_HOUR);
    fixture.pass(3601);
    fixture.sandbox.revoke(&Revoke::All(true));
    assert_eq!(session.token(PATIENCE, NOW).unwrap_err().status, Status::PG_ERR_NO_CREDENTIALS);
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn the_replay_of_a_pair_without_credentials_waits_while_its_token_is_valid() {
    let fixture = Fixture::new();
    fixture.sandbox.switches(|switches| switches.rotation = Rotation::Window(3600));
    let (session, _queue) = from_a_pair(&fixture, AN_HOUR);
    fixture.pass(3600 - 100);
    // Two failures in a row, as from a gateway that restarts.
    fixture.sandbox.inject(Fault::new(Route::Refresh, answer(502, None, &[])).times(2)).unwrap();
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
    eventually("the end of a flight", || !session.health().unwrap().refreshing);
    for _ in 0..20 {
        assert_eq!(session.token(NOW, NOW).unwrap().generation, 1, "the token is still valid");
    }
    assert_eq!(fixture.calls(), (1, 1), "the refresh token is not presented");
    for _ in 0..2 {
        fixture.pass(10);
        assert_eq!(session.token(NOW, NOW).unwrap().generation, 1);
        eventually("the end of a flight", || !session.health().unwrap().refreshing);
    }
    assert_eq!(fixture.calls(), (1, 1), "not even for callers after the usual pause");
    fixture.sandbox.clear_faults();
    fixture.pass(51);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
    assert_eq!((fixture.calls(), fixture.sandbox.counters().most_presentations), ((1, 2), 2));
}

#[test]
fn a_refresh_that_panics_before_sending_keeps_the_refresh_token_of_a_pair_without_credentials() {
    let fixture = Fixture::new();
    let (session, _queue) = from_a_pair_over(&fixture, AN_HOUR, |inner| Box::new(Fragile::over(inner, 0)));
    fixture.pass(3601);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn a_closed_session_emits_the_pair_of_its_running_refresh_before_its_last_event() {
    for frees in [false, true] {
        let fixture = Fixture::new();
        let (session, queue) = from_a_pair(&fixture, AN_HOUR);
        fixture.pass(3601);
        fixture.fault(Route::Refresh, Point::After, Action::Delay { ms: 400 });
        session.token(NOW, NOW).unwrap_err();
        eventually("a running refresh", || fixture.calls().1 == 1);
        if frees {
            drop(session);
        } else {
            let error = session.close(Duration::from_millis(1)).unwrap_err();
            assert_eq!(error.status, Status::PG_ERR_TIMEOUT);
        }
        let told = queue.poll(PATIENCE).unwrap().unwrap().body;
        let Body::Notice(Notice::Rotated(kept)) = &told else { panic!("{told:?}") };
        let end = queue.poll(PATIENCE).unwrap().unwrap().body;
        assert!(matches!(&end, Body::Ended(error) if error.status == Status::PG_ERR_CLOSED), "{end:?}");
        let trust = config(&fixture.sandbox);
        let refresh = RefreshToken::new(kept.refresh.as_ref().unwrap().secret().clone());
        client(&trust, &fixture.sandbox.urls().https).refresh(None, refresh, None).unwrap();
    }
}
