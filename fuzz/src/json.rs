//! The library's strict JSON against serde_json's own: what it accepts, another reader understands in the same way.

use std::collections::BTreeSet;
use std::fmt;

use paymentsgate_auth::status::Status;
use paymentsgate_auth::transport::RawResponse;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::scripted::{issue, make};

pub fn run(bytes: &[u8]) {
    let answer = RawResponse { status: 200, body: bytes.to_vec().into(), ..RawResponse::default() };
    let read = make(issue(), true, answer);
    let other = std::str::from_utf8(bytes).ok().map(|text| text.strip_prefix('\u{feff}').unwrap_or(text));
    let value: Option<Value> = other.and_then(|text| serde_json::from_str(text).ok());
    match (read, value) {
        (Ok(pair), Some(value)) => {
            assert_eq!(text(&value, "access_token"), Some(pair.token.access.expose()));
            let refresh = pair.refresh.as_ref().map(|refresh| refresh.secret().expose());
            assert_eq!(text(&value, "refresh_token").filter(|text| !text.is_empty()), refresh);
            assert!(!other.is_some_and(repeats_a_key));
        }
        // Values of unknown keys are only skipped: the other reader may refuse a number or a surrogate in them, or their depth.
        (Ok(_), None) => {
            serde_json::from_str::<IgnoredAny>(other.unwrap()).expect("what is accepted is JSON");
        }
        (Err(failure), Some(value)) if failure.error.status == Status::PG_ERR_MALFORMED_ANSWER => {
            let is_token = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
            let has_access = text(&value, "access_token").is_some_and(is_token);
            let has_refresh = match value.get("refresh_token") {
                None | Some(Value::Null) => true,
                Some(Value::String(text)) => !text.contains('\0'),
                Some(_) => false,
            };
            let is_good = has_access && has_refresh && !other.is_some_and(repeats_a_key);
            assert!(!is_good, "a good pair is refused: {}", failure.error);
        }
        _ => {}
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

/// Whether a key of the outermost object comes twice.
fn repeats_a_key(json: &str) -> bool {
    struct Repeats(bool);
    struct Keys;
    impl<'de> Visitor<'de> for Keys {
        type Value = Repeats;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Repeats, A::Error> {
            let (mut seen, mut repeats) = (BTreeSet::new(), false);
            while let Some((key, IgnoredAny)) = map.next_entry::<String, _>()? {
                repeats |= !seen.insert(key);
            }
            Ok(Repeats(repeats))
        }
    }
    impl<'de> Deserialize<'de> for Repeats {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Keys)
        }
    }
    serde_json::from_str::<Repeats>(json).is_ok_and(|repeats| repeats.0)
}
