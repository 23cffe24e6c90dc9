//! The proxy: what is sent to it goes to the service with the session's token.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Either;
use hyper::body::{Body, Incoming};
use hyper::{Request, Response, StatusCode};
use paymentsgate_auth::{ForwardedBody, ForwardedRequest, Status};

use super::answer::{self, Answer};
use super::body::{BodyError, Idle, whole};
use super::{Agent, headers};

/// A body up to this length is held, so that the request can be repeated with another token. A longer one is a stream.
const HELD_BYTES: usize = 256 * 1024;

pub(super) async fn forward(agent: &Agent, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    if head.uri.authority().is_some() {
        let text =
            "this proxy has one destination, base_url: send the path alone (GET /wallet), not a whole URL";
        return answer::refusal(StatusCode::BAD_REQUEST, "AGENT_REFUSED", text);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut passed = head.headers;
    headers::of_request(&mut passed);
    let limit = agent.client.request_timeout();
    let body = Idle::new(body, limit);
    let sent = body.state();
    let body = match held(body, limit).await {
        Ok(body) => body,
        Err(error) => return incomplete(&error.to_string()),
    };
    let request = ForwardedRequest { method: head.method, path, headers: passed, body };
    match agent.forwarder.send(request, limit).await {
        // The agent has asked for no other protocol.
        Ok(answered) if answered.status().is_informational() => {
            let text = "the service changed to another protocol, which was not asked for";
            answer::refusal(StatusCode::BAD_GATEWAY, "AGENT_UNEXPECTED", text)
        }
        Ok(answered) => {
            let (head, body) = answered.into_parts();
            let mut answer = Response::new(Either::Right(Idle::new(body, limit)));
            *answer.status_mut() = head.status;
            *answer.headers_mut() = head.headers;
            headers::of_answer(answer.headers_mut());
            answer
        }
        // The request failed because the caller's body did.
        Err(error) if sent.is_broken() || (error.status == Status::PG_ERR_TIMEOUT && sent.is_awaited()) => {
            incomplete("it broke off, or nothing of it came for too long")
        }
        Err(error) => answer::error(&error),
    }
}

fn incomplete(why: &str) -> Answer {
    let text = format!("the body of the request did not arrive: {why}");
    answer::refusal(StatusCode::BAD_REQUEST, "AGENT_INCOMPLETE", &text)
}

async fn held(body: Idle<Incoming>, limit: Duration) -> Result<ForwardedBody, BodyError> {
    if body.is_end_stream() {
        return Ok(ForwardedBody::Whole(Bytes::new()));
    }
    if body.size_hint().exact().is_some_and(|length| length <= HELD_BYTES as u64) {
        return Ok(ForwardedBody::Whole(whole(body, HELD_BYTES, limit).await?));
    }
    Ok(ForwardedBody::stream(body))
}
