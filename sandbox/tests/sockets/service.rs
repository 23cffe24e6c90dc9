//! Regular calls.

use std::time::{Duration, SystemTime};

use pg_sandbox::{DateHeader, Listener, RateLimit, RetryAfter, Route, fingerprint};

use crate::fixture::{Fixture, builder, issue_with};

#[test]
fn issue_refresh_and_business_calls_work_over_https() {
    let fixture = Fixture::new();
    let first = fixture.issue();
    let second = fixture.refresh(&first.refresh);
    assert_eq!(fixture.get("/wallet", &second.access).status(), 200);
    assert_eq!(fixture.try_refresh(&first.refresh).unwrap().status(), 401);
    fixture.sandbox.advance(Duration::from_secs(3600));
    assert_eq!(fixture.get("/wallet", &second.access).status(), 401);
    assert_eq!(fixture.get("/else", &second.access).status(), 404);

    let counters = fixture.sandbox.counters();
    assert_eq!((counters.pairs_issued, counters.pairs_refreshed), (1, 1));
    assert_eq!(counters.refresh_tokens[&fingerprint(&first.refresh)], 2);
    assert_eq!(counters.most_presentations, 2);
    assert_eq!(counters.most_refreshes_at_once, 1);
    assert_eq!(counters.calls(Route::Refresh), 2);
    assert_eq!(counters.outcomes(Route::Refresh, "401"), 1);
    assert_eq!(counters.outcomes(Route::Other, "404"), 1);
    assert_eq!(counters.connections[&Listener::Https], 6);
    assert_eq!(counters.tls_handshakes, 6);
}

#[test]
fn the_last_request_can_be_inspected() {
    let fixture = Fixture::new();
    let token = fixture.issue().access;
    fixture.get("/fx/calculation?amount=5", &token);
    let counters = fixture.sandbox.counters();
    let issue = counters.route(Route::Issue).last.unwrap();
    assert_eq!(issue.header("content-type"), Some("application/json"));
    assert_eq!(issue.header("content-length"), Some(issue.body.len().to_string().as_str()));
    assert!(issue.body.contains(&fixture.sandbox.credentials().account_id));
    let fx = counters.route(Route::Fx).last.unwrap();
    assert_eq!((fx.method.as_str(), fx.query.as_str()), ("GET", "amount=5"));
    assert_eq!(fx.bearer(), Some(token.as_str()));
}

#[test]
fn both_http_versions_work_with_and_without_tls() {
    let fixture = Fixture::new();
    let urls = fixture.sandbox.urls();
    let http1 = builder(&fixture.sandbox).http1_only().build().unwrap();
    let http2 = builder(&fixture.sandbox).http2_prior_knowledge().build().unwrap();
    for url in [&urls.https, &urls.http] {
        assert_eq!(issue_with(&http1, &fixture.sandbox, url).unwrap().status(), 200);
        assert_eq!(issue_with(&http2, &fixture.sandbox, url).unwrap().status(), 200);
    }
    let counters = fixture.sandbox.counters();
    assert_eq!((counters.http_versions["HTTP/1.1"], counters.http_versions["HTTP/2.0"]), (2, 2));
}

#[test]
fn http2_can_be_switched_off() {
    let fixture = Fixture::new();
    assert_eq!(fixture.try_issue().unwrap().version(), reqwest::Version::HTTP_2);
    fixture.sandbox.switches(|s| s.http2 = false);
    assert_eq!(fixture.try_issue().unwrap().version(), reqwest::Version::HTTP_11);
    let http2 = builder(&fixture.sandbox).http2_prior_knowledge().build().unwrap();
    assert!(issue_with(&http2, &fixture.sandbox, &fixture.sandbox.urls().http).is_err());
}

#[test]
fn the_date_header_follows_the_emulators_clock() {
    let fixture = Fixture::new();
    let ahead = || {
        let response = fixture.try_issue().unwrap();
        let date = httpdate::parse_http_date(response.headers()["date"].to_str().unwrap()).unwrap();
        let difference = date.duration_since(SystemTime::now());
        difference.map_or_else(|behind| -behind.duration().as_secs_f64(), |ahead| ahead.as_secs_f64())
    };
    let near = |expected: f64| {
        let ahead = ahead();
        assert!((ahead - expected).abs() < 5.0, "{ahead} instead of {expected}");
    };
    near(0.0);
    fixture.sandbox.advance(Duration::from_secs(1000));
    near(1000.0);
    fixture.sandbox.switches(|s| s.date_header = DateHeader::SkewS(-1500));
    near(-500.0);
    fixture.sandbox.switches(|s| s.date_header = DateHeader::Off);
    assert_eq!(fixture.try_issue().unwrap().headers().get("date"), None);
}

#[test]
fn a_rate_limited_caller_gets_retry_after() {
    let retry_after = Some(RetryAfter::Seconds(3));
    let fixture = Fixture::with(|s| s.rate_limit = Some(RateLimit { requests: 1, per_s: 60, retry_after }));
    fixture.issue();
    let response = fixture.try_issue().unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (429, &"3".parse().unwrap())
    );
    fixture.sandbox.advance(Duration::from_secs(60));
    fixture.issue();
}

#[test]
fn a_reset_keeps_only_the_default_account() {
    let fixture = Fixture::with(|s| s.access_lifetime_s = 60);
    let token = fixture.issue().access;
    fixture.sandbox.switches(|s| s.access_lifetime_s = 5);
    fixture.sandbox.reset();
    assert_eq!(fixture.sandbox.counters(), pg_sandbox::Counters::default());
    assert_eq!(fixture.get("/wallet", &token).status(), 401);
    assert_eq!(fixture.try_issue().unwrap().json::<serde_json::Value>().unwrap()["expires_in"], 60);
}
