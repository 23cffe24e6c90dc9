//! A record: the bytes that a store keeps for one account, and how each step of a flight changes them.

mod format;
mod key;
mod keyring;
mod ledger;
mod seal;
mod stamp;
#[cfg(test)]
mod steps;

#[cfg(test)]
pub(super) use self::format::tests::records;
pub(super) use self::ledger::{Bytes, Entry, Found, Ledger};
pub(super) use self::seal::generation;
#[cfg(test)]
pub(super) use self::seal::wrap;
pub use key::RecordKey;
pub use keyring::Keyring;
