//! An emulator and a server, with sessions on them.

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

    /// With options for the server.
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

    /// A session with a client of its own, as another process has.
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

    /// Of another account.
    pub(crate) fn other(&self) -> Session {
        let account = self.sandbox.add_account().unwrap();
        let config = self.login(&account.account_id, &account.public_key);
        Session::open(&client(&config, &self.sandbox.urls().https), &config).unwrap()
    }

    /// The settings of a login.
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

    /// A pair in the store, whose access token has just expired.
    pub(crate) fn seed(&self) {
        assert_eq!(generation(&self.session()), 1);
        self.pass(3600);
    }

    /// The next refresh is acted upon, and has no answer.
    pub(crate) fn hang_refresh(&self) {
        self.sandbox.inject(Fault::new(Route::Refresh, Action::Hang).at(Point::After)).unwrap();
    }

    pub(crate) fn pass(&self, seconds: u64) {
        support::pass(&self.sandbox, seconds);
    }

    /// The calls of Issue and of Refresh so far; no refresh token was presented twice.
    pub(crate) fn calls(&self) -> (u64, u64) {
        let counters = self.sandbox.counters();
        assert!(counters.most_presentations <= 1, "a refresh token was presented again");
        (counters.calls(Route::Issue), counters.calls(Route::Refresh))
    }
}

/// Of the token that the session hands out now.
pub(crate) fn generation(session: &Session) -> u64 {
    session.token(PATIENCE, NOW).unwrap().generation
}
