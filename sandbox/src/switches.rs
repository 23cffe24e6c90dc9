//! The switches: one for each thing that is not known of the real service.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Error;

/// Behaviour of the service that its documentation does not describe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// What happens to a refresh token that is presented again. Default: `single-use`.
    pub rotation: Rotation,
    /// A refused reuse ends every token of its family. Default: no.
    pub reuse_revokes_family: bool,
    /// A refresh ends the family's earlier access tokens at once. Default: no.
    pub old_access_dies_on_refresh: bool,
    /// An issue ends the account's earlier families. Default: no.
    pub second_issue_kills_first: bool,
    /// What a refresh requires of its `Authorization` header. Default: `ignored`.
    pub bearer_on_refresh: BearerOnRefresh,
    /// Lifetime of an access token in seconds. Default: 3600.
    pub access_lifetime_s: u64,
    /// Lifetime of a refresh token in seconds. Default: 2592000, thirty days.
    pub refresh_lifetime_s: u64,
    /// How many calls the two auth routes accept in a sliding window of time. Default: no limit.
    pub rate_limit: Option<RateLimit>,
    /// The `Date` header, which follows the emulator's own clock. Default: `on`.
    pub date_header: DateHeader,
    /// The access token carries `exp`. Default: yes.
    pub jwt_exp: bool,
    /// The access token carries `iat`. Default: yes.
    pub jwt_iat: bool,
    /// The access token is a random text instead of a JWT. Default: no.
    pub opaque_access_token: bool,
    /// A JWT is padded by a claim to about this length, 65536 at most. Default: 0, no padding.
    pub access_token_bytes: usize,
    /// How `expires_in` is written. Default: `number`.
    pub expires_in_form: ExpiresInForm,
    /// The `Content-Encoding` header of a body that is sent unchanged. Default: no such header.
    pub content_encoding: Option<String>,
    /// Each JSON body begins with a byte order mark. Default: no.
    pub byte_order_mark: bool,
    /// The answer to a refresh carries a refresh token. Default: yes.
    pub refresh_returns_refresh_token: bool,
    /// The answer to an issue carries a refresh token. Default: yes.
    pub issue_returns_refresh_token: bool,
    /// Status of a refused refresh: 400, 401, 403 or 404. Default: 401.
    pub refused_status: u16,
    /// Name of the optional object in an error. Default: `details`.
    pub details_key: DetailsKey,
    /// HTTP/2 is offered: by ALPN over TLS, by prior knowledge in plain HTTP. Default: yes.
    pub http2: bool,
    /// `user:password` that the proxy requires. Default: none.
    pub proxy_credentials: Option<String>,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            rotation: Rotation::SingleUse,
            reuse_revokes_family: false,
            old_access_dies_on_refresh: false,
            second_issue_kills_first: false,
            bearer_on_refresh: BearerOnRefresh::Ignored,
            access_lifetime_s: 3600,
            refresh_lifetime_s: 30 * 24 * 3600,
            rate_limit: None,
            date_header: DateHeader::On,
            jwt_exp: true,
            jwt_iat: true,
            opaque_access_token: false,
            access_token_bytes: 0,
            expires_in_form: ExpiresInForm::Number,
            content_encoding: None,
            byte_order_mark: false,
            refresh_returns_refresh_token: true,
            issue_returns_refresh_token: true,
            refused_status: 401,
            details_key: DetailsKey::Details,
            http2: true,
            proxy_credentials: None,
        }
    }
}

/// What happens to a refresh token that is presented again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rotation {
    /// It works once.
    SingleUse,
    /// It works until it expires, and every refresh returns it again.
    Static,
    /// It works again for this many seconds after its first use; each use makes a new pair.
    Window(u64),
}

/// What a refresh requires of its `Authorization` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BearerOnRefresh {
    /// Nothing.
    Ignored,
    /// An access token of the same family, valid or not.
    Required,
    /// A valid access token of the same family.
    Unexpired,
}

/// How many calls the two auth routes accept together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// The allowed calls…
    pub requests: usize,
    /// …in any window of this many seconds.
    pub per_s: u64,
    /// The `Retry-After` of refused calls; nothing leaves the header out.
    #[serde(default)]
    pub retry_after: Option<RetryAfter>,
}

/// The two forms of `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RetryAfter {
    /// A number of seconds.
    Seconds(u64),
    /// An HTTP date.
    Date {
        /// This many seconds ahead of the emulator's clock.
        date: u64,
    },
}

/// The `Date` header of every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateHeader {
    /// It has the emulator's time.
    On,
    /// It is left out.
    Off,
    /// It is wrong by this many seconds.
    SkewS(i64),
}

/// How `expires_in` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresInForm {
    /// `3600`
    Number,
    /// `"3600"`
    String,
    /// `3600.0`
    Float,
    /// `"3600.0"`
    FloatString,
    /// `-3600`
    Negative,
    /// `"an hour"`
    Text,
    /// The field is left out.
    Absent,
}

/// Name of the optional object in an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetailsKey {
    /// `"details": {…}`
    Details,
    /// `"data": {…}`
    Data,
}

impl DetailsKey {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Details => "details",
            Self::Data => "data",
        }
    }
}

impl Switches {
    /// Sets one switch by its name. An error changes no switch.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), Error> {
        let bad = |reason: String| Error::BadSwitch { name: name.into(), value: value.to_string(), reason };
        let mut all: Map<String, Value> = serde_json::to_value(&*self)
            .and_then(serde_json::from_value)
            .map_err(|error| bad(error.to_string()))?;
        if !all.contains_key(name) {
            let known = all.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Error::UnknownSwitch { name: name.into(), known });
        }
        all.insert(name.into(), value.clone());
        let changed: Self =
            serde_json::from_value(Value::Object(all)).map_err(|error| bad(error.to_string()))?;
        if !matches!(changed.refused_status, 400 | 401 | 403 | 404) {
            return Err(bad("it is 400, 401, 403 or 404".into()));
        }
        if changed.access_token_bytes > 65_536 {
            return Err(bad("it is 65536 at most".into()));
        }
        *self = changed;
        Ok(())
    }

    /// Sets several switches, or none if one of them is wrong.
    pub fn patch(&mut self, changes: Map<String, Value>) -> Result<(), Error> {
        let mut changed = self.clone();
        for (name, value) in changes {
            changed.set(&name, value)?;
        }
        *self = changed;
        Ok(())
    }

    /// Sets one switch from `name=value`, the value being JSON, bare text, or `key=value` for an object of one
    /// key: `rotation=single-use`, `rotation=window=30`, `refused_status=400`.
    pub fn set_text(&mut self, assignment: &str) -> Result<(), Error> {
        let (name, text) = assignment.split_once('=').unwrap_or((assignment, ""));
        self.set(name, value_of(text))
    }
}

fn value_of(text: &str) -> Value {
    if let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    match text.split_once('=') {
        Some((key, inner)) => json!({ key: value_of(inner) }),
        None => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_value_is_understood() {
        let mut switches = Switches::default();
        for text in [
            "rotation=window=30",
            "rotation={\"window\":30}",
            "date_header=skew_s=-90",
            "bearer_on_refresh=unexpired",
            "access_lifetime_s=60",
            "http2=false",
            "expires_in_form=float_string",
            "content_encoding=Identity",
            "byte_order_mark=true",
            "proxy_credentials=user:pass",
            "rate_limit={\"requests\":2,\"per_s\":10,\"retry_after\":{\"date\":5}}",
        ] {
            switches.set_text(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        assert_eq!(switches.rotation, Rotation::Window(30));
        assert_eq!(switches.date_header, DateHeader::SkewS(-90));
        assert_eq!(switches.bearer_on_refresh, BearerOnRefresh::Unexpired);
        assert_eq!(switches.access_lifetime_s, 60);
        assert!(!switches.http2);
        assert_eq!(switches.expires_in_form, ExpiresInForm::FloatString);
        assert_eq!(switches.content_encoding.as_deref(), Some("Identity"));
        assert!(switches.byte_order_mark);
        assert_eq!(switches.proxy_credentials.as_deref(), Some("user:pass"));
        assert_eq!(
            switches.rate_limit,
            Some(RateLimit { requests: 2, per_s: 10, retry_after: Some(RetryAfter::Date { date: 5 }) })
        );
        switches.set_text("rate_limit=null").unwrap();
        assert_eq!(switches.rate_limit, None);
    }

    #[test]
    fn an_unknown_name_is_named() {
        let error = Switches::default().set_text("rotatoin=static").unwrap_err().to_string();
        assert!(error.contains("`rotatoin`") && error.contains("rotation"), "{error}");
    }

    #[test]
    fn a_bad_value_is_named_and_changes_nothing() {
        let mut switches = Switches::default();
        for text in [
            "rotation=sometimes",
            "refused_status=500",
            "access_token_bytes=65537",
            "http2=7",
            "rate_limit={\"requests\":1}",
        ] {
            let error = switches.set_text(text).unwrap_err().to_string();
            assert!(error.contains(text.split('=').next().unwrap()), "{error}");
        }
        let changes = json!({"access_lifetime_s": 5, "rotation": 5});
        assert!(switches.patch(changes.as_object().unwrap().clone()).is_err());
        assert_eq!(switches, Switches::default());
    }
}
