//! The health service: `/healthz` (the process answers), `/readyz` (there is a token) and `/metrics`.

use std::time::Duration;

use hyper::{Method, Request, StatusCode};

use super::Agent;
use super::answer::{self, Answer};

const PLAIN: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `None`: the path is none of these.
pub(super) async fn answer<B>(agent: &Agent, request: &Request<B>) -> Option<Answer> {
    let path = request.uri().path();
    if !["/healthz", "/readyz", "/metrics"].contains(&path) {
        return None;
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Some(answer::not_allowed("GET"));
    }
    Some(match path {
        "/healthz" => answer::text(StatusCode::OK, PLAIN, "ok\n".into()),
        "/readyz" => readiness(agent).await,
        _ => metrics(agent),
    })
}

/// Asks for a token as a program does, without waiting: so a probe also wakes a session that nobody has used.
async fn readiness(agent: &Agent) -> Answer {
    match agent.session.token_async(Duration::ZERO, Duration::ZERO).await {
        Ok(_) => answer::text(StatusCode::OK, PLAIN, "ready\n".into()),
        Err(error) => {
            answer::text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("not ready: {}\n", error.text))
        }
    }
}

fn metrics(agent: &Agent) -> Answer {
    match paymentsgate_auth::client_metrics(&agent.client) {
        Ok(text) => answer::text(StatusCode::OK, PROMETHEUS, text + &agent.counters.text()),
        Err(error) => answer::error(&error),
    }
}
