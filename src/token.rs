//! Access tokens with their remaining time, and refresh tokens, which can be presented once.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use once_cell::race::OnceBox;
use ring::digest;

use crate::clock::Moment;
use crate::expiry::Lifetime;
use crate::secret::Secret;

/// An access token and a refresh token, which the service returns from Issue and Refresh.
#[derive(Debug)]
pub struct Pair {
    /// The access token, valid now.
    pub token: Token,
    /// The refresh token for the next pair. The service may leave it out.
    pub refresh: Option<RefreshToken>,
}

/// The right to present a refresh token once. It cannot be cloned, and presenting the token consumes it. It comes back
/// only if no byte of it left, or if the server said that it was not used.
#[derive(Debug)]
pub struct RefreshToken {
    secret: Secret,
    replayed: bool,
}

impl RefreshToken {
    /// A refresh token that has not been presented.
    pub fn new(secret: Secret) -> Self {
        RefreshToken { secret, replayed: false }
    }

    /// The text itself: to send it once, or to pass it to a store or a caller, who then has the right to present it.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// After a replay that did not leave or did not use up the token: the token as it was before the replay.
    pub fn undo_replay(self) -> Result<MaybeSpentRefreshToken, RefreshToken> {
        if self.replayed { Ok(MaybeSpentRefreshToken(self.secret)) } else { Err(self) }
    }

    /// What remains if the call that presents the token is interrupted; `None` on the second presentation.
    pub fn maybe_spent_if_lost(&self) -> Option<MaybeSpentRefreshToken> {
        (!self.replayed).then(|| MaybeSpentRefreshToken(self.secret.clone()))
    }

    /// What remains of a token that was presented and whose fate is unknown.
    pub fn into_maybe_spent(self) -> Option<MaybeSpentRefreshToken> {
        (!self.replayed).then_some(MaybeSpentRefreshToken(self.secret))
    }
}

/// A refresh token that may be spent. It is presented once more only with `on_ambiguous = replay`, or if the session
/// has nothing else left.
#[derive(Debug)]
pub struct MaybeSpentRefreshToken(Secret);

impl MaybeSpentRefreshToken {
    /// The right to present the token once more, and then never again.
    pub fn replay(self) -> RefreshToken {
        RefreshToken { secret: self.0, replayed: true }
    }
}

/// Whether a text can be an access token: a header carries it, so nothing but visible ASCII is possible.
pub(crate) fn is_access_token(text: &Secret) -> bool {
    text.expose().bytes().all(|byte| byte.is_ascii_graphic())
}

/// An access token. Immutable.
#[derive(Clone, Debug)]
pub struct Token {
    /// Sent as `Authorization: Bearer …`.
    pub access: Secret,
    /// How long the token lives.
    pub lifetime: Lifetime,
    /// When the lifetime begins: a moment before the request was sent, so never too late.
    pub anchor: Moment,
    /// Computed on first use, since it is needed for few tokens.
    fingerprint: OnceBox<Fingerprint>,
    /// How many seconds the service's clock was ahead of ours when the token arrived, if the service sent its time.
    pub clock_skew: Option<i64>,
    /// How many tokens in a row before this one the service refused soon after it had issued them.
    pub refused_young: u32,
}

impl Token {
    /// A token whose request was sent at `anchor` or later.
    pub fn new(access: Secret, lifetime: Lifetime, anchor: Moment) -> Self {
        Token { access, lifetime, anchor, fingerprint: OnceBox::new(), clock_skew: None, refused_young: 0 }
    }

    /// The fingerprint of the token, which is safe to show.
    pub fn fingerprint(&self) -> &Fingerprint {
        self.fingerprint.get_or_init(|| Box::new(Fingerprint::of(&self.access)))
    }

    /// Whether the wall clock ran ahead of the boot clock since the token arrived: the machine was restored from an
    /// image, or its clock was set. A token that never expires does not age by that.
    pub fn wall_has_jumped(&self, now: Moment) -> bool {
        !self.lifetime.is_endless() && now.wall_has_jumped(self.anchor)
    }

    /// The remaining lifetime of the access token; zero if it has expired.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.lifetime.length.saturating_sub(now.since(self.anchor))
    }
}

/// An access token, with the refresh token that obtains the next pair if there is one. Counted, immutable;
/// the last pg_token_free zeroes the texts.
#[derive(Debug)]
pub struct Grant {
    /// The access token, valid now.
    pub token: Token,
    /// Which pair of its session this is, from 1; 0: of no session.
    pub generation: u64,
    /// The refresh token, for a bare call. A session keeps its own refresh token to itself. Boxed: most grants have none.
    pub refresh: Option<Box<RefreshToken>>,
}

impl Grant {
    /// The result of a bare call.
    pub fn bare(Pair { token, refresh }: Pair) -> Self {
        Grant { token, generation: 0, refresh: refresh.map(Box::new) }
    }
}

/// The first 64 bits of a token's SHA-256: enough to tell tokens apart, but useless for authentication.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// 16 hexadecimal digits and a NUL, so that C can borrow it as it is.
    digits: [u8; 17],
}

impl Fingerprint {
    /// The fingerprint of a token.
    pub fn of(token: &Secret) -> Self {
        let hash = digest::digest(&digest::SHA256, token.expose().as_bytes());
        let mut digits = [0; 17];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(hash.as_ref()) {
            pair.copy_from_slice(
                &[byte >> 4, byte & 15].map(|nibble| b"0123456789abcdef"[usize::from(nibble)]),
            );
        }
        Fingerprint { digits }
    }

    /// The text with its closing NUL.
    pub fn with_nul(&self) -> &[u8] {
        &self.digits
    }
}

/// As [`Fingerprint`] is displayed: 16 hexadecimal digits in lower case.
impl FromStr for Fingerprint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let given: [u8; 16] = text.as_bytes().try_into().map_err(|_| ())?;
        let mut digits = [0; 17];
        digits[..16].copy_from_slice(&given);
        given.iter().all(is_digit).then_some(Fingerprint { digits }).ok_or(())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits[..16].iter().try_for_each(|digit| write!(f, "{}", char::from(*digit)))
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
    fn a_fingerprint_is_read_as_it_is_shown() {
        let shown = Fingerprint::of(&Secret::new("a token").unwrap());
        assert!(shown.to_string().parse() == Ok(shown));
        for wrong in ["", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "0123456789abcde\u{e9}"]
        {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_remains_is_counted_on_the_boot_clock_and_saturates() {
        let lifetime = Lifetime::of(Duration::from_secs(3600));
        let token = Token::new(Secret::new("a").unwrap(), lifetime, at(100));
        assert_eq!(token.remaining(at(160)), Duration::from_secs(3540));
        assert_eq!(token.remaining(at(9999)), Duration::ZERO);
        assert_eq!(token.remaining(at(0)), Duration::from_secs(3600));
    }

    #[test]
    fn only_the_fingerprint_is_shown() {
        let lifetime = Lifetime::of(Duration::from_secs(9));
        let token = Token::new(Secret::new("abc").unwrap(), lifetime, at(1));
        // SHA-256("abc") begins ba7816bf 8f01cfea: FIPS 180-4.
        assert_eq!(token.fingerprint().to_string(), "ba7816bf8f01cfea");
        let pair = Pair { token, refresh: Secret::new("hunter2").map(RefreshToken::new) };
        let shown = format!("{pair:?}");
        assert!(!shown.contains("abc") && !shown.contains("hunter2"), "{shown}");
    }
}
