//! Error bodies that repeat a secret of ours: plain, with escapes, in a key, in a number, in part.

use paymentsgate_auth::transport::RawResponse;
use serde_json::Value;

use super::input::{Input, expand};
use super::scripted::{check_error, make, refresh, shows};

/// Pairs of refresh token and access token. An access token goes into a header; a refresh token may be any text.
const TOKENS: [(&str, &str); 9] = [
    ("r3fr3sh-t0ken", "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9.c2ln"),
    ("quoted\"t0ken", "acc3ss\"t0ken"),
    ("back\\slash\\t0ken", "acc3ss\\t0ken"),
    ("two\tparts\nt0ken", "acc3ss/t0ken"),
    ("t0ken of words", "acc3ss-t0ken"),
    ("schlüssel-t0ken", "acc3ss-t0ken"),
    ("inner-t0ken", "outer-inner-t0ken-end"),
    ("1234567890123", "98765432.5"),
    ("12345678901234567890123", "41bcdefghijklmnop%2Fq+r"),
];

pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (refresh_token, access_token) = input.choice(&TOKENS);
    let status = input.choice(&[400, 401, 403, 404, 429, 500]);
    let tokens = [refresh_token, access_token];
    let parts = tokens.map(|token| token.chars().skip(1).take(20).collect());
    let forms: Vec<String> = tokens.into_iter().flat_map(forms).chain(parts).collect();
    let forms: Vec<_> = forms.iter().map(String::as_bytes).collect();
    let body = expand(input.rest(), &forms).into();
    let answer = RawResponse { status, body, ..RawResponse::default() };
    let error = make(refresh(refresh_token, access_token), true, answer).unwrap_err().error;
    check_error(&error, &tokens);
    let Some(server) = error.server else { return };
    if let Some(code) = server.code {
        assert!(!code.is_empty() && code.len() <= 160, "{code}");
    }
    if let Some(message) = server.message {
        assert!(!message.chars().any(char::is_control), "{message:?}");
        // The message may be JSON itself.
        serde_json::from_str(&message).iter().for_each(|value| check_value(value, &tokens));
    }
    if let Some(details) = server.details {
        serde_json::from_str::<serde::de::IgnoredAny>(&details).expect("details stay JSON");
        serde_json::from_str(&details).iter().for_each(|value| check_value(value, &tokens));
    }
}

/// A secret in the forms that JSON has for it.
fn forms(secret: &str) -> [String; 3] {
    let coded: String = secret.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let quoted = serde_json::to_string(secret).unwrap();
    [secret.to_owned(), coded, quoted[1..quoted.len() - 1].to_owned()]
}

fn check_value(value: &Value, secrets: &[&str]) {
    let check = |text: &str| assert!(!secrets.iter().any(|secret| shows(text, secret)), "{text}");
    match value {
        Value::String(text) => check(text),
        Value::Number(number) => check(&number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| check_value(item, secrets)),
        Value::Object(fields) => fields.iter().for_each(|(key, field)| {
            check(key);
            check_value(field, secrets);
        }),
        Value::Null | Value::Bool(_) => {}
    }
}
