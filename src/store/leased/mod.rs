//! A store that several machines can share: its lease protocol, and the host's own store under that protocol.

mod conformance;
mod custom;
#[cfg(test)]
mod histories;
mod protocol;
#[cfg(test)]
mod steps;

pub(super) use self::custom::{CustomBackend, STORE_NAME};
pub(super) use self::protocol::{Acquired, Backend, LeaseView, LeasedStore, RecordWrite, new_owner};
pub use conformance::check;
pub use custom::{Host, HostRecord, HostStore};
