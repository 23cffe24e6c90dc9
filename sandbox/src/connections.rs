//! The open connections to the API, and how the emulator ends those that are idle, as servers and middleboxes do.

use serde::Deserialize;
use tokio::sync::watch;

/// How connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HowToEnd {
    /// With FIN, after close_notify if there is TLS.
    Close,
    /// With RST.
    Reset,
    /// As a server does that is stopped: GOAWAY over HTTP/2, and after the running requests FIN.
    Goaway,
}

/// The open connections to the API.
pub(crate) struct Connections {
    asked: watch::Sender<HowToEnd>,
}

/// An open connection.
pub(crate) struct Open {
    asked: watch::Receiver<HowToEnd>,
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self { asked: watch::Sender::new(HowToEnd::Close) }
    }

    pub(crate) fn begin(&self) -> Open {
        Open { asked: self.asked.subscribe() }
    }

    /// Asks all connections to end.
    pub(crate) fn end(&self, how: HowToEnd) {
        self.asked.send_replace(how);
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.asked.receiver_count()
    }
}

impl Open {
    pub(crate) async fn asked_to_end(&mut self) -> HowToEnd {
        // The sender lives as long as the emulator.
        let _ = self.asked.changed().await;
        *self.asked.borrow_and_update()
    }
}
