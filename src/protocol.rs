//! The service's two auth calls, Issue and Refresh: their requests, and the meaning of their answers and failures. The
//! formats come from "Issuing a JWT token" and "Managing JWT tokens" in the vendor's documentation.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Serialize, de};
use serde_json::value::{RawValue, Value};

use crate::clock::{Clock, Moment};
use crate::credentials::{Credentials, without_mark};
use crate::error::{Error, ServerError};
use crate::expiry::{ExpiresIn, Lifetime};
use crate::redaction::Redactor;
use crate::secret::{Secret, Wiped};
use crate::status::{Fate, Status};
use crate::token::{MaybeSpentRefreshToken, Pair, RefreshToken, Token, is_access_token};
use crate::transport::{Exchange, Limit, RawResponse, Request, Transport};

/// A longer wait than this counts as a mistake of the server.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The longest message, and the longest details, that an error has, in bytes of the answer.
const LONGEST_TEXT: usize = 16 << 10;

/// One of the two calls, with the secrets that it presents. It cannot be cloned, and its one request consumes it.
#[derive(Debug)]
pub enum Call {
    /// Obtains a first pair with credentials. This spends nothing.
    Issue(Credentials),
    /// Obtains the next pair with a refresh token, which may be spent by the call.
    Refresh {
        /// The refresh token to present. The answer decides whether it is spent.
        refresh: RefreshToken,
        /// Sent as Bearer, if given.
        access: Option<Secret>,
    },
}

/// Why a call failed, and the refresh token if it may be presented again.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub error: Error,
    /// The refresh token, if it was not sent or not consumed. `None` after an Issue.
    pub refresh: Option<RefreshToken>,
    /// The refresh token, if it was presented and its fate is unknown.
    pub maybe_spent: Option<MaybeSpentRefreshToken>,
}

impl Call {
    /// `issue` or `refresh`.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Issue(_) => "issue",
            Call::Refresh { .. } => "refresh",
        }
    }

    /// Sends the one request of this call, and returns its result. An error shows none of the secrets that the call presents,
    /// and none of `others`: a proxy that confuses two answers, or the service, may repeat what an earlier call has presented.
    pub async fn make(
        self,
        transport: &dyn Transport,
        clock: &dyn Clock,
        limit: Limit,
        timeout: Duration,
        others: &[&Secret],
    ) -> Result<Pair, Failure> {
        let started = clock.now();
        let exchange = transport.send(self.request(limit, timeout)).await;
        self.interpret(exchange, started, others)
    }

    fn request(&self, limit: Limit, timeout: Duration) -> Request {
        match self {
            Call::Issue(Credentials { account_id, public_key }) => {
                let body = json(&[("account_id", account_id), ("public_key", public_key)]);
                post("auth/token", None, body, limit, timeout)
            }
            Call::Refresh { refresh, access } => {
                let body = json(&[("refresh_token", refresh.secret())]);
                post("auth/token/refresh", access.clone(), body, limit, timeout)
            }
        }
    }

    /// Interprets the result of the exchange. `started` is the anchor if an answer arrived before the body had left.
    fn interpret(self, exchange: Exchange, started: Moment, others: &[&Secret]) -> Result<Pair, Failure> {
        let sent = exchange.sent;
        let anchor = sent.unwrap_or(started);
        let result = match exchange.result {
            Ok(answer) if (200..300).contains(&answer.status) => self.read_pair(&answer, anchor),
            Ok(answer) => Err(self.read_refusal(&answer, anchor, others)),
            // A proxy or a certificate may hold any text.
            Err(error) => Err(Error { text: self.redactor(others).text(error.text), ..error }),
        };
        let fate =
            result.as_ref().map_or_else(|error| self.fate(error, sent.is_some()), |_| Fate::PG_FATE_NONE);
        let text = |error: &Error| format!("{}: {}{}", self.name(), error.text, advice(fate));
        let result = result.map_err(|error| Error { text: text(&error), ..error.with_fate(fate) });
        let presented = match self {
            Call::Refresh { refresh, .. } => Some(refresh),
            Call::Issue(_) => None,
        };
        match result {
            // If the answer has no new refresh token, the old one stays valid.
            Ok((token, refresh)) => Ok(Pair { token, refresh: refresh.or(presented) }),
            Err(error) => {
                let is_of_the_api = error.status == Status::PG_ERR_REFUSED && error.server.is_some();
                let (refresh, maybe_spent) = match fate {
                    Fate::PG_FATE_UNSENT | Fate::PG_FATE_NOT_CONSUMED => (presented, None),
                    Fate::PG_FATE_UNKNOWN => (None, presented.and_then(RefreshToken::into_maybe_spent)),
                    // A gateway may have refused the token instead of the service.
                    Fate::PG_FATE_REFUSED if !is_of_the_api => {
                        (None, presented.and_then(RefreshToken::into_maybe_spent))
                    }
                    Fate::PG_FATE_NONE | Fate::PG_FATE_REFUSED => (None, None),
                };
                Err(Failure { error, refresh, maybe_spent })
            }
        }
    }

    /// The central decision: may the refresh token be presented again?
    fn fate(&self, error: &Error, sent: bool) -> Fate {
        match (self, error.status) {
            (Call::Issue(_), _) => Fate::PG_FATE_NONE,
            (_, Status::PG_ERR_RATE_LIMITED | Status::PG_ERR_STREAM_REFUSED) => Fate::PG_FATE_NOT_CONSUMED,
            (_, Status::PG_ERR_REFUSED | Status::PG_ERR_BLOCKED | Status::PG_ERR_REDIRECT) => {
                Fate::PG_FATE_REFUSED
            }
            _ if sent => Fate::PG_FATE_UNKNOWN,
            _ => Fate::PG_FATE_UNSENT,
        }
    }

    /// Of the secrets of this call and of others.
    fn redactor(&self, others: &[&Secret]) -> Redactor {
        let secrets = match self {
            // The account id is not redacted: it may be shown, to find out which account was refused.
            Call::Issue(credentials) => [Some(&credentials.public_key), None],
            Call::Refresh { refresh, access } => [Some(refresh.secret()), access.as_ref()],
        };
        Redactor::new(secrets.into_iter().flatten().chain(others.iter().copied()))
    }

    fn read_pair(
        &self,
        answer: &RawResponse,
        anchor: Moment,
    ) -> Result<(Token, Option<RefreshToken>), Error> {
        let malformed =
            |what: &str| answer_error(answer, Status::PG_ERR_MALFORMED_ANSWER, format!("the answer {what}"));
        answer.check_size()?;
        // Some gateways declare a coding for a plain body. So the body decides; the header only explains one that
        // cannot be read.
        let unreadable = |what: &str| match content_coding(answer) {
            Some(coding) => malformed(&format!("is compressed ({coding}), which was not asked for")),
            None => malformed(what),
        };
        let text = std::str::from_utf8(&answer.body).map_err(|_| unreadable("is not UTF-8"))?;
        let pair: PairBody = serde_json::from_str(without_mark(text)).map_err(|error| {
            // The text of a serde error may quote a token.
            unreadable(&format!(
                "is not the JSON of a pair (error at line {}, column {})",
                error.line(),
                error.column()
            ))
        })?;
        let access = pair.access_token.ok_or_else(|| malformed("has no access_token"))?;
        if !is_access_token(&access) {
            return Err(malformed("has an access_token that is not valid in a header"));
        }
        let server_time = answer.header(DATE).and_then(http_seconds);
        let lifetime = Lifetime::from_sources(pair.expires_in, access.expose(), server_time);
        if lifetime.is_born_expired() {
            let text = format!(
                "the access token lives for only {} s, which is too short to use; check the clocks of the service",
                lifetime.length.as_secs()
            );
            return Err(answer_error(answer, Status::PG_ERR_BORN_EXPIRED, text));
        }
        let our_time = i64::try_from(anchor.wall.as_secs()).unwrap_or(i64::MAX);
        let clock_skew = server_time.map(|time| time.saturating_sub(our_time));
        let mut token = Token::new(access, lifetime, anchor);
        token.clock_skew = clock_skew;
        Ok((token, pair.refresh_token.map(RefreshToken::new)))
    }

    fn read_refusal(&self, answer: &RawResponse, now: Moment, others: &[&Secret]) -> Error {
        let server = ServerError::read(&answer.body, &self.redactor(others));
        let said = server.as_ref().and_then(|server| server.code.as_ref()).map(|code| format!(" ({code})"));
        let said = said.unwrap_or_default();
        let code = answer.status;
        let (status, text) = match (code, self) {
            (300..400, _) => (Status::PG_ERR_REDIRECT, "redirects are never followed; check base_url"),
            (425 | 429, _) => (Status::PG_ERR_RATE_LIMITED, "too many requests; wait and try again"),
            (408 | 500.., _) => (Status::PG_ERR_SERVER, "the service failed"),
            (_, Call::Refresh { .. }) if server.is_some() => {
                (Status::PG_ERR_REFUSED, "the service refused the refresh token")
            }
            (_, Call::Refresh { .. }) => (
                Status::PG_ERR_REFUSED,
                "refused, but not with an error of the API; check base_url, proxies and firewalls",
            ),
            (400 | 401 | 403, Call::Issue(_)) if server.is_some() => (
                Status::PG_ERR_REFUSED,
                "the service refused the credentials; check account_id and public_key",
            ),
            _ => (
                Status::PG_ERR_BLOCKED,
                "refused, but not with an error of the API; check base_url, proxies and firewalls",
            ),
        };
        let mut error = answer_error(answer, status, format!("HTTP {code}{said}: {text}"));
        error.retry_after = retry_after(answer, now);
        error.server = server.map(Box::new);
        error
    }
}

fn post(
    path: &'static str,
    bearer: Option<Secret>,
    body: Wiped<Vec<u8>>,
    limit: Limit,
    timeout: Duration,
) -> Request {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    Request { method: Method::POST, path: path.into(), headers, bearer, body: Some(body), limit, timeout }
}

/// The error of a call that was abandoned on this side, after its request may have begun to leave.
pub fn abandoned(is_refresh: bool, status: Status, text: &str) -> Error {
    let fate = if is_refresh { Fate::PG_FATE_UNKNOWN } else { Fate::PG_FATE_NONE };
    Error::new(status, format!("{text}{}", advice(fate))).with_fate(fate)
}

/// The coding of a body that should be plain JSON, from its header or its first bytes. A server may write anything into the header,
/// also a token of ours, so only names that are known are shown.
fn content_coding(answer: &RawResponse) -> Option<&'static str> {
    const PLAIN: [&str; 5] = ["", "identity", "none", "utf-8", "utf8"];
    const KNOWN: [&str; 6] = ["gzip", "x-gzip", "deflate", "br", "zstd", "compress"];
    let said = answer.header(CONTENT_ENCODING).unwrap_or_default().to_ascii_lowercase();
    match said.split(',').map(str::trim).find(|coding| !PLAIN.contains(coding)) {
        Some(coding) => Some(KNOWN.into_iter().find(|known| *known == coding).unwrap_or("unknown coding")),
        None => answer.body.starts_with(&[0x1f, 0x8b]).then_some("gzip"),
    }
}

fn answer_error(answer: &RawResponse, status: Status, text: String) -> Error {
    Error { http_status: Some(answer.status), ..Error::new(status, text) }
}

fn advice(fate: Fate) -> &'static str {
    match fate {
        Fate::PG_FATE_NONE => "",
        Fate::PG_FATE_UNSENT => "; the refresh token was not sent and may be used again",
        Fate::PG_FATE_NOT_CONSUMED => "; the refresh token was not used up and may be sent again",
        Fate::PG_FATE_REFUSED => "; issue a new pair",
        Fate::PG_FATE_UNKNOWN => "; the refresh token may be spent: do not send it again, issue a new pair",
    }
}

/// A flat JSON object.
fn json(fields: &[(&'static str, &Secret)]) -> Wiped<Vec<u8>> {
    struct Fields<'a>(&'a [(&'static str, &'a Secret)]);
    impl Serialize for Fields<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(self.0.iter().map(|(name, secret)| (name, secret.expose())))
        }
    }
    // Tokens have nothing to escape.
    let room = fields.iter().map(|(name, secret)| name.len() + secret.expose().len() + 8).sum();
    let mut body = Wiped::new(Vec::with_capacity(room));
    // Writing texts into a vector cannot fail. If it did, the service would refuse the empty body.
    let _ = serde_json::to_writer(&mut *body, &Fields(fields));
    body
}

/// The fields of a pair that the library uses. No key may occur twice: two readers could then disagree on which token
/// is meant.
#[derive(Default)]
struct PairBody {
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
    expires_in: ExpiresIn,
}

impl<'de> Deserialize<'de> for PairBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = PairBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PairBody, A::Error> {
                let mut pair = PairBody::default();
                let mut seen = BTreeSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "access_token" => pair.access_token = map.next_value::<TokenText>()?.0,
                        "refresh_token" => pair.refresh_token = map.next_value::<TokenText>()?.0,
                        "expires_in" => {
                            // Read as raw JSON: a number that is too large for its type must not cost the pair.
                            pair.expires_in = ExpiresIn::read(map.next_value::<&RawValue>()?.get());
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                    if !seen.insert(key) {
                        return Err(de::Error::custom("a key comes twice"));
                    }
                }
                Ok(pair)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A token: text without NUL. Null and an empty text count as absent; any other type is an error.
struct TokenText(Option<Secret>);

impl<'de> Deserialize<'de> for TokenText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<Wiped<String>>::deserialize(deserializer)?;
        match text.filter(|text| !text.is_empty()) {
            None => Ok(TokenText(None)),
            Some(text) => match Secret::new(&text) {
                Some(secret) => Ok(TokenText(Some(secret))),
                None => Err(de::Error::custom("a token holds a NUL")),
            },
        }
    }
}

impl ServerError {
    /// The API's error body, or `None`: it has a code, or at least a `statusCode` with a `message`. Secrets of ours
    /// that the server echoes are removed.
    fn read(body: &[u8], redactor: &Redactor) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Body<'a> {
            error: Option<String>,
            #[serde(borrow)]
            message: Option<&'a RawValue>,
            #[serde(rename = "statusCode")]
            status_code: Option<Value>,
            #[serde(borrow)]
            details: Option<&'a RawValue>,
            #[serde(borrow)]
            data: Option<&'a RawValue>,
        }
        let text = std::str::from_utf8(body).ok()?;
        let body: Body<'_> = serde_json::from_str(without_mark(text)).ok()?;
        let code = body.error.filter(|text| ServerError::is_code(text));
        if code.is_none() && (body.status_code.is_none() || body.message.is_none()) {
            return None;
        }
        let message =
            body.message.and_then(|json| match redactor.value(serde_json::from_str(&limited(json)).ok()?) {
                Value::String(text) => Some(text),
                other => Some(other.to_string()),
            });
        Some(ServerError {
            code: code.map(|text| redactor.text(text)),
            // A token of several words could appear where line breaks have become spaces.
            message: message.map(|text| redactor.text(one_line(text))).filter(|text| !text.is_empty()),
            details: body.details.or(body.data).and_then(|json| redactor.json(&limited(json))),
        })
    }
}

/// A longer message, and longer details, are left out: nobody reads them, and to redact them takes long.
fn limited(json: &RawValue) -> Cow<'_, str> {
    match json.get().len() {
        ..=LONGEST_TEXT => json.get().into(),
        length => format!("\"[left out: {length} bytes]\"").into(),
    }
}

/// Control characters from a server must not reach a log.
fn one_line(text: String) -> String {
    text.replace(char::is_control, " ")
}

/// The header holds seconds or a date. A date is compared with the server's own clock, if the server sends it.
fn retry_after(answer: &RawResponse, now: Moment) -> Option<Duration> {
    let text = answer.header(RETRY_AFTER)?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let server_now = answer.header(DATE).and_then(http_seconds);
            let from = server_now.unwrap_or_else(|| i64::try_from(now.wall.as_secs()).unwrap_or(i64::MAX));
            Duration::from_secs(http_seconds(text)?.saturating_sub(from).max(0).unsigned_abs())
        }
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// An HTTP date as seconds since 1970.
fn http_seconds(date: &str) -> Option<i64> {
    let time: SystemTime = httpdate::parse_http_date(date).ok()?;
    time.duration_since(UNIX_EPOCH).ok()?.as_secs().try_into().ok()
}
