//! The second host: records what it receives. Credentials that arrive here were sent to the wrong host.

use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;

use crate::admin::json_answer;
use crate::call::Call;
use crate::world::Shared;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(record).with_state(shared)
}

async fn record(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 1 << 20).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    shared.lock().foreign.push(Call::new(&head, &body));
    json_answer(StatusCode::OK, &serde_json::json!({}))
}
