//! The admin port: switches, faults, counters and the clock, which no fault affects.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Error;
use crate::connections::HowToEnd;
use crate::credentials::Credentials;
use crate::world::Shared;

type World = State<Arc<Shared>>;

/// A request that cannot be carried out, answered with `{"error": "…"}`.
struct Refused(String);

type Answered = Result<Response, Refused>;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/switches", get(switches).patch(set_switches))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/counters", get(counters))
        .route("/foreign", get(foreign))
        .route("/journal", get(journal))
        .route("/reset", post(reset))
        .route("/clock", post(advance_clock))
        .route("/accounts", post(add_account))
        .route("/accounts/key", post(replace_key))
        .route("/revoke", post(revoke))
        .route("/connections/end", post(end_connections))
        .with_state(shared)
}

async fn switches(State(shared): World) -> Answered {
    ok(&shared.lock().state.switches)
}

async fn set_switches(State(shared): World, body: Bytes) -> Answered {
    let changes = read(&body)?;
    let switches = &mut shared.lock().state.switches;
    switches.patch(changes)?;
    ok(switches)
}

async fn faults(State(shared): World) -> Answered {
    ok(shared.lock().faults.all())
}

async fn add_fault(State(shared): World, body: Bytes) -> Answered {
    ok(&shared.lock().faults.add(read(&body)?)?)
}

async fn clear_faults(State(shared): World) -> Answered {
    shared.lock().faults.clear();
    done()
}

async fn counters(State(shared): World) -> Answered {
    ok(&shared.lock().counters())
}

async fn foreign(State(shared): World) -> Answered {
    ok(&shared.lock().foreign)
}

async fn journal(State(shared): World) -> Answered {
    ok(&shared.lock().journal)
}

async fn reset(State(shared): World) -> Answered {
    shared.lock().reset();
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_s: u64,
}

async fn advance_clock(State(shared): World, body: Bytes) -> Answered {
    let Advance { advance_s } = read(&body)?;
    let mut world = shared.lock();
    world.advance(Duration::from_secs(advance_s));
    ok(&json!({ "now_ms": world.now() }))
}

async fn add_account(State(shared): World) -> Answered {
    let credentials = Credentials::new()?;
    shared.lock().state.add_account(&credentials);
    ok(&credentials)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    account_id: String,
}

async fn replace_key(State(shared): World, body: Bytes) -> Answered {
    let Account { account_id } = read(&body)?;
    ok(shared.lock().state.replace_key(&account_id)?)
}

async fn revoke(State(shared): World, body: Bytes) -> Answered {
    let mut world = shared.lock();
    world.state.revoke(&read(&body)?);
    ok(&json!({ "now_ms": world.now() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    how: HowToEnd,
}

async fn end_connections(State(shared): World, body: Bytes) -> Answered {
    let End { how } = read(&body)?;
    shared.connections.end(how);
    ok(&json!({ "open": shared.connections.count() }))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| Refused(error.to_string()))
}

fn ok(body: &(impl Serialize + ?Sized)) -> Answered {
    Ok(json_answer(StatusCode::OK, body))
}

fn done() -> Answered {
    ok(&json!({}))
}

pub(crate) fn json_answer(status: StatusCode, body: &(impl Serialize + ?Sized)) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        json_answer(StatusCode::BAD_REQUEST, &json!({ "error": self.0 }))
    }
}
