//! Keeps a PaymentsGate session alive, for programs in C, C++, Python and Go.
//!
//! The house, in reading order. Arrows point down only: what stands lower knows nothing of what stands higher.
//!
//! | room | what it is for |
//! |---|---|
//! | [`ffi`] | the C interface: one file per C noun, one boundary for panics and pointers |
//! | [`session`] | one account's life: a pure machine that decides, a driver that performs |
//! | [`store`] | where a session's pair lives, and who may present its refresh token |
//! | [`queue`] | waiting without blocking: each operation that is started ends in one event |
//! | [`client`] | the two calls, Issue and Refresh, under a deadline |
//! | `allocator` | memory that is wiped when it is freed |
//! | `runtime` | the process's one thread of ours, threads for what may block, what a fork must not inherit, and what many read while one replaces it |
//! | `sync` | locks and atomics of the parts that several threads share |
//! | [`protocol`] | requests and answers of the service, and what an answer means |
//! | [`transport`] | HTTPS, and whether a byte has left |
//! | [`config`] | the settings and their one table |
//! | [`request`] | requests to the rest of the API, and when one is made again |
//! | `rotation` | files that are replaced while the program runs |
//! | [`event`] | what comes out of a queue |
//! | [`credentials`], [`token`], [`expiry`], [`secret`], [`clock`], [`error`], [`status`], `random` | small values, no network |

#[cfg(feature = "wipe-on-free")]
mod allocator;
pub mod client;
pub mod clock;
pub mod config;
pub mod credentials;
mod defect;
pub mod error;
pub mod event;
pub mod expiry;
pub mod ffi;
mod notifier;
pub mod protocol;
pub mod queue;
mod random;
pub mod request;
mod rotation;
mod runtime;
pub mod secret;
pub mod session;
pub mod status;
pub mod store;
mod sync;
pub mod token;
pub mod transport;
