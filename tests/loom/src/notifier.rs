//! Replaces `src/notifier.rs`: a descriptor whose state a model can look at.

use std::os::fd::RawFd;

use crate::error::Error;

pub(crate) struct Notifier {
    readable: bool,
}

impl Notifier {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Notifier { readable: false })
    }

    /// 1 if it is readable.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.readable.into()
    }

    pub(crate) fn set_readable(&mut self, readable: bool) {
        self.readable = readable;
    }
}
