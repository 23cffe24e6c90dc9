//! The meaning of each answer (docs/lifecycle.md: the table of answers), on a scripted transport without network and clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::time::Duration;

use paymentsgate_auth::clock::{Clock, Moment};
use paymentsgate_auth::credentials::Credentials;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::protocol::{Call, Failure};
use paymentsgate_auth::secret::{Secret, Wiped};
use paymentsgate_auth::status::{Fate, Status};
use paymentsgate_auth::token::{Pair, RefreshToken};
use paymentsgate_auth::transport::{Exchange, Limit, RawResponse, Request, Sending, Transport};

/// base64 of a PEM.
const PUBLIC_KEY: &str = "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KQUFBQQotLS0tLUVORCBQVUJMSUMgS0VZLS0tLS0K";
const STARTED: Moment = Moment { boot: Duration::from_secs(100), wall: Duration::from_secs(1_700_000_000) };
const SENT: Moment = Moment { boot: Duration::from_secs(103), wall: Duration::from_secs(1_700_000_003) };

struct FrozenClock;

impl Clock for FrozenClock {
    fn now(&self) -> Moment {
        STARTED
    }
}

const LIMIT: Limit = Limit { setting: "max_response_bytes", bytes: 65_536 };

/// Gives one reply and keeps the request.
struct Script {
    reply: Mutex<Option<Exchange>>,
    request: Mutex<Option<Request>>,
}

impl Script {
    fn new(sent: bool, result: Result<RawResponse, Error>) -> Self {
        let reply = Exchange { sent: sent.then_some(SENT), result };
        Script { reply: Mutex::new(Some(reply)), request: Mutex::new(None) }
    }
}

impl Transport for Script {
    fn send(&self, request: Request) -> Sending<'_> {
        *self.request.lock().unwrap() = Some(request);
        let reply = self.reply.lock().unwrap().take().expect("a call sends one request");
        Box::pin(async move { reply })
    }
}

fn make(call: Call, script: &Script) -> Result<Pair, Error> {
    attempt(call, script).map_err(|failure| failure.error)
}

fn attempt(call: Call, script: &Script) -> Result<Pair, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(call.make(script, &FrozenClock, LIMIT, Duration::from_secs(45), &[]))
}

fn issue() -> Call {
    Call::Issue(Credentials::new("account-1", PUBLIC_KEY, "test").unwrap())
}

fn refresh() -> Call {
    Call::Refresh {
        refresh: RefreshToken::new(Secret::new("old-refresh").unwrap()),
        access: Secret::new("old-access"),
    }
}

fn answer(status: u16, body: &str) -> RawResponse {
    RawResponse { status, body: Wiped::new(body.as_bytes().to_vec()), ..RawResponse::default() }
}

fn judged(call: Call, answer: RawResponse) -> Result<Pair, Error> {
    make(call, &Script::new(true, Ok(answer)))
}

#[test]
fn the_lifetime_of_a_pair_counts_from_before_the_request_was_sent() {
    let body =
        r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":3600,"extra":{"a":[1]}}"#;
    let Pair { token, refresh: next } = judged(refresh(), answer(200, body)).unwrap();
    assert_eq!(token.access.expose(), "new-access");
    assert_eq!(next.unwrap().secret().expose(), "new-refresh");
    assert_eq!(token.anchor, SENT);
    assert_eq!(token.remaining(SENT), Duration::from_secs(3600));
    assert_eq!(judged(issue(), answer(201, body)).unwrap().token.access.expose(), "new-access");
}

#[test]
fn an_answer_before_the_body_was_sent_counts_from_the_start() {
    let script = Script::new(false, Ok(answer(200, r#"{"access_token":"a","expires_in":60}"#)));
    assert_eq!(make(refresh(), &script).unwrap().token.anchor, STARTED);
}

#[test]
fn without_a_new_refresh_token_the_old_one_stays() {
    for body in [
        r#"{"access_token":"a","expires_in":60}"#,
        r#"{"access_token":"a","refresh_token":null,"expires_in":60}"#,
        r#"{"access_token":"a","refresh_token":"","expires_in":60}"#,
    ] {
        assert_eq!(
            judged(refresh(), answer(200, body)).unwrap().refresh.unwrap().secret().expose(),
            "old-refresh"
        );
        assert!(judged(issue(), answer(200, body)).unwrap().refresh.is_none());
    }
}

#[test]
fn an_odd_lifetime_does_not_discard_a_good_pair() {
    for (expires_in, seconds) in [
        ("3600", 3600),
        ("\"3600\"", 3600),
        ("\" 1800 \"", 1800),
        ("0", 300),
        ("-1", 300),
        ("99999999", 86_400),
        ("1e3", 1000),
        ("1e400", 86_400),
        ("3600.0", 3600),
        ("\"3600.0\"", 3600),
        ("\"soon\"", 300),
        ("null", 300),
        ("{}", 300),
        ("true", 300),
    ] {
        let body = format!(r#"{{"access_token":"a","expires_in":{expires_in}}}"#);
        let token = judged(refresh(), answer(200, &body)).unwrap().token;
        assert_eq!(token.lifetime.length, Duration::from_secs(seconds), "{expires_in}");
    }
}

#[test]
fn a_200_without_a_pair_has_an_unknown_fate() {
    let deep = "[".repeat(10_000);
    for body in [
        "",
        "{",
        "[]",
        "null",
        "<html>",
        "{}",
        r#"{"access_token":null}"#,
        r#"{"access_token":""}"#,
        r#"{"access_token":5}"#,
        r#"{"access_token":["a"]}"#,
        r#"{"access_token":"a b"}"#,
        r#"{"access_token":"a\nb"}"#,
        r#"{"access_token":"a\u0000b"}"#,
        r#"{"access_token":"é"}"#,
        r#"{"access_token":"a","refresh_token":5}"#,
        r#"{"access_token":"a","refresh_token":{}}"#,
        r#"{"access_token":"a","access_token":"b"}"#,
        r#"{"access_token":"a","other":1,"other":2}"#,
        r#"{"access_token":"a"} trailing"#,
        &format!(r#"{{"access_token":"a","x":{deep}"#),
    ] {
        let error = judged(refresh(), answer(200, body)).unwrap_err();
        assert_eq!(
            (error.status, error.fate),
            (Status::PG_ERR_MALFORMED_ANSWER, Fate::PG_FATE_UNKNOWN),
            "{body}"
        );
        assert!(!error.is_retryable() && error.needs_credentials());
        let error = judged(issue(), answer(200, body)).unwrap_err();
        assert_eq!(
            (error.status, error.fate),
            (Status::PG_ERR_MALFORMED_ANSWER, Fate::PG_FATE_NONE),
            "{body}"
        );
        assert!(error.is_retryable() && !error.needs_credentials());
    }
    let not_utf8 = RawResponse {
        body: Wiped::new(b"{\"access_token\":\"a\",\"x\":\"\xff\"}".to_vec()),
        ..answer(200, "")
    };
    assert_eq!(judged(refresh(), not_utf8).unwrap_err().status, Status::PG_ERR_MALFORMED_ANSWER);
}

fn encoded(body: &[u8], encoding: Option<&str>) -> RawResponse {
    let mut answer = RawResponse { body: Wiped::new(body.to_vec()), ..answer(200, "") };
    let value = encoding.map(|encoding| encoding.parse().unwrap());
    answer.headers.extend(value.map(|value| (reqwest::header::CONTENT_ENCODING, value)));
    answer
}

#[test]
fn the_body_decides_whether_it_is_compressed() {
    let pair = br#"{"access_token":"a"}"#;
    for encoding in
        ["identity", "Identity", "IDENTITY", "none", "", "utf-8", "UTF8", "identity, identity", "gzip"]
    {
        assert!(judged(refresh(), encoded(pair, Some(encoding))).is_ok(), "{encoding}");
    }
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\xabVJLNN-.\x8e/\xc9\xcfN\xcdS\xb2RJT\xaa\x05\0";
    for encoding in [Some("gzip"), Some("identity"), None] {
        let text = judged(refresh(), encoded(gzip, encoding)).unwrap_err().text;
        assert!(text.contains("compressed (gzip)"), "{encoding:?}: {text}");
    }
    // Some of these bytes happen to be UTF-8.
    let text = judged(refresh(), encoded(b"packed", Some("br"))).unwrap_err().text;
    assert!(text.contains("compressed (br)"), "{text}");
    // A server that repeats what it has received.
    let text = judged(refresh(), encoded(b"packed", Some("identity, old-refresh"))).unwrap_err().text;
    assert!(text.contains("compressed (unknown coding)") && !text.contains("old-refresh"), "{text}");
    let text = judged(refresh(), encoded(b"plain", Some("identity"))).unwrap_err().text;
    assert!(text.contains("not the JSON"), "{text}");
}

#[test]
fn one_byte_order_mark_before_json_is_accepted() {
    let pair = answer(200, "\u{feff}{\"access_token\":\"a\"}");
    assert!(judged(refresh(), pair).is_ok());
    let twice = answer(200, "\u{feff}\u{feff}{\"access_token\":\"a\"}");
    assert_eq!(judged(refresh(), twice).unwrap_err().status, Status::PG_ERR_MALFORMED_ANSWER);
    let refusal = answer(401, "\u{feff}{\"error\":\"BAD\",\"message\":\"no\",\"statusCode\":401}");
    let error = judged(issue(), refusal).unwrap_err();
    assert_eq!(error.status, Status::PG_ERR_REFUSED, "it is the API's own refusal");
    assert_eq!(error.server.unwrap().code.as_deref(), Some("BAD"));
}

#[test]
fn a_pair_that_is_expired_on_arrival_is_an_error() {
    let error = judged(refresh(), answer(200, r#"{"access_token":"a","expires_in":5}"#)).unwrap_err();
    assert_eq!((error.status, error.fate), (Status::PG_ERR_BORN_EXPIRED, Fate::PG_FATE_UNKNOWN));
}

#[test]
fn each_refusal_has_its_status_and_fate() {
    use Fate::*;
    use Status::*;
    let api = r#"{"error":"SOME_CODE","message":"words","statusCode":1}"#;
    let html = "<html>denied</html>";
    for (code, body, on_refresh, fate, on_issue) in [
        (400, api, PG_ERR_REFUSED, PG_FATE_REFUSED, PG_ERR_REFUSED),
        (401, api, PG_ERR_REFUSED, PG_FATE_REFUSED, PG_ERR_REFUSED),
        (403, api, PG_ERR_REFUSED, PG_FATE_REFUSED, PG_ERR_REFUSED),
        (401, html, PG_ERR_REFUSED, PG_FATE_REFUSED, PG_ERR_BLOCKED),
        (403, html, PG_ERR_REFUSED, PG_FATE_REFUSED, PG_ERR_BLOCKED),
        (404, api, PG_ERR_REFUSED, PG_FATE_REFUSED, PG_ERR_BLOCKED),
        (418, html, PG_ERR_REFUSED, PG_FATE_REFUSED, PG_ERR_BLOCKED),
        (301, html, PG_ERR_REDIRECT, PG_FATE_REFUSED, PG_ERR_REDIRECT),
        (307, api, PG_ERR_REDIRECT, PG_FATE_REFUSED, PG_ERR_REDIRECT),
        (429, api, PG_ERR_RATE_LIMITED, PG_FATE_NOT_CONSUMED, PG_ERR_RATE_LIMITED),
        (425, html, PG_ERR_RATE_LIMITED, PG_FATE_NOT_CONSUMED, PG_ERR_RATE_LIMITED),
        (408, html, PG_ERR_SERVER, PG_FATE_UNKNOWN, PG_ERR_SERVER),
        (500, api, PG_ERR_SERVER, PG_FATE_UNKNOWN, PG_ERR_SERVER),
        (503, html, PG_ERR_SERVER, PG_FATE_UNKNOWN, PG_ERR_SERVER),
    ] {
        let error = judged(refresh(), answer(code, body)).unwrap_err();
        assert_eq!(
            (error.status, error.fate, error.http_status),
            (on_refresh, fate, Some(code)),
            "{code} {body}"
        );
        assert_eq!(error.is_retryable(), fate == PG_FATE_NOT_CONSUMED, "{code}");
        let error = judged(issue(), answer(code, body)).unwrap_err();
        assert_eq!(
            (error.status, error.fate, error.http_status),
            (on_issue, PG_FATE_NONE, Some(code)),
            "{code} {body}"
        );
        assert_eq!(error.server.is_some(), body == api, "{code}");
    }
}

#[test]
fn the_fate_of_a_transport_failure_depends_on_the_bytes_sent() {
    for status in [
        Status::PG_ERR_TIMEOUT,
        Status::PG_ERR_CONNECTION_LOST,
        Status::PG_ERR_TLS,
        Status::PG_ERR_ANSWER_TOO_LARGE,
    ] {
        for (sent, fate) in [(false, Fate::PG_FATE_UNSENT), (true, Fate::PG_FATE_UNKNOWN)] {
            let failure =
                attempt(refresh(), &Script::new(sent, Err(Error::new(status, "broken")))).unwrap_err();
            assert_eq!((failure.error.status, failure.error.fate), (status, fate));
            assert_eq!(
                failure.refresh.is_some(),
                !sent,
                "the token may be presented again only if nothing was sent"
            );
            let error = make(issue(), &Script::new(sent, Err(Error::new(status, "broken")))).unwrap_err();
            assert_eq!(error.fate, Fate::PG_FATE_NONE);
        }
    }
    let refused = Error::new(Status::PG_ERR_STREAM_REFUSED, "refused");
    let error = make(refresh(), &Script::new(true, Err(refused))).unwrap_err();
    assert_eq!((error.fate, error.is_retryable()), (Fate::PG_FATE_NOT_CONSUMED, true));
}

#[test]
fn the_refresh_token_comes_back_only_where_it_may_be_presented_again() {
    let refused = |code, body: &str| Script::new(true, Ok(answer(code, body)));
    let broken = |sent| Script::new(sent, Err(Error::new(Status::PG_ERR_CONNECTION_LOST, "broken")));
    let api = r#"{"error":"BAD","message":"no"}"#;
    // Whether it may be presented as before, and whether it may be presented although it may be spent.
    for (name, script, usable, maybe_spent) in [
        ("nothing was sent", broken(false), true, false),
        ("the answer was lost", broken(true), false, true),
        ("the service has a limit", refused(429, api), true, false),
        ("the service failed", refused(500, api), false, true),
        ("the service refused it", refused(401, api), false, false),
        ("a gateway refused it", refused(401, "<html>"), false, true),
        ("a redirect", refused(302, ""), false, true),
        ("a redirect with an error of the API", refused(302, api), false, true),
    ] {
        let failure = attempt(refresh(), &script).unwrap_err();
        assert_eq!(
            (failure.refresh.is_some(), failure.maybe_spent.is_some()),
            (usable, maybe_spent),
            "{name}"
        );
    }
}

#[test]
fn the_text_of_an_error_names_the_call_and_says_what_to_do_with_the_refresh_token() {
    let broken = || Err(Error::new(Status::PG_ERR_CONNECTION_LOST, "broken"));
    for (script, text) in [
        (
            Script::new(false, broken()),
            "refresh: broken; the refresh token was not sent and may be used again",
        ),
        (
            Script::new(true, broken()),
            "refresh: broken; the refresh token may be spent: do not send it again, issue a new pair",
        ),
    ] {
        assert_eq!(make(refresh(), &script).unwrap_err().text, text);
    }
    assert_eq!(make(issue(), &Script::new(true, broken())).unwrap_err().text, "issue: broken");
    for (code, end) in [(429, "was not used up and may be sent again"), (401, "; issue a new pair")] {
        let text = judged(refresh(), answer(code, "")).unwrap_err().text;
        assert!(text.starts_with("refresh: HTTP ") && text.ends_with(end), "{text}");
    }
    for (body, why) in [
        (r#"{"error":"BAD","message":"no"}"#, "the service refused the refresh token"),
        ("<html>", "not with an error of the API; check base_url, proxies and firewalls"),
    ] {
        let text = judged(refresh(), answer(401, body)).unwrap_err().text;
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn the_servers_text_is_kept_and_echoed_secrets_are_removed() {
    let body = r#"{"error":"BAD_TOKEN","message":"old-refresh is bad","data":{"sent":"old-access","n":1},"statusCode":401}"#;
    let error = judged(refresh(), answer(401, body)).unwrap_err();
    let server = error.server.as_deref().unwrap();
    assert_eq!(server.code.as_deref(), Some("BAD_TOKEN"));
    assert_eq!(server.message.as_deref(), Some("[redacted] is bad"));
    assert_eq!(server.details.as_deref(), Some(r#"{"sent":"[redacted]","n":1}"#));
    assert!(error.text.contains("BAD_TOKEN") && error.text.contains("401"), "{}", error.text);

    let body = format!(r#"{{"error":"{}","message":"x"}}"#, "old-refresh");
    let error = judged(refresh(), answer(401, &body)).unwrap_err();
    assert!(!format!("{error:?}").contains("old-refresh"), "{error:?}");
    let body = format!(r#"{{"error":"NO","message":"{PUBLIC_KEY}","details":"{PUBLIC_KEY}"}}"#);
    let error = judged(issue(), answer(401, &body)).unwrap_err();
    assert!(!format!("{error:?}").contains(PUBLIC_KEY), "{error:?}");
}

#[test]
fn refusals_in_the_form_of_other_frameworks_count_as_the_apis() {
    for (body, code, message) in [
        (r#"{"statusCode":401,"message":"Unauthorized"}"#, None, Some("Unauthorized")),
        (
            r#"{"statusCode":400,"error":"Bad Request","message":["a","b"]}"#,
            Some("Bad Request"),
            Some(r#"["a","b"]"#),
        ),
        (r#"{"error":"X","message":"","details":{"n":1},"data":2}"#, Some("X"), None),
        (r#"{"error":"X","message":"a\n\u001bb"}"#, Some("X"), Some("a  b")),
    ] {
        let error = judged(issue(), answer(401, body)).unwrap_err();
        assert_eq!(error.status, Status::PG_ERR_REFUSED, "{body}");
        let server = error.server.unwrap();
        assert_eq!((server.code.as_deref(), server.message.as_deref()), (code, message), "{body}");
    }
    for body in [r#"{"statusCode":401}"#, r#"{"message":"Unauthorized"}"#] {
        assert_eq!(judged(issue(), answer(401, body)).unwrap_err().status, Status::PG_ERR_BLOCKED, "{body}");
    }
}

#[test]
fn escaped_secrets_are_removed_too() {
    let slashes = Call::Refresh { refresh: RefreshToken::new(Secret::new("a/b/c").unwrap()), access: None };
    let body = r#"{"error":"X","message":"a\/b\/c","details":{"sent":["a\/b\u002fc"],"n":1}}"#;
    let error = judged(slashes, answer(401, body)).unwrap_err();
    let server = error.server.unwrap();
    assert_eq!(server.message.as_deref(), Some("[redacted]"));
    assert_eq!(server.details.as_deref(), Some(r#"{"n":1,"sent":["[redacted]"]}"#));
}

/// The message and the details of a refusal of this refresh token.
fn echoed(token: &str, body: &str) -> (Option<String>, Option<String>) {
    let call = Call::Refresh { refresh: RefreshToken::new(Secret::new(token).unwrap()), access: None };
    let server = judged(call, answer(401, body)).unwrap_err().server.unwrap();
    (server.message, server.details)
}

#[test]
fn a_secret_is_removed_from_keys_and_numbers_and_from_json_in_a_message() {
    let quoted = r#"{"error":"X","message":["a\"b"],"details":{"a\"b":"a\"b"}}"#;
    let details = r#"{"[redacted]":"[redacted]"}"#;
    assert_eq!(echoed("a\"b", quoted), (Some(r#"["[redacted]"]"#.into()), Some(details.into())));
    // The details stay JSON.
    let number = r#"{"error":"X","details":{"n":123456,"m":1}}"#;
    assert_eq!(echoed("123456", number).1.as_deref(), Some(r#"{"m":1,"n":"[redacted]"}"#));
    // Line breaks of a message become spaces.
    assert_eq!(echoed("a b", r#"{"error":"X","message":"a\nb"}"#).0.as_deref(), Some("[redacted]"));
}

/// An answer of many megabytes must not occupy a processor for minutes.
#[test]
fn a_long_message_and_long_details_are_left_out() {
    let ones = format!("[{}1]", "1,".repeat(10_000));
    let body = format!(r#"{{"error":"X","message":{ones},"details":{ones}}}"#);
    let (message, details) = echoed("a-token", &body);
    assert_eq!(message.as_deref(), Some("[left out: 20003 bytes]"));
    assert_eq!(details.as_deref(), Some(r#""[left out: 20003 bytes]""#));
    let at_most = format!(r#""{}""#, "x".repeat((16 << 10) - 2));
    let (message, details) =
        echoed("a-token", &format!(r#"{{"error":"X","message":{at_most},"details":{at_most}}}"#));
    assert_eq!((message.as_deref(), details.as_deref()), (Some(at_most.trim_matches('"')), Some(&*at_most)));
}

#[test]
fn retry_after_is_seconds_or_a_date_on_the_servers_clock() {
    let wait = |retry_after: &str, date: Option<&str>| {
        let mut limited = answer(429, "");
        limited.headers.insert("retry-after", retry_after.parse().unwrap());
        date.map(|date| limited.headers.insert("date", date.parse().unwrap()));
        judged(refresh(), limited).unwrap_err().retry_after.map(|wait| wait.as_secs())
    };
    let noon = Some("Sun, 06 Nov 1994 12:00:00 GMT");
    assert_eq!(wait("7", None), Some(7));
    assert_eq!(wait(" 0 ", None), Some(0));
    assert_eq!(wait("99999", None), Some(3600));
    assert_eq!(wait("Sun, 06 Nov 1994 12:00:30 GMT", noon), Some(30));
    assert_eq!(wait("Sun, 06 Nov 1994 11:00:00 GMT", noon), Some(0));
    // Without a Date header the clock of this machine counts: 1,700,000,003 s is 22:13:23.
    assert_eq!(wait("Tue, 14 Nov 2023 22:13:33 GMT", None), Some(10));
    assert_eq!(wait("soon", noon), None);
    assert_eq!(wait("-5", noon), None);
}

#[test]
fn requests_have_the_form_of_the_vendors_sdk() {
    let ok = r#"{"access_token":"a","expires_in":60}"#;
    let script = Script::new(true, Ok(answer(200, ok)));
    make(refresh(), &script).unwrap();
    let request = script.request.lock().unwrap().take().unwrap();
    assert_eq!(request.path, "auth/token/refresh");
    assert_eq!(request.bearer.unwrap().expose(), "old-access");
    assert_eq!(request.body.unwrap().as_slice(), br#"{"refresh_token":"old-refresh"}"#);
    assert_eq!(request.timeout, Duration::from_secs(45));

    let script = Script::new(true, Ok(answer(200, ok)));
    make(issue(), &script).unwrap();
    let request = script.request.lock().unwrap().take().unwrap();
    assert_eq!(request.path, "auth/token");
    assert!(request.bearer.is_none());
    let body = format!(r#"{{"account_id":"account-1","public_key":"{PUBLIC_KEY}"}}"#);
    assert_eq!(request.body.unwrap().as_slice(), body.as_bytes());
}

#[test]
fn no_error_shows_a_secret() {
    for body in ["{", r#"{"access_token":"hunter2","refresh_token":5}"#, r#"{"access_token":"hunter2 x"}"#] {
        let error = judged(refresh(), answer(200, body)).unwrap_err();
        let shown = format!("{error} {error:?}");
        for secret in ["hunter2", "old-refresh", "old-access"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    assert!(!format!("{:?} {:?}", refresh(), issue()).contains("old-refresh"));
    assert!(!format!("{:?}", issue()).contains(PUBLIC_KEY));
}
