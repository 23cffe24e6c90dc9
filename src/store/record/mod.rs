//! A record: what a store keeps of one account, as bytes, and what each step of a flight makes of it.

mod format;
mod key;
mod keyring;
mod ledger;
mod seal;
mod stamp;

pub(super) use self::ledger::{Bytes, Entry, Found, Ledger};
pub(super) use self::seal::generation;
pub use key::RecordKey;
pub use keyring::Keyring;
