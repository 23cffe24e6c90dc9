//! A session with its own emulator, the calls and faults of that emulator, and a transport that panics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use paymentsgate_auth::ShardedArc;
use paymentsgate_auth::client::Client;
use paymentsgate_auth::event::{Body, Level, Operation};
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::request::ApiRequest;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::token::Grant;
use paymentsgate_auth::transport::{Exchange, HttpTransport, Request, Sending, Transport};
use pg_sandbox::{Action, Fault, Options, Point, Revoke, Route, Sandbox};
use serde_json::{Value, json};

use crate::support::{NOW, PATIENCE, TestClock, WALL_AHEAD_S, client, config, pass, turn};

pub(crate) struct Fixture {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Arc<Client>,
    pub(crate) session: Session,
    _turn: MutexGuard<'static, ()>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let turn = turn();
        let sandbox = Sandbox::start(Options::default()).unwrap();
        let config = config(&sandbox);
        let client = client(&config, &sandbox.urls().https);
        let session = Session::open(&client, &config).unwrap();
        Fixture { sandbox, client, session, _turn: turn }
    }

    pub(crate) fn token(&self) -> ShardedArc<Grant> {
        self.session.token(PATIENCE, NOW).unwrap()
    }

    /// Time passes for the library and for the service.
    pub(crate) fn pass(&self, seconds: u64) {
        pass(&self.sandbox, seconds);
    }

    /// Sets the wall clock forward or back by this many seconds.
    pub(crate) fn set_wall(&self, by: i64) {
        WALL_AHEAD_S.fetch_add(by, Ordering::SeqCst);
    }

    /// Whether the token is handed out from memory.
    pub(crate) fn is_fresh(&self) -> bool {
        self.session.fresh(Duration::ZERO).is_some()
    }

    pub(crate) fn word(&self) -> u64 {
        // SAFETY: the word is valid as long as the session, and only atomics write it.
        unsafe { (*self.session.generation_word().cast::<AtomicU64>()).load(Ordering::Acquire) }
    }

    pub(crate) fn calls(&self) -> (u64, u64) {
        let counters = self.sandbox.counters();
        (counters.calls(Route::Issue), counters.calls(Route::Refresh))
    }

    pub(crate) fn fault(&self, route: Route, point: Point, action: Action) {
        self.sandbox.inject(Fault::new(route, action).at(point)).unwrap();
    }

    /// Another session, as in another process: it shares only the settings.
    pub(crate) fn open(&self, settings: &[(&str, &str)]) -> Session {
        let mut config = config(&self.sandbox);
        for (name, value) in settings {
            config.set(name, value).unwrap();
        }
        Session::open(&client(&config, &self.sandbox.urls().https), &config).unwrap()
    }

    pub(crate) fn revoke(&self, session: &Session) {
        let token = session.token(PATIENCE, NOW).unwrap();
        self.sandbox.revoke(&Revoke::AccessToken(token.token.access.expose().into()));
    }

    /// The HTTP status of a request of the session.
    pub(crate) fn wallet(&self, session: &Session) -> u16 {
        session.request(ApiRequest::new("GET", "/wallet", &[], None).unwrap(), None).unwrap().status
    }
}

/// A queue that gets the log lines of a session up to this level.
pub(crate) fn log_of(session: &Session, level: Level) -> Queue {
    let queue = Queue::default();
    session.subscribe(queue.begin(7, Operation::Subscription).unwrap(), level);
    queue
}

/// The log lines in a queue whose session is closed.
pub(crate) fn lines(queue: &Queue) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(event) = queue.poll(NOW).unwrap() {
        if let Body::Log(_, line) = event.body {
            lines.push(line);
        }
    }
    lines
}

pub(crate) fn answer(status: u16, body: Option<Value>, headers: &[(&str, &str)]) -> Action {
    let headers: BTreeMap<_, _> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Action::Status { status, body, headers }
}

pub(crate) fn html(status: u16) -> Action {
    answer(status, Some(json!("<html>no</html>")), &[("Content-Type", "text/html")])
}

/// Panics at one of its requests.
pub(crate) struct Fragile {
    pub(crate) requests: AtomicU64,
    pub(crate) breaks_at: u64,
    pub(crate) inner: HttpTransport,
}

impl Fragile {
    pub(crate) fn over(inner: HttpTransport, breaks_at: u64) -> Self {
        Fragile { requests: AtomicU64::new(0), breaks_at, inner }
    }

    pub(crate) fn session(fixture: &Fixture, breaks_at: u64) -> Session {
        let config = config(&fixture.sandbox);
        let url = fixture.sandbox.urls().https.parse().unwrap();
        let inner = config.transport(url, Arc::new(TestClock)).unwrap();
        let fragile = Fragile::over(inner, breaks_at);
        let client = Client::with_parts(&config, Box::new(fragile), Arc::new(TestClock)).unwrap();
        Session::open(&client, &config).unwrap()
    }
}

impl Transport for Fragile {
    fn send(&self, request: Request) -> Sending<'_> {
        if self.requests.fetch_add(1, Ordering::SeqCst) == self.breaks_at {
            panic!("hunter2");
        }
        let reply: Sending<'_> = self.inner.send(request);
        Box::pin(async move {
            let reply: Exchange = reply.await;
            reply
        })
    }
}
