//! The proxy: what is sent to it goes to the service with the session's token.

use http_body_util::{BodyExt, Either};
use hyper::body::{Body, Incoming};
use hyper::{Request, Response, StatusCode};
use paymentsgate_auth::{ForwardedBody, ForwardedRequest};

use super::answer::{self, Answer};
use super::idle::Idle;
use super::{Agent, headers};

/// A body up to this length is held, so that the request can be repeated with another token. A longer one is a stream.
const HELD_BYTES: u64 = 256 * 1024;

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
    let body = match held(Idle::new(body, limit)).await {
        Ok(body) => body,
        Err(error) => {
            let text = format!("the body of the request did not arrive: {error}");
            return answer::refusal(StatusCode::BAD_REQUEST, "AGENT_INCOMPLETE", &text);
        }
    };
    let request = ForwardedRequest { method: head.method, path, headers: passed, body };
    match agent.forwarder.send(request, limit).await {
        Ok(answered) => {
            let (head, body) = answered.into_parts();
            let mut answer = Response::new(Either::Right(Idle::new(body, limit)));
            *answer.status_mut() = head.status;
            *answer.headers_mut() = head.headers;
            headers::of_answer(answer.headers_mut());
            answer
        }
        Err(error) => answer::error(&error),
    }
}

async fn held(body: Idle<Incoming>) -> Result<ForwardedBody, super::idle::BodyError> {
    if body.is_end_stream() {
        return Ok(ForwardedBody::Whole(Default::default()));
    }
    if body.size_hint().exact().is_some_and(|length| length <= HELD_BYTES) {
        return Ok(ForwardedBody::Whole(body.collect().await?.to_bytes()));
    }
    Ok(ForwardedBody::stream(body))
}
