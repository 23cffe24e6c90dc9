//! What works on one reactor alone: a connection, whose task that reactor has.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

use tokio::runtime::{Handle, Id};

use super::RUNTIME;
use super::canary::Canary;

/// A value that was made on a reactor, and works only there. If the host has taken the descriptors of the reactor it is never
/// dropped: that would wake the reactor, by a descriptor that may be a file of the host by now.
pub(crate) struct OnReactor<T> {
    value: ManuallyDrop<T>,
    /// None: made outside of any.
    reactor: Option<Id>,
    canary: Option<Arc<Canary>>,
}

impl<T> OnReactor<T> {
    /// A value of the reactor that this thread is in.
    pub(crate) fn new(value: T) -> Self {
        let canary = RUNTIME.get().map(|runtime| runtime.canary());
        OnReactor { value: ManuallyDrop::new(value), reactor: this_reactor(), canary }
    }

    /// Whether this thread is in the reactor of the value. The library has another one after the host has taken the descriptors of the
    /// first.
    pub(crate) fn is_here(&self) -> bool {
        self.reactor == this_reactor()
    }
}

impl<T> Deref for OnReactor<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for OnReactor<T> {
    fn drop(&mut self) {
        if self.canary.as_ref().is_none_or(|canary| canary.is_alive()) {
            // SAFETY: it is dropped here alone, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

fn this_reactor() -> Option<Id> {
    Handle::try_current().ok().map(|reactor| reactor.id())
}
