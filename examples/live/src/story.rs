//! The incidents of the hour and their times.

use std::time::Duration;

/// The time between two requests of a caller.
pub(crate) const STEP: Duration = Duration::from_secs(15);
/// The end of the story.
pub(crate) const END: Duration = minutes(62);

/// An incident that neither callers nor the library cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// The service revokes the access token.
    Revocation,
    /// No connection works any more.
    NetworkDown,
    /// Connections work again.
    NetworkUp,
    /// The next refresh reaches the service, but its answer is lost.
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
