//! How long an access token lives. Pure arithmetic; the local wall clock has no say in it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Assumed where the service says nothing usable.
const FALLBACK: Duration = Duration::from_secs(300);
/// A lifetime outside of this is a mistake or a trap, and is ignored.
const PLAUSIBLE: std::ops::RangeInclusive<i64> = 1..=86_400;
/// Sources that differ by less than this agree: the answer was under way, clocks are rounded.
const AGREEMENT: Duration = Duration::from_secs(60);

/// The lifetime of an access token, counted from the moment before its request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The smallest of what the sources say.
    pub length: Duration,
    /// How far the sources are apart; zero where they agree within a minute.
    pub disagreement: Duration,
}

impl Lifetime {
    /// From the sources: `expires_in` of the answer, the claims `exp` and `iat` of the token if it is a JWT,
    /// and the server's own clock (its `Date` header, seconds since 1970).
    pub fn from_sources(expires_in: Option<i64>, access_token: &str, server_time: Option<i64>) -> Self {
        let claims = Claims::of(access_token);
        let until_exp = |from: Option<i64>| claims.exp?.checked_sub(from?);
        let mut plausible = [expires_in, until_exp(claims.iat), until_exp(server_time)]
            .into_iter()
            .flatten()
            .filter(|seconds| PLAUSIBLE.contains(seconds))
            .map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
        let Some(first) = plausible.next() else {
            return Lifetime { length: FALLBACK, disagreement: Duration::ZERO };
        };
        let (least, most) =
            plausible.fold((first, first), |(least, most), next| (least.min(next), most.max(next)));
        let apart = most - least;
        Lifetime { length: least, disagreement: if apart > AGREEMENT { apart } else { Duration::ZERO } }
    }

    /// With this much or less remaining a token is not handed out: it could expire on its way.
    pub fn margin(&self) -> Duration {
        (self.length / 60).clamp(Duration::from_secs(5), Duration::from_secs(30))
    }

    /// Too short to be handed out even once.
    pub fn is_born_expired(&self) -> bool {
        self.length <= self.margin()
    }
}

/// What a JWT says of its time. It is read, never trusted: no signature is checked.
#[derive(Default, Deserialize)]
struct Claims {
    #[serde(default, deserialize_with = "whole_seconds")]
    exp: Option<i64>,
    #[serde(default, deserialize_with = "whole_seconds")]
    iat: Option<i64>,
}

impl Claims {
    /// An opaque token has none, and that is fine.
    fn of(token: &str) -> Self {
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Claims::default();
        };
        let json = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).map(Zeroizing::new);
        json.ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }
}

/// NumericDate of RFC 7519 may have a fraction; whatever is no number counts as absent.
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
        let lifetime = Lifetime::from_sources(expires_in, token, server_time);
        (lifetime.length.as_secs(), lifetime.disagreement.as_secs())
    }

    #[test]
    fn the_smallest_source_wins() {
        let token = jwt(r#"{"iat":1000,"exp":4600}"#);
        assert_eq!(seconds(Some(3600), &token, Some(1000)), (3600, 0));
        assert_eq!(seconds(Some(3600), &token, Some(1030)), (3570, 0));
        assert_eq!(seconds(Some(7200), &token, None), (3600, 3600));
        assert_eq!(seconds(Some(60), &token, Some(4000)), (60, 3540));
        assert_eq!(seconds(None, &token, None), (3600, 0));
    }

    #[test]
    fn implausible_sources_are_ignored() {
        let token = jwt(r#"{"iat":5000,"exp":4600}"#);
        assert_eq!(seconds(Some(3600), &token, Some(9999)), (3600, 0));
        for expires_in in [0, -5, 86_401, i64::MAX, i64::MIN] {
            assert_eq!(seconds(Some(expires_in), "opaque", None), (300, 0));
        }
        assert_eq!(
            seconds(None, &jwt(r#"{"iat":-9223372036854775808,"exp":9223372036854775807}"#), Some(1)),
            (300, 0)
        );
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
        let lived = |seconds| Lifetime::from_sources(Some(seconds), "opaque", None).is_born_expired();
        assert!(lived(1) && lived(5));
        assert!(!lived(6) && !lived(3600));
    }
}
