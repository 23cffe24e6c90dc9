//! Answers of Issue and Refresh: what comes of them, and what happens to the refresh token.

use paymentsgate_auth::protocol::{Call, Failure};
use paymentsgate_auth::status::{Fate, Status};
use paymentsgate_auth::transport::RawResponse;
use reqwest::header::{CONTENT_ENCODING, DATE, HeaderValue, RETRY_AFTER};

use super::input::{Input, expand};
use super::scripted::{
    ACCESS, LIMIT, NOW, PUBLIC_KEY, REFRESH, check_error, check_pair, issue, make, refresh,
};

const STATUSES: [u16; 20] =
    [200, 201, 204, 299, 300, 301, 304, 400, 401, 403, 404, 408, 418, 425, 429, 500, 502, 503, 599, 100];

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (is_refresh, sent, is_large) = (input.flag(), input.flag(), input.byte() == 0xff);
    let status = input.choice(&STATUSES);
    let mut answer = RawResponse { status, ..RawResponse::default() };
    for name in [DATE, CONTENT_ENCODING, RETRY_AFTER] {
        let value = HeaderValue::from_bytes(input.piece()).ok().filter(|value| !value.is_empty());
        answer.headers.extend(value.map(|value| (name, value)));
    }
    *answer.body = expand(input.rest(), &[REFRESH.as_bytes(), ACCESS.as_bytes(), PUBLIC_KEY.as_bytes()]);
    if is_large {
        (answer.exceeds, *answer.body) = (Some(LIMIT), Vec::new());
    }
    let call = || if is_refresh { refresh(REFRESH, ACCESS) } else { issue() };
    check(call(), sent, copy(&answer));
    // The byte order mark is no part of a body.
    let marked = RawResponse { body: [b"\xef\xbb\xbf", &answer.body[..]].concat().into(), ..copy(&answer) };
    if !answer.body.starts_with(b"\xef\xbb\xbf") && !answer.body.starts_with(&[0x1f, 0x8b]) {
        let [plain, marked] = [answer, marked].map(|answer| make(call(), sent, answer));
        assert_eq!(plain.is_ok(), marked.is_ok());
        assert_eq!(
            plain.err().map(|failure| failure.error.status),
            marked.err().map(|failure| failure.error.status)
        );
    }
}

fn copy(answer: &RawResponse) -> RawResponse {
    let RawResponse { status, headers, body, exceeds } = answer;
    RawResponse { status: *status, headers: headers.clone(), body: body.clone(), exceeds: *exceeds }
}

fn check(call: Call, sent: bool, answer: RawResponse) {
    let (is_refresh, status) = (matches!(call, Call::Refresh { .. }), answer.status);
    match make(call, sent, answer) {
        Ok(pair) => {
            assert!((200..300).contains(&status));
            assert_eq!(pair.token.anchor, NOW);
            assert!(
                pair.refresh.is_some() || !is_refresh,
                "a refresh keeps the old token, if there is no new one"
            );
            check_pair(&pair);
        }
        Err(failure) => {
            check_error(&failure.error, &[PUBLIC_KEY, REFRESH, ACCESS]);
            assert_eq!(failure.error.http_status, Some(status));
            assert_eq!(failure.error.fate, fate(is_refresh, sent, status));
            check_token(is_refresh, failure);
        }
    }
}

/// The table of docs/lifecycle.md, written once more.
fn fate(is_refresh: bool, sent: bool, status: u16) -> Fate {
    match status {
        _ if !is_refresh => Fate::PG_FATE_NONE,
        425 | 429 => Fate::PG_FATE_NOT_CONSUMED,
        200..300 | 408 | 500.. if sent => Fate::PG_FATE_UNKNOWN,
        200..300 | 408 | 500.. => Fate::PG_FATE_UNSENT,
        _ => Fate::PG_FATE_REFUSED,
    }
}

/// The refresh token comes back only where it may be presented again.
fn check_token(is_refresh: bool, Failure { error, refresh, maybe_spent }: Failure) {
    let is_good = matches!(error.fate, Fate::PG_FATE_UNSENT | Fate::PG_FATE_NOT_CONSUMED);
    assert_eq!(refresh.is_some(), is_good, "{error:?}");
    assert!(maybe_spent.is_none() || (is_refresh && !is_good));
    if error.fate == Fate::PG_FATE_UNKNOWN {
        assert!(maybe_spent.is_some() && !error.is_retryable() && error.needs_credentials());
    }
    if error.status == Status::PG_ERR_REFUSED {
        assert!(error.needs_credentials() && !error.is_retryable());
    }
}
