//! Tokens: the access token with the time it has left, and the refresh token that can be presented once.

use std::fmt;
use std::time::Duration;

use ring::digest;

use crate::clock::Moment;
use crate::expiry::Lifetime;
use crate::secret::Secret;

/// What the service gives for credentials or for a refresh token.
#[derive(Debug)]
pub struct Pair {
    /// Works now.
    pub token: Token,
    /// Buys the next pair; the service may leave it out.
    pub refresh: Option<RefreshToken>,
}

/// The right to present a refresh token once. It cannot be cloned: presenting it consumes it, and it comes back
/// only if no byte of it left or the server said that it was not used.
#[derive(Debug)]
pub struct RefreshToken(Secret);

impl RefreshToken {
    /// A refresh token that has not been presented.
    pub fn new(secret: Secret) -> Self {
        RefreshToken(secret)
    }

    /// The text itself: to be sent once, or to be kept by a store or a caller who then has the right.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

/// An access token. Immutable.
#[derive(Debug)]
pub struct Token {
    /// Goes into `Authorization: Bearer …`.
    pub access: Secret,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// From when the lifetime counts: taken before the request was sent, so never too late.
    pub anchor: Moment,
    /// The name under which it may be shown.
    pub fingerprint: Fingerprint,
}

impl Token {
    /// A token whose request began to leave at `anchor`.
    pub fn new(access: Secret, lifetime: Lifetime, anchor: Moment) -> Self {
        let fingerprint = Fingerprint::of(&access);
        Token { access, lifetime, anchor, fingerprint }
    }

    /// What is left of the access token's life; zero when it has expired.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.lifetime.length.saturating_sub(now.since(self.anchor))
    }
}

/// The first 64 bits of a token's SHA-256: enough to tell tokens apart, nothing to log in with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a token.
    pub fn of(token: &Secret) -> Self {
        let hash = digest::digest(&digest::SHA256, token.expose().as_bytes());
        Fingerprint(hash.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment { boot: Duration::from_secs(seconds), wall: Duration::ZERO }
    }

    #[test]
    fn what_remains_is_counted_on_the_boot_clock_and_saturates() {
        let lifetime = Lifetime { length: Duration::from_secs(3600), disagreement: Duration::ZERO };
        let token = Token::new(Secret::new("a").unwrap(), lifetime, at(100));
        assert_eq!(token.remaining(at(160)), Duration::from_secs(3540));
        assert_eq!(token.remaining(at(9999)), Duration::ZERO);
        assert_eq!(token.remaining(at(0)), Duration::from_secs(3600));
    }

    #[test]
    fn only_the_fingerprint_is_shown() {
        let lifetime = Lifetime { length: Duration::from_secs(9), disagreement: Duration::ZERO };
        let token = Token::new(Secret::new("abc").unwrap(), lifetime, at(1));
        // SHA-256("abc") begins ba7816bf 8f01cfea: FIPS 180-4.
        assert_eq!(token.fingerprint.to_string(), "ba7816bf8f01cfea");
        let pair = Pair { token, refresh: Secret::new("hunter2").map(RefreshToken::new) };
        let shown = format!("{pair:?}");
        assert!(!shown.contains("abc") && !shown.contains("hunter2"), "{shown}");
    }
}
