//! The answers of the API, before they become bytes.

use serde_json::{Value, json};

use crate::switches::DetailsKey;

/// A regular answer: a status, headers and a JSON body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// Headers besides `Content-Type`, `Content-Length` and `Date`.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The body.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn ok(body: Value) -> Self {
        Self { status: 200, headers: Vec::new(), body }
    }
}

/// An error in the API's own shape. Of the codes only `ERROR_CREDENTIALS_NOT_FOUND` and `DEAL_CANCELED` are
/// the vendor's; the others are invented in the same style.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    code: &'static str,
    message: &'static str,
    details: Option<Value>,
    retry_after: Option<String>,
}

impl ApiError {
    fn new(status: u16, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message, details: None, retry_after: None }
    }

    pub(crate) fn credentials_not_found() -> Self {
        Self::new(401, "ERROR_CREDENTIALS_NOT_FOUND", "Credentials not found")
    }

    pub(crate) fn refresh_refused(status: u16, reason: &str) -> Self {
        let error = Self::new(status, "ERROR_REFRESH_TOKEN_INVALID", "Refresh token is not valid");
        Self { details: Some(json!({ "reason": reason })), ..error }
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "ERROR_UNAUTHORIZED", "Access token is missing, expired or revoked")
    }

    pub(crate) fn bad_request(field: &str, reason: &str) -> Self {
        let error = Self::new(400, "ERROR_VALIDATION", "Request is not valid");
        Self { details: Some(json!({ "field": field, "reason": reason })), ..error }
    }

    pub(crate) fn deal_canceled(id: &str) -> Self {
        let error = Self::new(400, "DEAL_CANCELED", "Deal is canceled");
        Self { details: Some(json!({ "id": id })), ..error }
    }

    pub(crate) fn too_many_requests(retry_after: Option<String>) -> Self {
        let error = Self::new(429, "ERROR_TOO_MANY_REQUESTS", "Too many requests");
        Self { retry_after, ..error }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(404, "ERROR_NOT_FOUND", "No such route")
    }

    pub(crate) fn into_answer(self, details_key: DetailsKey) -> Answer {
        let mut body = json!({"error": self.code, "message": self.message, "statusCode": self.status});
        if let Some(details) = self.details {
            body[details_key.name()] = details;
        }
        let headers = self.retry_after.map(|value| ("retry-after", value)).into_iter().collect();
        Answer { status: self.status, headers, body }
    }
}
