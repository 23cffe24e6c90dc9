//! An explorer with an oracle: overlapping incidents, drawn at random from everything that the service, the network, the store
//! and the platform can do, happen to real sessions in real processes. The oracle is invariant 6 of docs/lifecycle.md: when
//! everything has been healthy for two seconds, every business call that starts succeeds, whatever happened before.
//!
//! In reading order: [`incidents`] (what can happen), [`history`] (what happens in which order), [`worlds`] (the service,
//! the store and the processes that it happens to), [`user`] and [`program`] (one of these processes, from outside and inside), [`oracle`] (the judge), [`shrink`]
//! (the smallest failing history).
//!
//! The store of a history is `Memory`, `File` or `Redis`; in a history `Pair` there are no credentials either: each session
//! is opened from a pair alone.
//!
//! - `PG_EXPLORE_SECONDS=600 cargo test --test explorer -- --nocapture` explores for this long, from a new seed each time; without it
//!   the same histories run for a minute.
//! - `PG_EXPLORE_FAILURES=20` continues until this many histories have failed, and then makes one of each kind smaller.
//! - `PG_EXPLORE_WITHOUT=Revoke,Hang` leaves out incidents whose names contain these words.
//! - `PG_SEED=7` runs one history again; with `PG_KEEP=0,4` only with these incidents.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the program prints figures")]

mod clock;
mod explore;
mod history;
mod incidents;
mod oracle;
mod program;
mod road;
#[path = "../support/redis_server.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod server;
mod shrink;
mod stores;
mod user;

mod worlds;
