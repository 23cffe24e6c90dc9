//! Calls on real sockets: the fate of a refresh token where the connection is cut at any byte, GOAWAY, and unusual
//! answers that are still good.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod goaway;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use paymentsgate_auth::ShardedArc;
use paymentsgate_auth::client::Client;
use paymentsgate_auth::config::Config;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::event::{Body, Operation};
use paymentsgate_auth::queue::Queue;
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::status::{Fate, Status};
use paymentsgate_auth::token::{Grant, RefreshToken};
use pg_sandbox::{Action, Fault, Listener, Options, Point, Route, Sandbox};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));

fn client(base_url: &str, settings: &[(&str, &str)]) -> Arc<Client> {
    let mut config = Config::default();
    config.set("base_url", base_url).unwrap();
    for (name, value) in settings {
        config.set(name, value).unwrap();
    }
    Client::new(&config).unwrap()
}

fn sandbox_client(sandbox: &Sandbox) -> Arc<Client> {
    let address = sandbox.address();
    let [ca_file, credentials_file] =
        [&address.ca_file, &address.credentials_file].map(|path| path.to_str().unwrap());
    client(&sandbox.urls().https, &[("tls.ca_file", ca_file), ("credentials_file", credentials_file)])
}

fn token(text: &str) -> RefreshToken {
    RefreshToken::new(Secret::new(text).unwrap())
}

fn fault(point: Point, action: Action) -> Fault {
    Fault { route: Route::Refresh, point: Some(point), times: Some(1), skip: 0, action }
}

/// Cuts the answer after 0, 1, 2, … bytes until it arrives complete; returns the number of cuts.
fn cut_at_every_byte_of_the_answer(http2: bool) -> u64 {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    sandbox.switches(|switches| switches.http2 = http2);
    let client = sandbox_client(&sandbox);
    for bytes in 0..20_000 {
        sandbox.clear_faults();
        let pair = client.issue(None, PATIENCE).unwrap();
        sandbox.inject(fault(Point::After, Action::Cut { bytes })).unwrap();
        match client.refresh(Some(pair.token.access.clone()), pair.refresh.unwrap(), PATIENCE) {
            Ok(_) => {
                assert_eq!(sandbox.counters().most_presentations, 1, "a refresh token was presented twice");
                return bytes;
            }
            Err(error) => {
                assert_eq!(error.fate, Fate::PG_FATE_UNKNOWN, "cut after {bytes} bytes: {error}");
                assert!(!error.is_retryable() && error.needs_credentials());
            }
        }
    }
    panic!("no answer arrived complete");
}

#[test]
fn an_answer_cut_at_any_byte_leaves_an_unknown_fate_over_http_1() {
    assert!(cut_at_every_byte_of_the_answer(false) > 400, "the answer has a head and a pair");
}

#[test]
fn an_answer_cut_at_any_byte_leaves_an_unknown_fate_over_http_2() {
    assert!(cut_at_every_byte_of_the_answer(true) > 300, "the answer has a head and a pair");
}

#[test]
fn a_lost_answer_has_an_unknown_fate_and_the_service_has_rotated() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let client = sandbox_client(&sandbox);
    let pair = client.issue(None, PATIENCE).unwrap();
    sandbox.inject(fault(Point::After, Action::Reset)).unwrap();
    let error = client.refresh(None, pair.refresh.unwrap(), PATIENCE).unwrap_err();
    assert_eq!(error.fate, Fate::PG_FATE_UNKNOWN);
    assert_eq!(sandbox.counters().pairs_refreshed, 1);
}

#[test]
fn a_refused_stream_keeps_the_refresh_token_good() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let client = sandbox_client(&sandbox);
    let pair = client.issue(None, PATIENCE).unwrap();
    let text = pair.refresh.unwrap().secret().clone();
    sandbox.inject(fault(Point::Before, Action::RefuseStream)).unwrap();
    let error = client.refresh(None, RefreshToken::new(text.clone()), PATIENCE).unwrap_err();
    assert_eq!((error.status, error.fate), (Status::PG_ERR_STREAM_REFUSED, Fate::PG_FATE_NOT_CONSUMED));
    client.refresh(None, RefreshToken::new(text), PATIENCE).unwrap();
}

/// A server that reads `bytes` bytes of the first connection and resets it; returns the bytes read.
fn cutting_server(bytes: usize) -> (String, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut read = vec![0; bytes];
        let mut got = 0;
        while got < bytes {
            match stream.read(&mut read[got..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => got += more,
            }
        }
        read.truncate(got);
        read
    });
    (url, server)
}

#[test]
fn a_request_cut_at_any_byte_is_never_called_unsent_once_the_server_has_seen_the_token() {
    let secret = "r3fr3sh";
    let mut seen_whole = false;
    for bytes in 0..600 {
        let (url, server) = cutting_server(bytes);
        let error = client(&url, &[]).refresh(None, token(secret), PATIENCE).unwrap_err();
        let request = server.join().unwrap();
        let head = request.windows(4).position(|window| window == b"\r\n\r\n");
        let token_seen = head.is_some_and(|end| request.len() > end + 4);
        assert!(!token_seen || error.fate == Fate::PG_FATE_UNKNOWN, "{bytes} bytes: {error}");
        seen_whole |= String::from_utf8_lossy(&request).contains(secret);
        if request.len() < bytes {
            break;
        }
        if seen_whole {
            return;
        }
    }
    panic!("the request was never read completely");
}

/// Answers one refresh on a connection, then closes it while it is idle.
/// In TLS 1.3 a server refuses a client certificate after the handshake, when a request may be on its way already.
#[test]
fn callers_that_come_together_learn_why_the_server_refuses_their_connections() {
    for http2 in [true, false] {
        let sandbox = Sandbox::start(Options::default()).unwrap();
        sandbox.switches(|switches| switches.http2 = http2);
        let address = sandbox.address();
        let [ca_file, credentials_file] =
            [&address.ca_file, &address.credentials_file].map(|path| path.to_str().unwrap());
        let settings = [("tls.ca_file", ca_file), ("credentials_file", credentials_file)];
        let client = client(&sandbox.urls().client_certificate, &settings);
        let call = || {
            for _ in 0..60 {
                let error = client.issue(None, PATIENCE).map(drop).unwrap_err();
                assert_eq!(error.status, Status::PG_ERR_TLS, "{error}");
            }
        };
        thread::scope(|scope| (0..6).for_each(|_| drop(scope.spawn(call))));
    }
}

fn answer_once(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    let body = r#"{"access_token":"a","refresh_token":"r","expires_in":3600}"#;
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream
}

#[test]
fn a_connection_that_the_server_closed_while_idle_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(&format!("http://{}", listener.local_addr().unwrap()), &[]);
    let (closed, is_closed) = mpsc::channel();
    let server = thread::spawn(move || {
        answer_once(&listener).shutdown(Shutdown::Both).unwrap();
        closed.send(()).unwrap();
        drop(answer_once(&listener));
    });
    client.refresh(None, token("one"), PATIENCE).unwrap();
    is_closed.recv().unwrap();
    match client.refresh(None, token("two"), PATIENCE) {
        // The library's thread had not noticed the close yet. The refresh token is still good.
        Err(error) if error.fate == Fate::PG_FATE_UNSENT => client.refresh(None, token("two"), PATIENCE),
        result => result,
    }
    .unwrap();
    server.join().unwrap();
}

#[test]
fn plain_http_to_this_machine_never_goes_through_a_proxy() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let credentials = sandbox.address().credentials_file.to_str().unwrap().to_owned();
    let settings = [("proxy", sandbox.urls().proxy.as_str()), ("credentials_file", credentials.as_str())];
    client(&sandbox.urls().http, &settings).issue(None, PATIENCE).unwrap();
    let counters = sandbox.counters();
    assert_eq!((counters.proxy_tunnels, counters.proxy_refusals), (0, 0));
}

/// Makes this many issues at once on a new client; returns how many succeeded.
fn at_once(client: &Arc<Client>, crowd: usize, patience: Duration) -> usize {
    let together = Arc::new(Barrier::new(crowd));
    let callers: Vec<_> = (0..crowd)
        .map(|_| {
            let (client, together) = (client.clone(), together.clone());
            thread::spawn(move || {
                together.wait();
                client.issue(None, Some(patience)).is_ok()
            })
        })
        .collect();
    callers.into_iter().map(|caller| caller.join().unwrap()).filter(|is_ok| *is_ok).count()
}

#[test]
fn many_calls_on_a_new_client_share_one_connection_over_http_2() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    assert_eq!(at_once(&sandbox_client(&sandbox), 256, Duration::from_secs(20)), 256);
    let connections = sandbox.counters().connections[&Listener::Https];
    assert!(connections <= 2, "{connections} connections");
}

#[test]
fn many_calls_on_a_new_client_open_few_connections_over_http_1() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    sandbox.switches(|switches| switches.http2 = false);
    assert_eq!(at_once(&sandbox_client(&sandbox), 256, Duration::from_secs(20)), 256);
    let connections = sandbox.counters().connections[&Listener::Https];
    // A request can start before the connection of an ended request is idle again.
    assert!(connections < 128, "{connections} connections");
}

#[test]
fn a_request_without_an_answer_does_not_block_other_requests() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let hang = Fault { route: Route::Issue, ..fault(Point::Before, Action::Hang) };
    sandbox.inject(hang).unwrap();
    assert_eq!(at_once(&sandbox_client(&sandbox), 32, Duration::from_secs(3)), 31);
}

#[test]
fn a_connection_that_is_never_made_delays_other_requests_no_longer_than_its_timeout() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    sandbox.inject(Fault { route: Route::Any, ..fault(Point::Accept, Action::Hang) }).unwrap();
    let address = sandbox.address();
    let [ca_file, credentials_file] =
        [&address.ca_file, &address.credentials_file].map(|path| path.to_str().unwrap());
    let settings =
        [("tls.ca_file", ca_file), ("credentials_file", credentials_file), ("connect_timeout_ms", "500")];
    let client = client(&sandbox.urls().https, &settings);
    // The first one too, if it gets the connection of another one before its own timeout.
    assert!(at_once(&client, 32, Duration::from_secs(3)) >= 31);
}

/// The one event of a bare call on a queue.
fn end_of(queue: &Queue, id: u64) -> Result<ShardedArc<Grant>, Error> {
    let event = queue.poll(Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!(event.id, id);
    match event.body {
        Body::Token(result) => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_canceled_bare_call_ends_in_one_event_with_the_fate_of_its_token() {
    let sandbox = Sandbox::start(Options::default()).unwrap();
    let (client, queue) = (sandbox_client(&sandbox), Queue::default());
    let issue = |id| {
        client.issue_start(queue.begin(id, Operation::Token).unwrap(), None, PATIENCE);
        RefreshToken::new(end_of(&queue, id).unwrap().refresh.as_ref().unwrap().secret().clone())
    };
    let start = |id, refresh| {
        let end = queue.begin(id, Operation::Refresh).unwrap();
        client.refresh_start(end, None, refresh, PATIENCE);
    };

    client.refresh_start(queue.begin(2, Operation::Refresh).unwrap(), None, token("x"), Some(Duration::ZERO));
    assert_eq!(end_of(&queue, 2).unwrap_err().fate, Fate::PG_FATE_UNSENT);

    let refresh = issue(1);
    sandbox.inject(fault(Point::Before, Action::Hang)).unwrap();
    start(3, refresh);
    // If canceled earlier, the request might not have been sent.
    while sandbox.counters().calls(Route::Refresh) == 0 {
        thread::yield_now();
    }
    queue.cancel(3).unwrap();
    assert_eq!(end_of(&queue, 3).unwrap_err().fate, Fate::PG_FATE_UNKNOWN);
    sandbox.clear_faults();

    // The fate of the other token is not known here either.
    start(5, issue(4));
    assert!(end_of(&queue, 5).unwrap().refresh.is_some());
    assert!(queue.poll(Duration::ZERO).unwrap().is_none());
}
