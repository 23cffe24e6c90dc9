//! What happens when.

use std::time::Duration;

/// How much time passes from one question to the next.
pub(crate) const STEP: Duration = Duration::from_secs(15);
/// When the curtain falls.
pub(crate) const END: Duration = minutes(62);

/// From outside: what neither callers nor the library bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// The service revokes the access token.
    Revocation,
    /// Nothing gets through any more.
    NetworkDown,
    /// Everything does again.
    NetworkUp,
    /// The next refresh arrives, and its answer does not.
    LostAnswer,
}

impl Happening {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Happening::Revocation => "the service revokes the token",
            Happening::NetworkDown => "the network is down",
            Happening::NetworkUp => "the network is back",
            Happening::LostAnswer => "from here on the answer to the next refresh is lost",
        }
    }
}

/// In order. The second token is due for its refresh between the 56th and the 60th minute.
pub(crate) const STORY: [(Duration, Happening); 4] = [
    (minutes(8), Happening::Revocation),
    (minutes(25), Happening::NetworkDown),
    (minutes(30), Happening::NetworkUp),
    (minutes(54), Happening::LostAnswer),
];

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}
