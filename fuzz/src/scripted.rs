//! Issue and Refresh on a scripted answer, without network and clock, and what holds for every outcome.

use std::future::Future;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use paymentsgate_auth::clock::{Clock, Moment};
use paymentsgate_auth::credentials::Credentials;
use paymentsgate_auth::error::Error;
use paymentsgate_auth::protocol::{Call, Failure};
use paymentsgate_auth::secret::Secret;
use paymentsgate_auth::status::Status;
use paymentsgate_auth::token::{Pair, RefreshToken};
use paymentsgate_auth::transport::{Exchange, Limit, RawResponse, Request, Sending, Transport};

pub const REFRESH: &str = "r3fr3sh-t0ken-s3ntinel";
pub const ACCESS: &str = "acc3ss-t0ken-s3ntinel";
/// base64 of a PEM.
pub const PUBLIC_KEY: &str = "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0KQUFBQQotLS0tLUVORCBQVUJMSUMgS0VZLS0tLS0K";
pub const NOW: Moment = Moment { boot: Duration::from_secs(100), wall: Duration::from_secs(1_700_000_000) };
pub const LIMIT: Limit = Limit { setting: "max_response_bytes", bytes: 65_536 };
/// The longest lifetime, in the time that a day has.
pub const DAY: Duration = Duration::from_secs(86_400);

struct Frozen(Moment);

impl Clock for Frozen {
    fn now(&self) -> Moment {
        self.0
    }
}

struct Script(Mutex<Option<Exchange>>);

impl Transport for Script {
    fn send(&self, _request: Request) -> Sending<'_> {
        let reply = self.0.lock().unwrap().take().expect("a call sends one request");
        Box::pin(async move { reply })
    }
}

pub fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

pub fn issue() -> Call {
    Call::Issue(Credentials::new("account-1", PUBLIC_KEY, "fuzz").unwrap())
}

pub fn refresh(refresh: &str, access: &str) -> Call {
    Call::Refresh { refresh: RefreshToken::new(secret(refresh)), access: Some(secret(access)) }
}

/// Makes the call at `NOW`, where the service gives this answer. `sent`: the body had left before.
pub fn make(call: Call, sent: bool, answer: RawResponse) -> Result<Pair, Failure> {
    let script = Script(Mutex::new(Some(Exchange { sent: sent.then_some(NOW), result: Ok(answer) })));
    let clock = Frozen(NOW);
    let [key, refresh, access] = [PUBLIC_KEY, REFRESH, ACCESS].map(secret);
    let others: &[&Secret] = if matches!(call, Call::Issue(_)) { &[&refresh, &access] } else { &[&key] };
    let making = pin!(call.make(&script, &clock, LIMIT, Duration::from_secs(45), others));
    match making.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the script answers at once"),
    }
}

/// Everything of an error that a program or a log can show.
pub fn shown(error: &Error) -> String {
    let server = error.server.as_deref().cloned().unwrap_or_default();
    let parts = [server.code, server.message, server.details].map(Option::unwrap_or_default);
    format!("{error}\n{error:?}\n{}", parts.join("\n"))
}

/// Whether the text has the secret, or 16 of its letters in a row.
pub fn shows(text: &str, secret: &str) -> bool {
    let letters: Vec<char> = secret.chars().collect();
    let mut parts =
        letters.windows(16).filter(|part| part.iter().all(|c| c.is_ascii_graphic() && *c != '\\'));
    text.contains(secret) || parts.any(|part| text.contains(&part.iter().collect::<String>()))
}

/// What holds for every error: it shows no secret, fits in a log line, and is no defect of the library.
pub fn check_error(error: &Error, secrets: &[&str]) {
    let shown = shown(error);
    for secret in secrets {
        assert!(!shows(&shown, secret), "{secret:?} is shown, or a part of it: {shown}");
    }
    assert!(error.status != Status::PG_OK && error.status != Status::PG_ERR_INTERNAL, "{shown}");
    assert!(error.text.len() < 2000, "{} bytes: {}", error.text.len(), error.text);
    assert!(!error.text.chars().any(char::is_control), "{:?}", error.text);
}

/// What holds for every text that the library gives: it shows no secret, and has one line.
pub fn check_text(text: &str) {
    assert!(![REFRESH, ACCESS, PUBLIC_KEY].iter().any(|secret| text.contains(secret)), "{text}");
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

/// What holds for every pair.
pub fn check_pair(pair: &Pair) {
    let token = &pair.token;
    let access = token.access.expose();
    assert!(!access.is_empty() && access.bytes().all(|byte| byte.is_ascii_graphic()));
    let length = token.lifetime.length;
    assert!(length > token.lifetime.margin() && length <= DAY, "{length:?}");
    assert!(token.lifetime.disagreement <= DAY);
    assert_eq!(token.remaining(token.anchor), length);
    let debug = format!("{pair:?}");
    for secret in [REFRESH, ACCESS].into_iter().chain(Some(access).filter(|text| text.len() > 40)) {
        assert!(!debug.contains(secret), "{debug}");
    }
}
