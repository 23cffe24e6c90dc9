//! Keeps a PaymentsGate session alive, for programs in C, C++, Python and Go.
//!
//! # Rooms
//!
//! The table is in reading order. A room uses rooms below it and none above it; `tests/source_map` fails where that is not so.
//!
//! | room | what it is for |
//! |---|---|
//! | [`ffi`] | the C interface: one file per C noun, one boundary for panics and pointers |
//! | [`session`] | one account's life: a pure state machine that decides, a driver that performs |
//! | [`client`] | the two calls, Issue and Refresh, under a deadline; it opens stores |
//! | [`config`] | the settings and their one table |
//! | [`store`] | where a session's pair is kept, and who may present its refresh token |
//! | [`queue`] | waiting without blocking: each operation that is started ends in one event |
//! | [`event`] | what comes out of a queue |
//! | [`request`] | requests to the rest of the API, and when one is repeated |
//! | [`protocol`] | requests and answers of Issue and Refresh, and what an answer means |
//! | [`transport`] | HTTPS, and whether a byte has left |
//! | [`credentials`] | the account and its public key |
//! | `rotation` | files that are replaced while the program runs |
//! | `notifier` | a descriptor that is readable while events wait |
//! | `runtime` | the reactor that callers and the library's one thread drive, threads for calls that may block, fork, and hazard pointers |
//! | `defect` | a panic becomes an error |
//! | `sync` | locks and atomics, which the models in `tests/loom` replace |
//! | `allocator` | memory that is wiped when it is freed |
//! | [`redaction`] | no secret in a text that others have written |
//! | [`token`], [`expiry`], [`secret`], [`clock`], [`error`], [`status`], `random` | small values, no network |
//!
//! # For Rust programs
//!
//! The API of the crate is the list of names at its root. The modules are public for the tests of this repository alone: they
//! may change in any release.

#![deny(clippy::disallowed_types)]

#[cfg(feature = "wipe-on-free")]
mod allocator;
#[doc(hidden)]
pub mod client;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod credentials;
mod defect;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod event;
#[doc(hidden)]
pub mod expiry;
#[doc(hidden)]
pub mod ffi;
mod notifier;
#[doc(hidden)]
pub mod protocol;
#[doc(hidden)]
pub mod queue;
mod random;
#[doc(hidden)]
pub mod redaction;
#[doc(hidden)]
pub mod request;
mod rotation;
mod runtime;
#[doc(hidden)]
pub mod secret;
#[doc(hidden)]
pub mod session;
#[doc(hidden)]
pub mod status;
#[doc(hidden)]
pub mod store;
mod sync;
#[doc(hidden)]
pub mod token;
#[doc(hidden)]
pub mod transport;

pub use client::Client;
pub use clock::{BootId, Clock, Moment, SystemClock};
pub use config::{Config, Kind, SETTINGS, Setting};
pub use credentials::{Credentials, read_file};
pub use error::{Error, ServerError};
pub use event::{Body, Event, Level, Notice, Operation};
pub use expiry::Lifetime;
pub use queue::Queue;
pub use redaction::path_text;
pub use request::{ApiRequest, Response};
pub use runtime::sharded_arc::{Published, ShardedArc};
pub use secret::Secret;
pub use session::Session;
pub use session::forward::{AnswerBody, ForwardedBody, ForwardedRequest, Forwarder};
pub use session::health::{Counters, Health};
pub use session::metrics::of_client as client_metrics;
pub use session::operator::{Operator, Renewal};
pub use session::outcome::{FlightOutcome, FlightStats};
pub use session::phase::{Phase, Windows};
pub use session::rejection::ReportVerdict;
pub use status::{Fate, Status};
pub use store::{Committed, Form, Host, HostRecord, HostStore, Inspection, Refusal};
pub use token::{Fingerprint, Grant, Pair, RefreshToken, Token};
pub use transport::{ProxyReason, ProxyRoute, RawResponse};
