//! The token service: `GET /v1/token` and `POST /v1/reject`, and the health service beside them.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use paymentsgate_auth::{Error, Fingerprint, Status};
use serde::{Deserialize, Serialize};

use super::answer::{self, Answer};
use super::body::whole;
use super::{Agent, TOKEN_TIMEOUT, health};

/// A report is an object with a fingerprint.
const REPORT_BYTES: usize = 4096;
const REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// A longer life is not asked for: no token has it.
const LONGEST_LIFE: u64 = 86_400;

/// docs/agent.md gives the keys.
#[derive(Serialize)]
struct Token<'a> {
    access_token: &'a str,
    fingerprint: String,
    generation: u64,
    seconds_left: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    fingerprint: String,
}

pub(super) async fn answer(agent: &Agent, request: Request<Incoming>) -> Answer {
    if let Some(answer) = health::answer(agent, &request).await {
        return answer;
    }
    let result = match (request.uri().path(), request.method()) {
        ("/v1/token", &Method::GET) => token(agent, request.uri().query().unwrap_or_default()).await,
        ("/v1/reject", &Method::POST) => reject(agent, request).await,
        ("/v1/token", _) => return answer::not_allowed("GET"),
        ("/v1/reject", _) => return answer::not_allowed("POST"),
        _ => return answer::unknown(),
    };
    result.unwrap_or_else(|error| answer::error(&error))
}

async fn token(agent: &Agent, query: &str) -> Result<Answer, Error> {
    let grant = agent.session.token_async(TOKEN_TIMEOUT, min_remaining(query)?).await?;
    let token = &grant.token;
    let object = Token {
        access_token: token.access.expose(),
        fingerprint: token.fingerprint().to_string(),
        generation: grant.generation,
        seconds_left: token.remaining(agent.client.now()).as_secs(),
    };
    Ok(answer::json(StatusCode::OK, &object))
}

/// `min_remaining=SECONDS`, or nothing.
fn min_remaining(query: &str) -> Result<Duration, Error> {
    let wrong = || {
        let text = "the query of /v1/token is min_remaining= and 0 to 86400 seconds, or nothing";
        Error::new(Status::PG_ERR_INVALID_ARGUMENT, text)
    };
    if query.is_empty() {
        return Ok(Duration::ZERO);
    }
    let seconds = query.strip_prefix("min_remaining=").and_then(|seconds| seconds.parse().ok());
    seconds.filter(|seconds| *seconds <= LONGEST_LIFE).map(Duration::from_secs).ok_or_else(wrong)
}

/// The service answered 401 to a token: the session obtains another one.
async fn reject(agent: &Agent, request: Request<Incoming>) -> Result<Answer, Error> {
    let wrong = |what: &str| {
        let text =
            format!("the body of /v1/reject {what}; send {{\"fingerprint\": \"…\"}} as /v1/token gave it");
        Error::new(Status::PG_ERR_INVALID_ARGUMENT, text)
    };
    let body = whole(request.into_body(), REPORT_BYTES, REPORT_TIMEOUT).await;
    let body = body.map_err(|error| wrong(&format!("did not arrive ({error})")))?;
    let report: Report = serde_json::from_slice(&body).map_err(|_| wrong("is not such an object"))?;
    let refused: Fingerprint =
        report.fingerprint.parse().map_err(|()| wrong("has no fingerprint of 16 hexadecimal digits"))?;
    agent.session.reject(refused)?;
    Ok(answer::text(StatusCode::NO_CONTENT, "application/json", String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_a_number_of_seconds_or_nothing() {
        assert_eq!(min_remaining("").unwrap(), Duration::ZERO);
        assert_eq!(min_remaining("min_remaining=86400").unwrap(), Duration::from_secs(86_400));
        for wrong in ["min_remaining=", "min_remaining=-1", "min_remaining=86401", "min_remaining=1&x=2", "x"]
        {
            assert!(min_remaining(wrong).is_err(), "{wrong}");
        }
    }
}
