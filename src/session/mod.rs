//! One account's life: a token that works, at any moment, from any thread.

pub mod flight;
pub mod login;
pub mod machine;
pub mod phase;
pub mod rejection;
