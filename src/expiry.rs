//! Computes how long an access token lives. Pure arithmetic; the local wall clock is not used.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::clock::FOREVER;
use crate::secret::Wiped;

/// The lifetime that is assumed if the service gives none that can be used.
const FALLBACK: Duration = Duration::from_secs(300);
/// One day, in seconds. A longer lifetime counts as one day, so the token is renewed daily.
const LONGEST: u64 = 86_400;
/// Sources that differ by at most this much agree: the answer took time to arrive, and clocks are rounded.
const AGREEMENT: Duration = Duration::from_secs(60);

/// The lifetime of an access token, counted from the moment before its request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The smallest value of all sources.
    pub length: Duration,
    /// The difference between the sources; zero if they agree within a minute.
    pub disagreement: Duration,
    /// What is wrong with a source, if anything.
    pub remark: Option<Remark>,
}

/// An error in what the service says about a lifetime. The token is used anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// `expires_in` is below one second and was ignored.
    BelowASecond,
    /// `expires_in` is not a number and was ignored.
    NotANumber,
    /// A source gives more than one day.
    AboveADay,
}

impl Remark {
    /// A sentence for the operator.
    pub fn text(self) -> &'static str {
        match self {
            Remark::BelowASecond => "the service's expires_in is below 1 s and was ignored",
            Remark::NotANumber => "the service's expires_in is not a number and was ignored",
            Remark::AboveADay => {
                "the service says that the token lives for more than a day; it counts as a day"
            }
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The field `expires_in` of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpiresIn {
    /// The field is missing or null.
    #[default]
    Absent,
    /// Whole seconds. A number outside the range of `i64` becomes the nearest end of the range.
    Seconds(i64),
    /// Anything else.
    NotANumber,
}

impl ExpiresIn {
    /// Reads the field's JSON: a number in any form, or a text that holds one. A fraction is cut off.
    pub fn read(json: &str) -> Self {
        let number = match json.as_bytes().first() {
            Some(b'n') => return ExpiresIn::Absent,
            Some(b'"') => serde_json::from_str::<String>(json).ok(),
            _ => Some(json.to_owned()),
        };
        let number = number.as_deref().map(str::trim).filter(|text| is_decimal(text));
        match number.and_then(|text| text.parse::<f64>().ok()) {
            // A cast from float to integer saturates.
            Some(seconds) => ExpiresIn::Seconds(seconds.floor() as i64),
            None => ExpiresIn::NotANumber,
        }
    }
}

/// Characters of a JSON number. Rust also parses `inf` and `nan`, which must be refused.
fn is_decimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
}

impl Lifetime {
    /// A lifetime from the settings or from a record in a store.
    pub fn of(length: Duration) -> Self {
        let longest = Duration::from_secs(LONGEST);
        let remark = (length > longest).then_some(Remark::AboveADay);
        Lifetime { length: length.min(longest), disagreement: Duration::ZERO, remark }
    }

    /// The lifetime of a token that never expires: a hundred years, which can still be added to a clock.
    pub fn endless() -> Self {
        Lifetime { length: FOREVER, disagreement: Duration::ZERO, remark: None }
    }

    /// Whether the token never expires.
    pub fn is_endless(&self) -> bool {
        self.length == FOREVER
    }

    /// Computes the lifetime from `expires_in` of the answer, the claims `exp` and `iat` if the token is a JWT, and the
    /// server's clock (its `Date` header, in seconds since 1970).
    pub fn from_sources(expires_in: ExpiresIn, access_token: &str, server_time: Option<i64>) -> Self {
        let claims = Claims::of(access_token);
        let until_exp = |from: Option<i64>| Some(claims.exp?.saturating_sub(from?));
        let (said, mut remark) = match expires_in {
            ExpiresIn::Absent => (None, None),
            ExpiresIn::Seconds(seconds) if seconds < 1 => (None, Some(Remark::BelowASecond)),
            ExpiresIn::Seconds(seconds) => (Some(seconds), None),
            ExpiresIn::NotANumber => (None, Some(Remark::NotANumber)),
        };
        let sources: Vec<Lifetime> = [said, until_exp(claims.iat), until_exp(server_time)]
            .into_iter()
            .flatten()
            .filter(|seconds| *seconds >= 1)
            .map(|seconds| Lifetime::of(Duration::from_secs(seconds.unsigned_abs())))
            .collect();
        remark = remark.or_else(|| sources.iter().find_map(|source| source.remark));
        let lengths = || sources.iter().map(|source| source.length);
        let (Some(least), Some(most)) = (lengths().min(), lengths().max()) else {
            return Lifetime { remark, ..Lifetime::of(FALLBACK) };
        };
        let apart = most - least;
        let disagreement = if apart > AGREEMENT { apart } else { Duration::ZERO };
        Lifetime { length: least, disagreement, remark }
    }

    /// A token with this much time left, or less, is not handed out: it could expire on its way to the server.
    pub fn margin(&self) -> Duration {
        (self.length / 60).clamp(Duration::from_secs(5), Duration::from_secs(30))
    }

    /// Whether the lifetime is too short for the token to be handed out even once.
    pub fn is_born_expired(&self) -> bool {
        self.length <= self.margin()
    }
}

/// The time claims of a JWT. They are read, never trusted: no signature is checked.
#[derive(Default, Deserialize)]
struct Claims {
    #[serde(default, deserialize_with = "whole_seconds")]
    exp: Option<i64>,
    #[serde(default, deserialize_with = "whole_seconds")]
    iat: Option<i64>,
}

impl Claims {
    /// Reads the claims. An opaque token has none, which is not an error.
    fn of(token: &str) -> Self {
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Claims::default();
        };
        let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).map(Wiped::new);
        json.ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }
}

/// A NumericDate of RFC 7519 may have a fraction. A value that is not a number counts as absent.
fn whole_seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value
        .as_i64()
        .or_else(|| value.as_f64().filter(|seconds| seconds.is_finite()).map(|seconds| seconds as i64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims))
    }

    fn seconds(expires_in: Option<i64>, token: &str, server_time: Option<i64>) -> (u64, u64) {
        let expires_in = expires_in.map_or(ExpiresIn::Absent, ExpiresIn::Seconds);
        let lifetime = Lifetime::from_sources(expires_in, token, server_time);
        (lifetime.length.as_secs(), lifetime.disagreement.as_secs())
    }

    /// The lifetime of an opaque token for which `expires_in` is the only source.
    fn by_field(json: &str) -> (u64, Option<Remark>) {
        let lifetime = Lifetime::from_sources(ExpiresIn::read(json), "opaque", None);
        (lifetime.length.as_secs(), lifetime.remark)
    }

    #[test]
    fn the_smallest_source_wins() {
        let token = jwt(r#"{"iat":1000,"exp":4600}"#);
        assert_eq!(seconds(Some(3600), &token, Some(1000)), (3600, 0));
        assert_eq!(seconds(Some(3600), &token, Some(1030)), (3570, 0));
        assert_eq!(seconds(Some(3600), &token, Some(1060)), (3540, 0), "a minute apart");
        assert_eq!(seconds(Some(3600), &token, Some(1061)), (3539, 61));
        assert_eq!(seconds(Some(7200), &token, None), (3600, 3600));
        assert_eq!(seconds(Some(60), &token, Some(4000)), (60, 3540));
        assert_eq!(seconds(None, &token, None), (3600, 0));
    }

    #[test]
    fn sources_below_a_second_are_ignored() {
        let token = jwt(r#"{"iat":5000,"exp":4600}"#);
        assert_eq!(seconds(Some(3600), &token, Some(9999)), (3600, 0));
        for expires_in in [0, -5, i64::MIN] {
            assert_eq!(seconds(Some(expires_in), "opaque", None), (300, 0));
        }
    }

    #[test]
    fn more_than_a_day_counts_as_a_day_and_is_remarked() {
        let month = 30 * 86_400;
        for (expires_in, token) in [
            (Some(month), "opaque".to_owned()),
            (Some(86_401), "opaque".to_owned()),
            (Some(i64::MAX), jwt(&format!(r#"{{"iat":1000,"exp":{}}}"#, 1000 + month))),
            (None, jwt(r#"{"iat":-9223372036854775808,"exp":9223372036854775807}"#)),
        ] {
            let expires_in = expires_in.map_or(ExpiresIn::Absent, ExpiresIn::Seconds);
            let lifetime = Lifetime::from_sources(expires_in, &token, None);
            let day = Duration::from_secs(86_400);
            let wanted =
                Lifetime { length: day, disagreement: Duration::ZERO, remark: Some(Remark::AboveADay) };
            assert_eq!(lifetime, wanted, "{token}");
        }
        assert_eq!(by_field("86400"), (86_400, None));
        assert_eq!(Lifetime::of(Duration::MAX).length, Duration::from_secs(86_400));
        // A source below one day is used, and the difference from the other is also reported.
        let token = jwt(&format!(r#"{{"iat":1000,"exp":{}}}"#, 1000 + month));
        assert_eq!(seconds(Some(3600), &token, None), (3600, 82_800));
    }

    #[test]
    fn a_number_is_read_in_any_form() {
        for json in
            ["3600", "3600.0", "3600.999", "3.6e3", "36E+2", r#""3600""#, r#"" 3600.0 ""#, r#""3.6e3""#]
        {
            assert_eq!(by_field(json), (3600, None), "{json}");
        }
        for huge in ["1e400", "99999999999999999999999", r#""1e400""#, "9223372036854775808"] {
            assert_eq!(by_field(huge), (86_400, Some(Remark::AboveADay)), "{huge}");
        }
        for low in ["0", "-0.0", "0.999", "-3600", "-1e400", r#""-3600""#] {
            assert_eq!(by_field(low), (300, Some(Remark::BelowASecond)), "{low}");
        }
        for wrong in [
            "true",
            "{}",
            r#"{"seconds":3600}"#,
            "[3600]",
            r#""""#,
            r#""an hour""#,
            r#""inf""#,
            r#""NaN""#,
            r#""infinity""#,
            r#""3600s""#,
            r#""0x10""#,
            r#""e""#,
            r#""1_000""#,
            r#""+-1""#,
        ] {
            assert_eq!(by_field(wrong), (300, Some(Remark::NotANumber)), "{wrong}");
        }
        assert_eq!(by_field("null"), (300, None));
    }

    #[test]
    fn a_wrong_form_is_remarked_though_the_token_tells_its_life() {
        let token = jwt(r#"{"iat":1000,"exp":4600}"#);
        let lifetime = Lifetime::from_sources(ExpiresIn::NotANumber, &token, None);
        let wanted = Lifetime { remark: Some(Remark::NotANumber), ..Lifetime::of(Duration::from_secs(3600)) };
        assert_eq!(lifetime, wanted);
    }

    #[test]
    fn tokens_that_are_no_jwt_are_fine() {
        for token in ["opaque", "a.b", "a.!!.c", "a.e30.c.d", &jwt("[]"), &jwt("nonsense")] {
            assert_eq!(seconds(Some(1800), token, Some(1)), (1800, 0), "{token}");
        }
        assert_eq!(seconds(None, &jwt(r#"{"iat":"x","exp":{}}"#), Some(1)), (300, 0));
        assert_eq!(seconds(None, &jwt(r#"{"iat":1000.7,"exp":2000.9}"#), None), (1000, 0));
    }

    #[test]
    fn a_life_within_the_margin_is_born_expired() {
        let lived =
            |seconds| Lifetime::from_sources(ExpiresIn::Seconds(seconds), "opaque", None).is_born_expired();
        assert!(lived(1) && lived(5));
        assert!(!lived(6) && !lived(3600));
    }

    #[test]
    fn only_an_endless_lifetime_has_no_end() {
        assert!(Lifetime::endless().is_endless());
        assert!(!Lifetime::of(Duration::MAX).is_endless());
    }

    #[test]
    fn each_remark_says_what_is_wrong() {
        for (remark, words) in [
            (Remark::BelowASecond, "expires_in is below 1 s"),
            (Remark::NotANumber, "expires_in is not a number"),
            (Remark::AboveADay, "more than a day"),
        ] {
            assert!(remark.to_string().contains(words), "{remark}");
        }
    }
}
