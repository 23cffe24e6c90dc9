//! Requests that are forwarded for a proxy: what the service sees, what is sent again, and what is refused.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body::{Body, Frame};
use paymentsgate_auth::config::Config;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::event::Level;
use paymentsgate_auth::session::Session;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::{AnswerBody, ForwardedBody, ForwardedRequest, Forwarder};
use pg_sandbox::{Action, Point, Revoke, Route};
use tokio::runtime::{Builder, Runtime};

use crate::fixture::{Fixture, answer, lines, log_of};
use crate::support::{NOW, PATIENCE, client, config};

const SHORT: Duration = Duration::from_millis(300);
const PAYIN: &str = r#"{"amount": 10, "currency": "EUR", "invoiceId": "7", "clientId": "1", "type": "p2p"}"#;

/// A session and what is forwarded for it.
struct Proxy {
    session: Arc<Session>,
    forwarder: Forwarder,
    runtime: Runtime,
}

impl Proxy {
    fn of(fixture: &Fixture) -> Self {
        let config = config(&fixture.sandbox);
        let client = client(&config, &fixture.sandbox.urls().https);
        let session = Arc::new(Session::open(&client, &config).unwrap());
        let forwarder = Forwarder::new(&session, &config).unwrap();
        Proxy { session, forwarder, runtime: Builder::new_current_thread().enable_all().build().unwrap() }
    }

    fn answer(
        &self,
        method: Method,
        path: &str,
        body: ForwardedBody,
        timeout: Duration,
    ) -> Result<Response<AnswerBody>, Error> {
        let mut headers = HeaderMap::new();
        headers.insert("x-shop", "7".parse().unwrap());
        headers.insert("content-type", "application/json".parse().unwrap());
        let request = ForwardedRequest { method, path: path.into(), headers, body };
        self.runtime.block_on(self.forwarder.send(request, timeout))
    }

    /// The status of an answer.
    fn send(&self, method: Method, path: &str, body: ForwardedBody) -> Result<u16, Error> {
        self.answer(method, path, body, PATIENCE).map(|answer| answer.status().as_u16())
    }

    fn get(&self) -> Result<u16, Error> {
        self.send(Method::GET, "/wallet?card=4111", whole(""))
    }

    fn pay(&self, body: ForwardedBody) -> Result<u16, Error> {
        self.send(Method::POST, "/deals/payin", body)
    }

    /// The service no longer takes the current token, which is no longer young.
    fn revoke(&self, fixture: &Fixture) {
        let token = self.session.token(PATIENCE, NOW).unwrap();
        fixture.pass(60);
        fixture.sandbox.revoke(&Revoke::AccessToken(token.token.access.expose().into()));
    }
}

fn whole(body: &'static str) -> ForwardedBody {
    ForwardedBody::Whole(Bytes::from_static(body.as_bytes()))
}

/// A body of one piece, and of unknown length.
struct Piece(Option<Bytes>);

impl Body for Piece {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|piece| Ok(Frame::data(piece))))
    }
}

fn stream(body: &'static str) -> ForwardedBody {
    ForwardedBody::stream(Piece(Some(Bytes::from_static(body.as_bytes()))))
}

#[test]
fn the_service_sees_the_request_with_the_token_and_the_caller_its_answer() {
    let fixture = Fixture::new();
    let proxy = Proxy::of(&fixture);
    let answered = proxy.answer(Method::POST, "/deals/payin?a=%20b", stream(PAYIN), PATIENCE).unwrap();
    assert!(answered.status().is_success() && answered.headers()["content-type"] == "application/json");
    let seen = fixture.sandbox.counters().route(Route::Payin).last.unwrap();
    let token = proxy.session.token(PATIENCE, NOW).unwrap();
    assert_eq!((seen.method.as_str(), seen.body.as_str()), ("POST", PAYIN));
    assert!(seen.path.ends_with("/deals/payin") || seen.path.ends_with("?a=%20b"), "{}", seen.path);
    assert_eq!((seen.bearer(), seen.headers["x-shop"].as_str()), (Some(token.token.access.expose()), "7"));
    assert_eq!(fixture.calls(), (1, 0));
}

#[test]
fn after_a_401_a_whole_body_is_sent_again_with_another_token_and_a_stream_is_not() {
    let fixture = Fixture::new();
    let proxy = Proxy::of(&fixture);
    let log = log_of(&proxy.session, Level::PG_LOG_INFO);
    proxy.revoke(&fixture);
    assert!((200..300).contains(&proxy.pay(whole(PAYIN)).unwrap()));
    assert_eq!(fixture.sandbox.counters().calls(Route::Payin), 2);
    proxy.revoke(&fixture);
    assert_eq!(proxy.pay(stream(PAYIN)).unwrap(), 401);
    assert_eq!(fixture.sandbox.counters().calls(Route::Payin), 3);
    // The refused token was reported.
    assert!((200..300).contains(&proxy.pay(stream(PAYIN)).unwrap()));
    assert_eq!((fixture.calls(), fixture.sandbox.counters().calls(Route::Payin)), ((1, 2), 4));
    // A token that is refused young is replaced once, and no longer than the request.
    fixture.pass(600);
    for _ in 0..2 {
        fixture.fault(Route::Wallet, Point::Before, answer(401, None, &[]));
    }
    assert_eq!(proxy.get().unwrap(), 401);
    assert_eq!(fixture.sandbox.counters().calls(Route::Wallet), 2);
    proxy.session.close(PATIENCE).unwrap();
    let lines = lines(&log);
    for line in
        ["POST /deals/payin: the token was refused; retrying", "GET /wallet: the token was refused; retrying"]
    {
        assert_eq!(lines.iter().filter(|found| *found == line).count(), 1, "{line}: {lines:?}");
    }
}

#[test]
fn after_a_broken_connection_only_what_changes_nothing_is_sent_again() {
    let fixture = Fixture::new();
    let proxy = Proxy::of(&fixture);
    let log = log_of(&proxy.session, Level::PG_LOG_INFO);
    fixture.fault(Route::Wallet, Point::After, Action::Reset);
    assert_eq!(proxy.get().unwrap(), 200);
    assert_eq!(fixture.sandbox.counters().calls(Route::Wallet), 2);
    fixture.fault(Route::Payin, Point::After, Action::Reset);
    let error = proxy.pay(whole(PAYIN)).unwrap_err();
    assert_eq!((error.status, error.may_have_acted), (Status::PG_ERR_CONNECTION_LOST, true));
    assert_eq!(fixture.sandbox.counters().calls(Route::Payin), 1);
    fixture.fault(Route::Wallet, Point::After, Action::Reset);
    let error = proxy.send(Method::GET, "/wallet", stream("x")).unwrap_err();
    assert_eq!((error.status, error.may_have_acted), (Status::PG_ERR_CONNECTION_LOST, false));
    proxy.session.close(PATIENCE).unwrap();
    let lines = lines(&log);
    assert!(lines.iter().any(|line| line == "GET /wallet: the connection broke; retrying"), "{lines:?}");
}

#[test]
fn what_is_not_below_the_base_url_is_refused() {
    let fixture = Fixture::new();
    let proxy = Proxy::of(&fixture);
    for (method, path) in [
        (Method::TRACE, "/wallet"),
        (Method::CONNECT, "/wallet"),
        (Method::GET, "wallet"),
        (Method::GET, "/../wallet"),
    ] {
        let error = proxy.send(method.clone(), path, whole("")).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_INVALID_ARGUMENT, "{method} {path}");
    }
    assert_eq!((fixture.calls(), fixture.sandbox.counters().calls(Route::Wallet)), ((0, 0), 0));
    let error = Forwarder::new(&proxy.session, &Config::default()).err();
    assert!(error.is_none(), "the client's address counts");
}

#[test]
fn each_wait_has_its_limit_and_a_closed_session_sends_nothing() {
    let fixture = Fixture::new();
    let proxy = Proxy::of(&fixture);
    let late = |method, path| proxy.answer(method, path, whole(""), SHORT).unwrap_err();
    fixture.fault(Route::Issue, Point::Before, Action::Hang);
    assert_eq!(late(Method::GET, "/wallet").status, Status::PG_ERR_TIMEOUT);
    assert_eq!(fixture.sandbox.counters().calls(Route::Wallet), 0);
    fixture.sandbox.end_connections(pg_sandbox::HowToEnd::Reset);
    assert_eq!(proxy.get().unwrap(), 200);
    fixture.fault(Route::Payin, Point::Before, Action::Hang);
    let error = late(Method::POST, "/deals/payin");
    assert_eq!((error.status, error.may_have_acted), (Status::PG_ERR_TIMEOUT, true));
    proxy.session.close(PATIENCE).unwrap();
    assert_eq!(proxy.get().unwrap_err().status, Status::PG_ERR_CLOSED);
}
