//! An emulator and a Redis server, with sessions on them.

use std::sync::MutexGuard;

use paymentsgate_auth::config::Config;
use paymentsgate_auth::session::Session;
use pg_sandbox::{Action, Fault, Options, Point, Route, Sandbox};

use crate::child::Asking;
use crate::proxy::Proxy;
use crate::server::RedisServer;
use crate::support::{self, NOW, PATIENCE, client, config, turn};

/// Keys of 32 bytes: all zeros, all ones.
pub(crate) const ZEROS: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
pub(crate) const ONES: &str = "//////////////////////////////////////////8=";

pub(crate) struct Fixture {
    pub(crate) sandbox: Sandbox,
    pub(crate) redis: RedisServer,
    _turn: MutexGuard<'static, ()>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Fixture::with(&[])
    }

    /// Starts the server with these options.
    pub(crate) fn with(options: &[&str]) -> Self {
        Fixture::on(|| RedisServer::start(options))
    }

    pub(crate) fn on(server: impl FnOnce() -> RedisServer) -> Self {
        let _turn = turn();
        Fixture { sandbox: Sandbox::start(Options::default()).unwrap(), redis: server(), _turn }
    }

    pub(crate) fn proxy(&self) -> Proxy {
        Proxy::start(self.redis.port)
    }

    pub(crate) fn config(&self, store: &str, settings: &[(&str, &str)]) -> Config {
        let mut config = config(&self.sandbox);
        config.set("store", store).unwrap();
        for (name, value) in settings {
            config.set(name, value).unwrap();
        }
        config
    }

    /// A session with its own client, as in another process.
    pub(crate) fn session(&self) -> Session {
        self.session_at(&self.redis.url(), &[])
    }

    pub(crate) fn session_with(&self, settings: &[(&str, &str)]) -> Session {
        self.session_at(&self.redis.url(), settings)
    }

    pub(crate) fn session_at(&self, store: &str, settings: &[(&str, &str)]) -> Session {
        let config = self.config(store, settings);
        Session::open(&client(&config, &self.sandbox.urls().https), &config).unwrap()
    }

    /// A session of another account.
    pub(crate) fn other(&self) -> Session {
        let account = self.sandbox.add_account().unwrap();
        let config = self.login(&account.account_id, &account.public_key);
        Session::open(&client(&config, &self.sandbox.urls().https), &config).unwrap()
    }

    /// The settings of these credentials.
    pub(crate) fn login(&self, account_id: &str, public_key: &str) -> Config {
        let mut config = Config::default();
        for (name, value) in [
            ("base_url", self.sandbox.urls().https.as_str()),
            ("tls.ca_file", self.sandbox.address().ca_file.to_str().unwrap()),
            ("account_id", account_id),
            ("public_key", public_key),
            ("store", &self.redis.url()),
        ] {
            config.set(name, value).unwrap();
        }
        config
    }

    /// Another process.
    pub(crate) fn child(&self, store: &str) -> Asking {
        Asking::start(&self.sandbox, store)
    }

    /// Stores a pair whose access token has just expired.
    pub(crate) fn seed(&self) {
        assert_eq!(generation(&self.session()), 1);
        self.pass(3600);
    }

    /// The service processes the next refresh and does not answer.
    pub(crate) fn hang_refresh(&self) {
        self.sandbox.inject(Fault::new(Route::Refresh, Action::Hang).at(Point::After)).unwrap();
    }

    pub(crate) fn pass(&self, seconds: u64) {
        support::pass(&self.sandbox, seconds);
    }

    /// The number of Issues and Refreshes so far. Fails if a refresh token was presented twice.
    pub(crate) fn calls(&self) -> (u64, u64) {
        let counters = self.sandbox.counters();
        assert!(counters.most_presentations <= 1, "a refresh token was presented again");
        (counters.calls(Route::Issue), counters.calls(Route::Refresh))
    }
}

/// The generation of the token that the session hands out now.
pub(crate) fn generation(session: &Session) -> u64 {
    session.token(PATIENCE, NOW).unwrap().generation
}
