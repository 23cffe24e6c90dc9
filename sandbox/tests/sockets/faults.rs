//! Every fault, over HTTP/1.1 and, where possible, HTTP/2.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pg_sandbox::{Action, Fault, Form, Point, Route};
use reqwest::blocking::Response;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::fixture::{Fixture, Pair, builder, causes, eventually, issue_with, raw, read_to_the_end};

const WALLET: &str = "GET /wallet HTTP/1.1\r\nhost: localhost\r\n\r\n";
const WALLET_THEN_CLOSE: &str = "GET /wallet HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn status(status: u16) -> Action {
    Action::Status { status, body: None, headers: BTreeMap::new() }
}

fn spoilt_issue(fixture: &Fixture, form: Form) -> Response {
    fixture.inject(Fault::new(Route::Issue, Action::Body(form)));
    fixture.try_issue().unwrap()
}

#[test]
fn a_status_fault_works_before_and_after_the_action() {
    let fixture = Fixture::new();
    let first = fixture.issue();
    fixture.inject(Fault::new(Route::Refresh, status(503)).at(Point::Before));
    let response = fixture.try_refresh(&first.refresh).unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.json::<Value>().unwrap()["statusCode"], 503);
    assert_eq!(fixture.sandbox.counters().pairs_refreshed, 0);

    fixture.inject(Fault::new(Route::Refresh, status(502)).at(Point::After));
    assert_eq!(fixture.try_refresh(&first.refresh).unwrap().status(), 502);
    assert_eq!(fixture.sandbox.counters().pairs_refreshed, 1, "the rotation is committed");
    assert_eq!(fixture.try_refresh(&first.refresh).unwrap().status(), 401);
}

#[test]
fn a_status_with_its_own_body_and_headers() {
    let fixture = Fixture::new();
    let headers = BTreeMap::from([("retry-after".to_owned(), "9".to_owned())]);
    let action = Action::Status { status: 429, body: Some(json!("slow down")), headers };
    fixture.inject(Fault::new(Route::Issue, action));
    let response = fixture.try_issue().unwrap();
    assert_eq!(response.headers()["retry-after"], "9");
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.text().unwrap(), "slow down");
}

#[test]
fn faults_count_their_calls_and_apply_to_their_route_only() {
    let fixture = Fixture::new();
    fixture.inject(Fault::new(Route::Issue, status(500)).skip(1).times(2));
    let statuses: Vec<u16> = (0..4).map(|_| fixture.try_issue().unwrap().status().as_u16()).collect();
    assert_eq!(statuses, [200, 500, 500, 200]);
    fixture.inject(Fault::new(Route::Any, status(500)).forever());
    assert_eq!(fixture.get("/wallet", "").status(), 500);
    assert_eq!(fixture.try_issue().unwrap().status(), 500);
    assert_eq!(fixture.sandbox.faults().len(), 1);
    fixture.sandbox.clear_faults();
    fixture.issue();
}

#[test]
fn a_delay_lets_refreshes_overlap() {
    let fixture = Fixture::new();
    let tokens = [fixture.issue().refresh, fixture.issue().refresh];
    fixture.inject(Fault::new(Route::Refresh, Action::Delay { ms: 300 }).times(2));
    thread::scope(|scope| {
        for token in &tokens {
            scope.spawn(|| fixture.refresh(token));
        }
    });
    assert_eq!(fixture.sandbox.counters().most_refreshes_at_once, 2);
}

#[test]
fn a_request_is_processed_although_its_sender_has_left() {
    let fixture = Fixture::new();
    fixture.inject(Fault::new(Route::Issue, Action::Delay { ms: 200 }));
    let hasty = builder(&fixture.sandbox).timeout(Duration::from_millis(100)).build().unwrap();
    assert!(issue_with(&hasty, &fixture.sandbox, &fixture.sandbox.urls().http).unwrap_err().is_timeout());
    eventually(|| fixture.sandbox.counters().pairs_issued == 1);
}

#[test]
fn a_reset_works_at_every_point() {
    let fixture = Fixture::new();
    for point in [Point::Accept, Point::Head, Point::Before, Point::After] {
        fixture.inject(Fault::new(Route::Any, Action::Reset).at(point));
        // Unread bytes would cause a reset by themselves, so nothing is sent at the first point.
        let request = if point == Point::Accept { "" } else { WALLET };
        let (received, end) = raw(&fixture.sandbox.urls().http, request);
        assert!(received.is_empty());
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset, "{point:?}");
    }
    let counters = fixture.sandbox.counters();
    assert_eq!(counters.calls(Route::Wallet), 3, "the first was never read");
    assert_eq!(counters.outcomes(Route::Wallet, "reset"), 3);
}

#[test]
fn a_close_works_at_every_point() {
    let fixture = Fixture::new();
    for point in [Point::Accept, Point::Head, Point::Before, Point::After] {
        fixture.inject(Fault::new(Route::Any, Action::Close).at(point));
        let (received, end) = raw(&fixture.sandbox.urls().http, WALLET);
        assert!(received.is_empty());
        assert!(end.is_ok(), "{point:?}: {end:?}");
    }
    assert_eq!(fixture.sandbox.counters().outcomes(Route::Wallet, "close"), 3);
}

#[test]
fn a_fault_at_the_head_strikes_before_the_body_arrives() {
    let fixture = Fixture::new();
    fixture.inject(Fault::new(Route::Refresh, Action::Reset).at(Point::Head));
    let head = "POST /auth/token/refresh HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n";
    let (_, end) = raw(&fixture.sandbox.urls().http, head);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let counters = fixture.sandbox.counters();
    assert_eq!((counters.calls(Route::Refresh), counters.most_presentations), (1, 0));
}

#[test]
fn a_close_is_orderly_with_an_unread_body() {
    let fixture = Fixture::new();
    fixture.inject(Fault::new(Route::Issue, Action::Close).at(Point::Head));
    let body = " ".repeat(30_000);
    let head = format!("POST /auth/token HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
    let (_, end) = raw(&fixture.sandbox.urls().http, &(head + &body));
    assert!(end.is_ok(), "{end:?}");
}

#[test]
fn resets_and_closes_work_over_tls() {
    let fixture = Fixture::new();
    fixture.inject(Fault::new(Route::Wallet, Action::Reset));
    let (_, end) = read_to_the_end(&mut asked_over_tls(&fixture));
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    fixture.inject(Fault::new(Route::Wallet, Action::Close));
    let (_, end) = read_to_the_end(&mut asked_over_tls(&fixture));
    assert!(end.is_ok(), "TLS got close_notify: {end:?}");
}

#[test]
fn resets_and_closes_work_over_http2() {
    let fixture = Fixture::new();
    for action in [Action::Reset, Action::Close] {
        for point in [Point::Head, Point::Before, Point::After] {
            fixture.inject(Fault::new(Route::Issue, action.clone()).at(point));
            assert!(fixture.try_issue().is_err());
        }
    }
    let counters = fixture.sandbox.counters();
    assert_eq!((counters.pairs_issued, counters.outcomes(Route::Issue, "reset")), (2, 3));
}

#[test]
fn an_answer_can_be_cut_at_every_byte() {
    let fixture = Fixture::new();
    let url = &fixture.sandbox.urls().http;
    let (whole, _) = raw(url, WALLET_THEN_CLOSE);
    // The last round cuts after the last byte: the answer is complete, then comes the reset.
    for bytes in 0..=whole.len() {
        fixture.inject(Fault::new(Route::Wallet, Action::Cut { bytes: bytes as u64 }));
        let (received, end) = raw(url, WALLET_THEN_CLOSE);
        assert_eq!(received.len(), bytes);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset, "at {bytes}");
    }
    assert_eq!(fixture.sandbox.counters().outcomes(Route::Wallet, "cut"), whole.len() as u64 + 1);
}

#[test]
fn a_cut_over_tls_counts_the_bytes_that_the_peer_can_read() {
    let fixture = Fixture::new();
    for bytes in [0, 1, 17, 150] {
        fixture.inject(Fault::new(Route::Wallet, Action::Cut { bytes }));
        let (received, end) = read_to_the_end(&mut asked_over_tls(&fixture));
        assert_eq!(received.len() as u64, bytes);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_cut_counts_the_bytes_of_one_answer_only() {
    let fixture = Fixture::new();
    let client = builder(&fixture.sandbox).pool_max_idle_per_host(1).http1_only().build().unwrap();
    let ask = || client.get(format!("{}/wallet", fixture.sandbox.urls().http)).send();
    let length = raw(&fixture.sandbox.urls().http, WALLET_THEN_CLOSE).0.len() as u64;
    ask().unwrap().bytes().unwrap();
    fixture.inject(Fault::new(Route::Wallet, Action::Cut { bytes: length + 1 }));
    ask().unwrap().bytes().unwrap();
    ask().unwrap().bytes().unwrap();
    fixture.inject(Fault::new(Route::Wallet, Action::Cut { bytes: 10 }));
    assert!(ask().is_err());
}

#[test]
fn a_cut_works_over_http2() {
    let fixture = Fixture::new();
    fixture.inject(Fault::new(Route::Issue, Action::Cut { bytes: 20 }));
    assert!(fixture.try_issue().is_err());
    assert_eq!(fixture.sandbox.counters().pairs_issued, 1);
}

#[test]
fn a_stream_can_be_refused() {
    let fixture = Fixture::new();
    fixture.inject(Fault::new(Route::Issue, Action::RefuseStream));
    let error = fixture.try_issue().unwrap_err();
    assert!(causes(&error).contains("refused"), "{}", causes(&error));
    fixture.issue();
    fixture.inject(Fault::new(Route::Any, Action::RefuseStream));
    let (_, end) = raw(&fixture.sandbox.urls().http, WALLET);
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_body_can_be_something_other_than_json() {
    let fixture = Fixture::new();
    for form in [Form::Malformed, Form::NonUtf8, Form::Html, Form::Empty] {
        let response = spoilt_issue(&fixture, form.clone());
        assert_eq!(response.status(), 200);
        assert!(serde_json::from_slice::<Value>(&response.bytes().unwrap()).is_err(), "{form:?}");
    }
    let response = spoilt_issue(&fixture, Form::NonUtf8);
    assert!(String::from_utf8(response.bytes().unwrap().into()).is_err());
    assert_eq!(spoilt_issue(&fixture, Form::Html).headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(fixture.sandbox.counters().outcomes(Route::Issue, "non_utf8"), 2);
}

#[test]
fn a_body_can_be_odd_json() {
    let fixture = Fixture::new();
    let array: Value = spoilt_issue(&fixture, Form::Array).json().unwrap();
    assert!(array[0]["access_token"].is_string());
    let twice = spoilt_issue(&fixture, Form::DuplicateKey).text().unwrap();
    assert_eq!(twice.matches("\"access_token\"").count(), 2);
    serde_json::from_str::<Value>(&twice).unwrap();
    let deep = spoilt_issue(&fixture, Form::Deep).text().unwrap();
    assert!(deep.starts_with("[[[") && deep.len() == 200_000);
}

#[test]
fn a_truncated_body_works_over_both_http_versions() {
    let fixture = Fixture::new();
    let response = spoilt_issue(&fixture, Form::Truncated);
    assert!(response.bytes().is_err());
    fixture.inject(Fault::new(Route::Wallet, Action::Body(Form::Truncated)));
    let (received, _) = raw(&fixture.sandbox.urls().http, WALLET);
    let text = String::from_utf8(received).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let declared = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(declared.parse::<usize>().unwrap() / 2, body.len());
}

#[test]
fn a_huge_body_ends_correctly() {
    let fixture = Fixture::new();
    let response = spoilt_issue(&fixture, Form::Huge { mib: 4 });
    let body = response.bytes().unwrap();
    assert!(body.len() > 4 << 20);
    let json: Value = serde_json::from_slice(&body).unwrap();
    assert!(json["access_token"].is_string());
}

#[test]
fn a_dribbled_body_arrives_completely() {
    let fixture = Fixture::new();
    fixture.inject(Fault::new(Route::Wallet, Action::Body(Form::Dribbled { ms: 1 })));
    let start = Instant::now();
    let body = fixture.get("/wallet", "").bytes().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(body.len() as u64));
}

#[test]
fn gzip_can_be_sent_without_a_request_for_it() {
    let fixture = Fixture::new();
    let response = spoilt_issue(&fixture, Form::Gzip);
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let packed = response.bytes().unwrap();
    let json: Value = serde_json::from_reader(flate2::read::GzDecoder::new(&packed[..])).unwrap();
    assert!(json["access_token"].is_string());
}

#[test]
fn a_body_can_be_spoilt_without_processing_the_request() {
    let fixture = Fixture::new();
    fixture.inject(Fault::new(Route::Issue, Action::Body(Form::Html)).at(Point::Before));
    assert_eq!(fixture.try_issue().unwrap().status(), 200);
    assert_eq!(fixture.sandbox.counters().pairs_issued, 0);
}

#[test]
fn fields_are_set_and_removed() {
    let fixture = Fixture::new();
    let field = "expires_in".to_owned();
    fixture.inject(Fault::new(Route::Issue, Action::Set { field, value: json!("soon") }));
    fixture.inject(Fault::new(Route::Issue, Action::Remove { field: "refresh_token".into() }));
    let json: Value = fixture.try_issue().unwrap().json().unwrap();
    assert_eq!(json["expires_in"], "soon");
    assert!(json.get("refresh_token").is_none() && json["access_token"].is_string());
    fixture.issue();
}

#[test]
fn a_redirect_points_to_the_second_host() {
    let fixture = Fixture::new();
    let eager = builder(&fixture.sandbox).redirect(reqwest::redirect::Policy::limited(3)).build().unwrap();
    for status in [302, 307, 308] {
        fixture.inject(Fault::new(Route::Issue, Action::Redirect { status }));
        let response = fixture.try_issue().unwrap();
        assert_eq!(response.status(), status);
        let target = format!("{}/auth/token", fixture.sandbox.urls().foreign);
        assert_eq!(response.headers()["location"].to_str().unwrap(), target);
    }
    assert_eq!(fixture.sandbox.foreign(), []);
    fixture.inject(Fault::new(Route::Issue, Action::Redirect { status: 307 }));
    assert_eq!(issue_with(&eager, &fixture.sandbox, &fixture.sandbox.urls().https).unwrap().status(), 200);
    let foreign = fixture.sandbox.foreign();
    assert_eq!((foreign[0].method.as_str(), foreign[0].path.as_str()), ("POST", "/auth/token"));
    assert!(foreign[0].body.contains(&fixture.sandbox.credentials().public_key));
    assert_eq!(fixture.sandbox.counters().foreign, 1);
}

#[test]
fn a_hanging_call_hangs_at_every_point() {
    let fixture = Fixture::new();
    let hasty = builder(&fixture.sandbox).timeout(Duration::from_millis(60)).build().unwrap();
    for point in [Point::Accept, Point::Head, Point::Before, Point::After] {
        fixture.inject(Fault::new(Route::Any, Action::Hang).at(point));
        let error = issue_with(&hasty, &fixture.sandbox, &fixture.sandbox.urls().https).unwrap_err();
        assert!(error.is_timeout(), "{point:?}: {}", causes(&error));
    }
    Pair::of(fixture.try_issue().unwrap());
}

#[test]
fn a_delay_at_accept_delays_the_handshake() {
    let fixture = Fixture::new();
    fixture.inject(Fault::new(Route::Any, Action::Delay { ms: 80 }).at(Point::Accept));
    let start = Instant::now();
    fixture.issue();
    assert!(start.elapsed() >= Duration::from_millis(80));
}

/// A raw TLS connection on which the wallet was requested.
fn asked_over_tls(fixture: &Fixture) -> StreamOwned<ClientConnection, TcpStream> {
    let address = fixture.sandbox.address();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&address.ca_file).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(address.urls.https.strip_prefix("https://").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, tcp);
    stream.write_all(WALLET.as_bytes()).unwrap();
    stream
}
