//! The agent's own answers: JSON, with errors in the shape of the service's.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use paymentsgate_auth::{AnswerBody, Error, Status};
use serde::Serialize;

use super::body::Idle;

/// An answer of the agent, or one of the service.
pub(super) type AgentBody = Either<Full<Bytes>, Idle<AnswerBody>>;
pub(super) type Answer = Response<AgentBody>;

/// On errors of the agent itself, with the status: a client of the proxy tells them from the service's own by it.
pub(super) const AGENT_ERROR: HeaderName = HeaderName::from_static("paymentsgate-agent-error");

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    may_have_acted: bool,
}

pub(super) fn text(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // It may hold a token.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

pub(super) fn json(status: StatusCode, object: &impl Serialize) -> Answer {
    let body = serde_json::to_string(object).unwrap_or_default();
    text(status, "application/json", body + "\n")
}

/// A refusal of the agent, with a code of its own.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    failure(status, &Failure { error: code, message, may_have_acted: false })
}

pub(super) fn not_allowed(method: &'static str) -> Answer {
    let text = format!("use the method {method}");
    let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "AGENT_METHOD", &text);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    answer
}

pub(super) fn unknown() -> Answer {
    let text = "there are /v1/token, /v1/reject, /healthz, /readyz and /metrics; a socket for health has the last three";
    refusal(StatusCode::NOT_FOUND, "AGENT_UNKNOWN_PATH", text)
}

/// The library's error, with the status that tells an HTTP client what to do.
pub(super) fn error(error: &Error) -> Answer {
    let name = format!("{:?}", error.status);
    let body = Failure { error: &name, message: &error.text, may_have_acted: error.may_have_acted };
    let mut answer = failure(http_status(error.status), &body);
    if let Some(wait) = error.retry_after {
        answer.headers_mut().insert(RETRY_AFTER, whole_seconds(wait).into());
    }
    answer
}

fn failure(status: StatusCode, body: &Failure<'_>) -> Answer {
    let mut answer = json(status, body);
    let code = HeaderValue::from_str(body.error);
    answer.headers_mut().extend(code.ok().map(|code| (AGENT_ERROR, code)));
    answer
}

/// Rounded up: a client that waits as told must not come too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

fn http_status(status: Status) -> StatusCode {
    use Status::*;
    match status {
        PG_ERR_INVALID_ARGUMENT => StatusCode::BAD_REQUEST,
        PG_ERR_TIMEOUT => StatusCode::GATEWAY_TIMEOUT,
        PG_ERR_DNS
        | PG_ERR_CONNECT
        | PG_ERR_PROXY
        | PG_ERR_TLS
        | PG_ERR_CERTIFICATE_EXPIRED
        | PG_ERR_CERTIFICATE_UNTRUSTED
        | PG_ERR_CERTIFICATE_NAME
        | PG_ERR_CONNECTION_LOST
        | PG_ERR_STREAM_REFUSED => StatusCode::BAD_GATEWAY,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        for (milliseconds, seconds) in [(0, 0), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(milliseconds)), seconds);
        }
    }

    #[test]
    fn an_error_says_what_an_http_client_needs() {
        let lost = Error::new(Status::PG_ERR_CONNECTION_LOST, "lost");
        let answer =
            error(&Error { may_have_acted: true, retry_after: Some(Duration::from_millis(1500)), ..lost });
        assert_eq!(answer.status(), 502);
        assert_eq!(answer.headers()["retry-after"], "2");
        assert_eq!(answer.headers()["paymentsgate-agent-error"], "PG_ERR_CONNECTION_LOST");
    }
}
