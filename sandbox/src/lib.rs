//! An emulator of the PaymentsGate API on loopback: honest where the service is known, a switch where it is
//! not, and faults on demand. [`Sandbox::start`] runs it within a test, the binary `pg-sandbox` beside any
//! other program.
//!
//! In reading order:
//! - [`Sandbox`] starts, steers and stops everything.
//! - `state` decides: issue, refresh, and whom a token lets in, as plain functions of state, request and time;
//!   `deals` writes the bodies of the other routes, `token` makes tokens, `answer` knows the shape of an error.
//! - `switches` are the unknowns of the service, `fault` what can go wrong, `counters` what was seen, `world`
//!   all of it behind a lock.
//! - `service` leads one request through faults and decision; `reply` writes answers, spoilt ones too; `wire`
//!   ends a connection at a chosen byte; `port` accepts, does TLS and speaks HTTP.
//! - `proxy`, `foreign`, `fixed` and `admin` are the ports beside the service; `certificates`, `credentials` and
//!   `folder` what clients need.

mod admin;
mod answer;
mod call;
mod certificates;
mod counters;
mod credentials;
mod deals;
mod error;
mod fault;
mod fixed;
mod folder;
mod foreign;
mod journal;
mod port;
mod proxy;
mod reply;
mod route;
mod sandbox;
mod service;
mod state;
mod switches;
mod token;
mod wire;
mod world;

pub use call::Call;
pub use counters::{Counters, Listener, RouteCounters};
pub use credentials::Credentials;
pub use error::Error;
pub use fault::{Action, Fault, Form, Point};
pub use journal::{Entry, Use};
pub use route::Route;
pub use sandbox::{Address, Options, Sandbox, Urls};
pub use state::Revoke;
pub use switches::{
    BearerOnRefresh, DateHeader, DetailsKey, ExpiresInForm, RateLimit, RetryAfter, Rotation, Switches,
};
pub use token::fingerprint;
