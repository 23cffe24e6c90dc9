//! A record: the bytes that a store keeps for one account, and how each step of a flight changes them.

mod format;
mod key;
mod keyring;
mod ledger;
mod seal;
mod stamp;
#[cfg(test)]
mod steps;

pub(super) use self::ledger::{Bytes, Entry, Found, Ledger};
pub(super) use self::seal::generation;
pub use key::RecordKey;
pub use keyring::Keyring;
