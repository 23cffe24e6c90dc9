//! Answers as bytes: regular ones, and ones that are spoilt on purpose.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Sleep, sleep};

use crate::answer::Answer;
use crate::fault::Form;
use crate::switches::Switches;

/// The body of an answer.
pub(crate) type Reply = Either<Full<Bytes>, Pieces>;

const JSON: &str = "application/json";

/// A regular answer of the API.
pub(crate) fn honest(answer: &Answer, switches: &Switches) -> Response<Reply> {
    let mark = if switches.byte_order_mark { "\u{feff}" } else { "" };
    let mut response = whole(answer.status, JSON, format!("{mark}{}", answer.body));
    if let Some(encoding) = &switches.content_encoding {
        set_header(&mut response, CONTENT_ENCODING, encoding);
    }
    for (name, value) in &answer.headers {
        set_header(&mut response, HeaderName::from_static(name), value);
    }
    response
}

/// The answer to HEAD, with the length of a body that it does not have.
pub(crate) fn without_body(mut response: Response<Reply>) -> Response<Reply> {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response.map(|_| Either::Left(Full::default()))
}

/// The answer of a `status` fault.
pub(crate) fn instead(
    status: u16,
    body: Option<Value>,
    headers: &BTreeMap<String, String>,
) -> Response<Reply> {
    let mut response = match body {
        Some(Value::String(text)) => whole(status, "text/plain; charset=utf-8", text),
        Some(json) => whole(status, JSON, json.to_string()),
        None => {
            let error = json!({"error": "ERROR_INJECTED", "message": "Injected fault", "statusCode": status});
            whole(status, JSON, error.to_string())
        }
    };
    for (name, value) in headers {
        if let Ok(name) = HeaderName::try_from(name) {
            set_header(&mut response, name, value);
        }
    }
    response
}

/// A redirect.
pub(crate) fn redirect(status: u16, target: &str) -> Response<Reply> {
    let mut response = whole(status, JSON, "{}");
    set_header(&mut response, LOCATION, target);
    response
}

/// A regular answer with a spoilt body.
pub(crate) fn spoilt(form: &Form, answer: &Answer) -> Response<Reply> {
    let honest_body = answer.body.to_string();
    match form {
        Form::Malformed => {
            whole(answer.status, JSON, honest_body[..honest_body.len().saturating_sub(1)].to_owned())
        }
        Form::Truncated => {
            // The pause lets the half be sent before the end.
            let half = Bytes::from(honest_body[..honest_body.len() / 2].to_owned());
            let pieces = Pieces::new(iter::once(half), Duration::from_millis(5));
            in_pieces(answer.status, pieces, Some(honest_body.len()))
        }
        Form::Huge { mib } => {
            let spaces = Bytes::from(vec![b' '; 64 * 1024]);
            let many = (0..mib.saturating_mul(16)).map(move |_| spaces.clone());
            let pieces = Pieces::new(many.chain(iter::once(honest_body.into())), Duration::ZERO);
            in_pieces(answer.status, pieces, None)
        }
        Form::Dribbled { ms } => {
            let length = honest_body.len();
            let each = honest_body.into_bytes().into_iter().map(|byte| Bytes::from(vec![byte]));
            in_pieces(answer.status, Pieces::new(each, Duration::from_millis(*ms)), Some(length))
        }
        Form::NonUtf8 => {
            let mut bytes = honest_body.into_bytes();
            let text = bytes.windows(2).position(|pair| pair == b":\"").map_or(0, |colon| colon + 2);
            bytes.splice(text..text, [0xFF, 0xFE]);
            whole(answer.status, JSON, bytes)
        }
        Form::Html => whole(200, "text/html; charset=utf-8", "<!doctype html><title>Welcome</title>"),
        Form::Gzip => {
            let mut response = whole(answer.status, JSON, gzip(&honest_body).unwrap_or_default());
            set_header(&mut response, CONTENT_ENCODING, "gzip");
            response
        }
        Form::Empty => whole(answer.status, JSON, ""),
        Form::Array => whole(answer.status, JSON, format!("[{honest_body}]")),
        Form::DuplicateKey => whole(answer.status, JSON, with_duplicate_keys(&answer.body)),
        Form::Deep => {
            let depth = 100_000;
            whole(answer.status, JSON, "[".repeat(depth) + &"]".repeat(depth))
        }
    }
}

/// Sets a header, if HTTP can carry its value.
pub(crate) fn set_header(response: &mut Response<Reply>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        response.headers_mut().insert(name, value);
    }
}

fn whole(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Reply> {
    response(status, content_type, Either::Left(Full::new(body.into())))
}

fn in_pieces(status: u16, pieces: Pieces, declared_length: Option<usize>) -> Response<Reply> {
    let mut response = response(status, JSON, Either::Right(pieces));
    if let Some(length) = declared_length {
        set_header(&mut response, CONTENT_LENGTH, &length.to_string());
    }
    response
}

fn response(status: u16, content_type: &str, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set_header(&mut response, CONTENT_TYPE, content_type);
    response
}

fn gzip(text: &str) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

fn with_duplicate_keys(body: &Value) -> String {
    let fields = body.as_object().into_iter().flatten();
    let twice: Vec<String> =
        fields.map(|(name, value)| format!("{0}:\"duplicate\",{0}:{value}", json!(name))).collect();
    format!("{{{}}}", twice.join(","))
}

/// A body that is generated piece by piece, with a pause after each.
pub(crate) struct Pieces {
    pieces: Box<dyn Iterator<Item = Bytes> + Send>,
    pause: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pieces {
    fn new(pieces: impl Iterator<Item = Bytes> + Send + 'static, pause: Duration) -> Self {
        Self { pieces: Box::new(pieces), pause, timer: None }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(context));
            self.timer = None;
        }
        let piece = self.pieces.next();
        if piece.is_some() && !self.pause.is_zero() {
            self.timer = Some(Box::pin(sleep(self.pause)));
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_keys_come_twice() {
        let text = with_duplicate_keys(&json!({"a": 1, "b": "c"}));
        assert_eq!(text, r#"{"a":"duplicate","a":1,"b":"duplicate","b":"c"}"#);
        assert_eq!(with_duplicate_keys(&json!({})), "{}");
    }
}
