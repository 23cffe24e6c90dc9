//! A request as it was received: the service decides on it, and tests can inspect it afterwards.

use std::collections::BTreeMap;

use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::ApiError;

/// A request as it was received. Nothing is redacted, since the emulator invents every secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query without its question mark.
    pub query: String,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub version: String,
    /// Headers by lower-case name; a repeated one is joined with a comma.
    pub headers: BTreeMap<String, String>,
    /// The body as text.
    pub body: String,
}

impl Call {
    pub(crate) fn new(head: &Parts, body: &[u8]) -> Self {
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().into())
                .and_modify(|known| {
                    known.push_str(", ");
                    known.push_str(&value);
                })
                .or_insert_with(|| value.to_string());
        }
        Self {
            method: head.method.to_string(),
            path: head.uri.path().into(),
            query: head.uri.query().unwrap_or_default().into(),
            version: format!("{:?}", head.version),
            headers,
            body: String::from_utf8_lossy(body).into_owned(),
        }
    }

    /// One header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The token of `Authorization: Bearer …`.
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    }

    /// The refresh token that its body presents.
    pub(crate) fn refresh_token(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        body["refresh_token"].as_str().map(str::to_owned)
    }

    /// The body, which the API wants to be declared as JSON and to be JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let declared = self.header("content-type").unwrap_or_default();
        let kind = declared.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::bad_request("content-type", "must be application/json"));
        }
        serde_json::from_str(&self.body).map_err(|error| ApiError::bad_request("body", &error.to_string()))
    }
}
