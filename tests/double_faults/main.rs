//! The second fault, which strikes while the first is being handled: afterwards a session has a token again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, MutexGuard};
use std::thread;
use std::time::Duration;

use paymentsgate_auth::client::Client;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::credentials::Credentials;
use paymentsgate_auth::event::{Body, Level, Notice, Operation};
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::token::RefreshToken;
use paymentsgate_auth::transport::{HttpTransport, Request, Sending, Transport};
use pg_sandbox::{Action, Fault, Options, Point, Revoke, Rotation, Route, Sandbox};
use serde_json::{Value, json};
use support::{NOW, PATIENCE, TestClock, client, config, eventually, pass, turn};
use tempfile::TempDir;

struct Fixture {
    sandbox: Sandbox,
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Fixture {
    fn new() -> Self {
        let turn = turn();
        Fixture {
            sandbox: Sandbox::start(Options::default()).unwrap(),
            folder: TempDir::new().unwrap(),
            _turn: turn,
        }
    }

    /// A session as another process has it: nothing in common but the settings.
    fn session(&self, settings: &[(&str, &str)]) -> Session {
        let mut config = config(&self.sandbox);
        for (name, value) in settings {
            config.set(name, value).unwrap();
        }
        Session::open(&client(&config, &self.sandbox.urls().https), &config).unwrap()
    }

    fn store(&self) -> String {
        format!("file:{}", self.folder.path().join("store").display())
    }

    /// A session that shares the folder.
    fn sharing(&self) -> Session {
        self.session(&[("store", &self.store())])
    }

    /// A session from a pair, without credentials, and what it tells.
    fn pair_session(&self) -> (Session, Queue) {
        self.pair_session_over(|transport| Box::new(transport))
    }

    fn pair_session_over(&self, wrap: impl FnOnce(HttpTransport) -> Box<dyn Transport>) -> (Session, Queue) {
        let trust = config(&self.sandbox);
        let pair = client(&trust, &self.sandbox.urls().https).issue(None, None).unwrap();
        let mut config = Config::default();
        config.set("access_token", pair.token.access.expose()).unwrap();
        config.set("refresh_token", pair.refresh.unwrap().secret().expose()).unwrap();
        config.set("access_token_expires_in_s", "3600").unwrap();
        let url = self.sandbox.urls().https.parse().unwrap();
        let transport = trust.transport(url, Arc::new(TestClock)).unwrap();
        let client = Client::with_parts(&Config::default(), wrap(transport), Arc::new(TestClock)).unwrap();
        let session = Session::open(&client, &config).unwrap();
        let queue = Queue::default();
        session.subscribe(queue.begin(7, Operation::Subscription).unwrap(), Level::PG_LOG_NONE);
        (session, queue)
    }

    fn pass(&self, seconds: u64) {
        pass(&self.sandbox, seconds);
    }

    fn calls(&self) -> (u64, u64) {
        let counters = self.sandbox.counters();
        (counters.calls(Route::Issue), counters.calls(Route::Refresh))
    }

    fn fault(&self, route: Route, point: Point, action: Action) {
        self.sandbox.inject(Fault::new(route, action).at(point)).unwrap();
    }

    fn revoke(&self, session: &Session) {
        let token = session.token(PATIENCE, NOW).unwrap();
        self.sandbox.revoke(&Revoke::AccessToken(token.token.access.expose().into()));
    }

    /// The time until the service accepts a request of the session.
    fn wallet(&self, session: &Session) -> u16 {
        session.request(ApiRequest::new("GET", "/wallet", &[], None).unwrap(), None).unwrap().status
    }
}

fn answer(status: u16, body: Option<Value>, headers: &[(&str, &str)]) -> Action {
    let headers: BTreeMap<_, _> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Action::Status { status, body, headers }
}

fn html(status: u16) -> Action {
    answer(status, Some(json!("<html>no</html>")), &[("Content-Type", "text/html")])
}

fn credentials(fixture: &Fixture, public_key: &str) -> Credentials {
    Credentials::new(&fixture.sandbox.credentials().account_id, public_key, "test").unwrap()
}

#[test]
fn revocations_in_a_row_cost_a_second_and_then_the_pauses_of_the_row() {
    let fixture = Fixture::new();
    let session = fixture.session(&[]);
    fixture.pass(60);
    for _ in 0..2 {
        fixture.revoke(&session);
        assert_eq!(fixture.wallet(&session), 200, "at once");
        fixture.pass(5);
    }
    // Where they come faster than that, each costs the pause.
    fixture.revoke(&session);
    assert_eq!(fixture.wallet(&session), 200);
    for pause in [2, 3, 5] {
        fixture.revoke(&session);
        assert_eq!(fixture.wallet(&session), 401, "the row is spaced");
        fixture.pass(pause);
        assert_eq!(fixture.wallet(&session), 200);
    }
}

#[test]
fn eight_processes_and_one_rate_limit_make_one_call() {
    let fixture = Fixture::new();
    let sessions: Vec<_> = (0..8).map(|_| fixture.sharing()).collect();
    fixture
        .sandbox
        .inject(Fault::new(Route::Any, answer(429, None, &[("Retry-After", "60")])).forever())
        .unwrap();
    for session in &sessions {
        let error = session.token(Duration::from_secs(5), NOW).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_RATE_LIMITED, "{error}");
        assert!(error.retry_after.unwrap() > Duration::from_secs(50));
    }
    assert_eq!(fixture.calls(), (1, 0));
    fixture.sandbox.clear_faults();
    fixture.pass(61);
    for session in &sessions {
        assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
    }
    assert_eq!(fixture.calls(), (2, 0));
}

#[test]
fn an_obstacle_keeps_nobody_from_a_pair_that_another_process_got() {
    for refusal in [answer(429, None, &[("Retry-After", "3000")]), answer(401, None, &[]), html(403)] {
        let fixture = Fixture::new();
        let (one, other) = (fixture.sharing(), fixture.sharing());
        fixture.sandbox.inject(Fault::new(Route::Issue, refusal).forever()).unwrap();
        one.token(Duration::from_secs(3), NOW).unwrap_err();
        fixture.sandbox.clear_faults();
        // Somebody who knows that the obstacle is gone.
        other.set_credentials(credentials(&fixture, &fixture.sandbox.credentials().public_key)).unwrap();
        assert_eq!(other.token(PATIENCE, NOW).unwrap().generation, 1);
        fixture.pass(2);
        assert_eq!(one.token(Duration::from_secs(5), NOW).unwrap().generation, 1);
        assert_eq!(fixture.calls(), (2, 0));
        assert!(one.health().unwrap().obstacle.is_none());
    }
}

#[test]
fn credentials_that_have_worked_are_tried_again_soon_and_that_is_known_to_the_next_process() {
    let fixture = Fixture::new();
    assert_eq!(fixture.sharing().token(PATIENCE, NOW).unwrap().generation, 1);
    fixture.pass(3601);
    fixture.sandbox.revoke(&Revoke::All(true));
    fixture.sandbox.inject(Fault::new(Route::Issue, answer(401, None, &[])).times(3)).unwrap();
    // The first pause of a second is waited out.
    for wait in [5, 30] {
        let error = fixture.sharing().token(Duration::from_secs(4), NOW).unwrap_err();
        let (left, wait) = (error.retry_after.unwrap(), Duration::from_secs(wait));
        assert!(left <= wait && left + Duration::from_secs(3) > wait, "{left:?}");
        fixture.pass(wait.as_secs());
    }
    assert_eq!(fixture.sharing().token(PATIENCE, NOW).unwrap().generation, 2);
}

#[test]
fn a_caller_of_credentials_that_have_worked_waits_out_a_short_refusal() {
    let fixture = Fixture::new();
    let session = fixture.session(&[]);
    session.token(PATIENCE, NOW).unwrap();
    fixture.sandbox.revoke(&Revoke::All(true));
    fixture.pass(3601);
    fixture.fault(Route::Issue, Point::Before, answer(401, None, &[]));
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
}

#[test]
fn a_caller_who_comes_after_a_long_outage_ends_the_pause() {
    let fixture = Fixture::new();
    let session = fixture.session(&[]);
    session.token(PATIENCE, NOW).unwrap();
    fixture.pass(3601);
    fixture.sandbox.inject(Fault::new(Route::Any, answer(503, None, &[])).forever()).unwrap();
    // The pauses grow to half a minute.
    for _ in 0..6 {
        fixture.pass(40);
        session.token(Duration::from_millis(10), NOW).unwrap_err();
        eventually("the end of a flight", || !session.health().unwrap().refreshing);
    }
    fixture.sandbox.clear_faults();
    fixture.pass(2);
    session.token(Duration::from_secs(3), NOW).unwrap();
}

#[test]
fn a_refresh_that_hangs_is_given_up_where_callers_have_nothing() {
    let fixture = Fixture::new();
    let session = fixture.session(&[("issue_timeout_ms", "1500")]);
    session.token(PATIENCE, NOW).unwrap();
    fixture.pass(3601);
    fixture.fault(Route::Refresh, Point::Before, Action::Hang);
    assert_eq!(session.token(Duration::from_secs(10), NOW).unwrap().generation, 2, "not after 45 s");
    assert_eq!(fixture.sandbox.counters().most_presentations, 1);
}

#[test]
fn a_wall_clock_that_ran_ahead_overrides_the_pause_between_two_refreshes_once() {
    let fixture = Fixture::new();
    let session = fixture.session(&[]);
    session.token(PATIENCE, NOW).unwrap();
    fixture.pass(2);
    support::WALL_AHEAD_S.fetch_add(7200, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
}

#[test]
fn an_answer_of_a_gateway_does_not_cost_a_pair_without_credentials_its_refresh_token() {
    for spoilt in [html(403), html(404), answer(307, None, &[("Location", "https://elsewhere.example/")])] {
        let fixture = Fixture::new();
        let (session, _queue) = fixture.pair_session();
        fixture.pass(3601);
        fixture.fault(Route::Refresh, Point::Before, spoilt);
        assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
        assert_eq!(fixture.calls(), (1, 2));
    }
}

#[test]
fn what_the_api_itself_refuses_is_not_presented_again() {
    let fixture = Fixture::new();
    let (session, _queue) = fixture.pair_session();
    fixture.pass(3601);
    fixture.sandbox.revoke(&Revoke::All(true));
    assert_eq!(session.token(PATIENCE, NOW).unwrap_err().status, Status::PG_ERR_NO_CREDENTIALS);
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn the_one_replay_of_a_pair_without_credentials_waits_as_long_as_its_token_allows() {
    let fixture = Fixture::new();
    fixture.sandbox.switches(|switches| switches.rotation = Rotation::Window(3600));
    let (session, _queue) = fixture.pair_session();
    fixture.pass(3600 - 100);
    // Two in a row, as from a gateway that restarts.
    fixture.sandbox.inject(Fault::new(Route::Refresh, answer(502, None, &[])).times(2)).unwrap();
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
    eventually("the end of a flight", || !session.health().unwrap().refreshing);
    for _ in 0..20 {
        assert_eq!(session.token(NOW, NOW).unwrap().generation, 1, "it still lives");
    }
    assert_eq!(fixture.calls(), (1, 1), "the refresh token is spared");
    for _ in 0..2 {
        fixture.pass(10);
        assert_eq!(session.token(NOW, NOW).unwrap().generation, 1);
        eventually("the end of a flight", || !session.health().unwrap().refreshing);
    }
    assert_eq!(fixture.calls(), (1, 1), "also from callers who come when the usual pause is over");
    fixture.sandbox.clear_faults();
    fixture.pass(51);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
    assert_eq!((fixture.calls(), fixture.sandbox.counters().most_presentations), ((1, 2), 2));
}

/// Breaks off its first request.
struct Fragile {
    has_broken: AtomicBool,
    inner: HttpTransport,
}

impl Transport for Fragile {
    fn send(&self, request: Request) -> Sending<'_> {
        assert!(self.has_broken.swap(true, Ordering::SeqCst), "a defect");
        self.inner.send(request)
    }
}

#[test]
fn a_refresh_that_breaks_off_does_not_cost_a_pair_without_credentials_its_refresh_token() {
    let fixture = Fixture::new();
    let (session, _queue) =
        fixture.pair_session_over(|inner| Box::new(Fragile { has_broken: AtomicBool::new(false), inner }));
    fixture.pass(3601);
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 2);
    assert_eq!(fixture.calls(), (1, 1));
}

#[test]
fn the_pair_of_a_refresh_under_way_is_told_before_a_closed_session_ends_its_news() {
    for frees in [false, true] {
        let fixture = Fixture::new();
        let (session, queue) = fixture.pair_session();
        fixture.pass(3601);
        fixture.fault(Route::Refresh, Point::After, Action::Delay { ms: 400 });
        session.token(NOW, NOW).unwrap_err();
        eventually("a refresh under way", || fixture.calls().1 == 1);
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

#[test]
fn a_pair_that_was_got_with_the_old_key_never_reaches_the_record_of_the_new_one() {
    let fixture = Fixture::new();
    let old = fixture.sandbox.credentials().public_key.clone();
    let new = fixture.sandbox.add_account().unwrap().public_key;
    let session = fixture.sharing();
    fixture.fault(Route::Issue, Point::After, Action::Delay { ms: 300 });
    session.token(NOW, NOW).unwrap_err();
    eventually("an issue under way", || fixture.calls().0 == 1);
    session.set_credentials(credentials(&fixture, &new)).unwrap();
    // The service does not know the new key: there is nothing for its record.
    assert_eq!(session.token(Duration::from_secs(5), NOW).unwrap_err().status, Status::PG_ERR_REFUSED);
    let stranger = fixture.sharing();
    stranger.set_credentials(credentials(&fixture, &new)).unwrap();
    let error = stranger.token(Duration::from_secs(5), NOW).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_REFUSED, "nothing was written into the new key's record");
    let calls = fixture.calls();
    session.set_credentials(credentials(&fixture, &old)).unwrap();
    assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
    assert_eq!(fixture.calls(), calls, "the pair of the old key is in the old key's record");
}

#[test]
fn threads_that_replace_the_credentials_at_once_leave_one_bundle() {
    let fixture = Fixture::new();
    let good = fixture.sandbox.credentials().public_key.clone();
    let bad = fixture.sandbox.add_account().unwrap().public_key;
    for _ in 0..40 {
        let session = fixture.sharing();
        let together = Barrier::new(2);
        thread::scope(|scope| {
            for key in [&good, &bad] {
                scope.spawn(|| {
                    let credentials = credentials(&fixture, key);
                    together.wait();
                    session.set_credentials(credentials).unwrap();
                });
            }
        });
        let answer = session.token(Duration::from_secs(5), NOW).map(|_| ()).map_err(|error| error.status);
        assert!(matches!(answer, Ok(()) | Err(Status::PG_ERR_REFUSED)), "{answer:?}");
        if answer.is_ok() {
            // Its record is the good key's: another process finds there what it got.
            let calls = fixture.calls();
            fixture.sharing().token(PATIENCE, NOW).unwrap();
            assert_eq!(fixture.calls(), calls);
        }
    }
}

#[test]
fn a_key_that_is_rotated_in_its_file_is_used_at_once_whatever_the_old_one_was_refused_for() {
    let fixture = Fixture::new();
    let file = fixture.folder.path().join("credentials.json");
    let write = |key: &str| {
        let account = &fixture.sandbox.credentials().account_id;
        std::fs::write(&file, json!({ "account_id": account, "public_key": key }).to_string()).unwrap();
    };
    write(&fixture.sandbox.add_account().unwrap().public_key);
    for store in [String::from("memory:"), fixture.store()] {
        let session = fixture.session(&[("credentials_file", file.to_str().unwrap()), ("store", &store)]);
        let refused = session.token(PATIENCE, NOW).unwrap_err();
        assert_eq!(refused.status, Status::PG_ERR_REFUSED);
        std::fs::write(&file, "half a fi").unwrap();
        fixture.pass(31);
        assert_eq!(session.token(PATIENCE, NOW).unwrap_err().status, Status::PG_ERR_REFUSED);
        write(&fixture.sandbox.credentials().public_key);
        fixture.pass(121);
        assert_eq!(session.token(PATIENCE, NOW).unwrap().generation, 1);
        write(&fixture.sandbox.add_account().unwrap().public_key);
    }
}

#[test]
fn each_refused_token_is_one_line_of_the_log_however_many_report_it() {
    let fixture = Fixture::new();
    let session = fixture.session(&[]);
    let token = session.token(PATIENCE, NOW).unwrap();
    fixture.pass(60);
    let queue = Queue::default();
    session.subscribe(queue.begin(7, Operation::Subscription).unwrap(), Level::PG_LOG_INFO);
    for _ in 0..1000 {
        session.reject(*token.token.fingerprint()).unwrap();
    }
    session.token(PATIENCE, NOW).unwrap();
    session.close(PATIENCE).unwrap();
    let mut lines = Vec::new();
    while let Some(event) = queue.poll(NOW).unwrap() {
        if let Body::Log(_, line) = event.body {
            lines.push(line);
        }
    }
    let refused: Vec<_> = lines.iter().filter(|line| line.contains("refused the token")).collect();
    assert_eq!(refused.len(), 1, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("reported ")), "{lines:?}");
}
