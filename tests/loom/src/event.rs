//! Replaces `src/event.rs`: what a queue must know of its events.

use crate::error::Error;
use crate::status::Status;

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: u64,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Done,
    Ended(Error),
    Log(()),
}

#[derive(Clone, Copy)]
pub(crate) struct Operation;

impl Operation {
    pub(crate) fn failed(self, error: Error) -> Body {
        Body::Ended(error)
    }

    pub(crate) fn canceled(self) -> Body {
        self.failed(Error::new(Status::PG_ERR_CANCELED, "canceled"))
    }

    pub(crate) fn lost(self) -> Body {
        self.failed(Error::new(Status::PG_ERR_INTERNAL, "lost"))
    }
}
