//! What the service says of time: `expires_in`, the claims of a JWT, `Date` and `Retry-After`.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use paymentsgate_auth::expiry::{ExpiresIn, Lifetime};
use paymentsgate_auth::transport::RawResponse;
use reqwest::header::{DATE, HeaderValue, RETRY_AFTER};

use super::input::Input;
use super::scripted::{ACCESS, DAY, NOW, REFRESH, make, refresh};

/// Used where the service says nothing.
const FALLBACK: Duration = Duration::from_secs(300);
const HOUR: Duration = Duration::from_secs(3600);

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 3 {
        0 => numbers(&mut input),
        1 => texts(&mut input),
        _ => headers(&mut input),
    }
}

/// The smallest source is the lifetime, in arithmetic that cannot overflow.
fn numbers(input: &mut Input<'_>) {
    let mut number = || -> Option<i64> {
        match input.byte() % 4 {
            0 => None,
            1 => Some(i64::from(input.u16())),
            2 => Some(1_700_000_000 + i64::from(input.u16())),
            _ => Some(i64::from_be_bytes(input.u64().to_be_bytes())),
        }
    };
    let (said, exp, iat, date) = (number(), number(), number(), number());
    let claim = |name: &str, value: Option<i64>| value.map(|value| format!("\"{name}\":{value}"));
    let claims: Vec<_> = [claim("exp", exp), claim("iat", iat)].into_iter().flatten().collect();
    let token = format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(format!("{{{}}}", claims.join(","))));
    let life = |said: Option<i64>| {
        Lifetime::from_sources(said.map_or(ExpiresIn::Absent, ExpiresIn::Seconds), &token, date)
    };
    let until_exp = |from: Option<i64>| Some(i128::from(exp?) - i128::from(from?));
    let sources = [said.map(i128::from), until_exp(iat), until_exp(date)];
    let least = sources.into_iter().flatten().filter(|seconds| *seconds >= 1).min();
    let wanted =
        least.map_or(FALLBACK, |seconds| Duration::from_secs(seconds.min(86_400).try_into().unwrap()));
    let lifetime = life(said);
    assert_eq!(lifetime.length, wanted, "{sources:?}");
    assert!(
        lifetime.disagreement < DAY && (lifetime.disagreement.is_zero() || lifetime.disagreement > HOUR / 60)
    );
    // A service that promises more does not shorten a token's life.
    if let Some(said) = said.filter(|said| *said >= 1) {
        assert!(life(Some(said.saturating_add(1))).length >= lifetime.length);
    }
}

/// Any text is a lifetime or is none; nothing overflows.
fn texts(input: &mut Input<'_>) {
    let (json, claims, date) = (input.text(), input.piece(), i64::from(input.u16()));
    // The field arrives as one JSON value.
    let json = serde_json::from_str::<Box<serde_json::value::RawValue>>(&json);
    let expires_in = json.as_ref().map_or(ExpiresIn::Absent, |json| ExpiresIn::read(json.get()));
    let token = format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
    for token in [&*token, &String::from_utf8_lossy(claims)] {
        let lifetime = Lifetime::from_sources(expires_in, token, Some(date));
        assert!(lifetime.length >= Duration::from_secs(1) && lifetime.length <= DAY, "{lifetime:?}");
        assert!(lifetime.margin() >= Duration::from_secs(5) && lifetime.margin() <= Duration::from_secs(30));
    }
    if let (ExpiresIn::Seconds(seconds), Ok(json)) = (expires_in, &json) {
        // A text holds the same number.
        let quoted = format!("\"{}\"", json.get().trim_matches('"'));
        assert_eq!(ExpiresIn::read(&quoted), ExpiresIn::Seconds(seconds), "{quoted}");
    }
}

/// A pause is bounded, and a longer wish never makes it shorter.
fn headers(input: &mut Input<'_>) {
    let (seconds, date, wish) = (input.u64() >> (input.byte() % 64), input.text(), input.text());
    let pause = |wish: &str| {
        let mut answer = RawResponse { status: 429, ..RawResponse::default() };
        for (name, text) in [(DATE, &*date), (RETRY_AFTER, wish)] {
            answer.headers.extend(HeaderValue::from_bytes(text.as_bytes()).ok().map(|value| (name, value)));
        }
        make(refresh(REFRESH, ACCESS), true, answer).unwrap_err().error.retry_after
    };
    let least = pause(&seconds.to_string()).expect("a number is a pause");
    assert_eq!(least, Duration::from_secs(seconds).min(HOUR));
    assert!(pause(&seconds.saturating_add(1).to_string()) >= Some(least));
    assert!(pause(&wish).is_none_or(|pause| pause <= HOUR));
    let at = |after: u64| {
        let time = std::time::UNIX_EPOCH + NOW.wall + Duration::from_secs(after);
        pause(&httpdate::fmt_http_date(time)).expect("a date is a pause")
    };
    let after = seconds % 100_000;
    assert!(at(after) <= at(after + 1) && at(after) <= HOUR);
}
