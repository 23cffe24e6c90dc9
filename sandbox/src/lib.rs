//! An emulator of the PaymentsGate API on loopback. It behaves like the service where that is known, has a switch where it is
//! not, and injects faults. [`Sandbox::start`] runs it within a test, the binary `pg-sandbox` for any
//! other program.
//!
//! In reading order:
//! - [`Sandbox`] starts, controls and stops everything.
//! - `state` decides on issues, refreshes and access tokens, as pure functions of state, request and time;
//!   `deals` writes the bodies of the other routes, `token` makes tokens, `answer` makes errors.
//! - `switches` are the unknowns of the service, `fault` the faults, `counters` the counts, and `world`
//!   is all of it behind a lock.
//! - `service` handles one request: faults, the decision, more faults; `reply` writes regular and spoilt answers; `wire`
//!   ends a connection at a chosen byte; `port` accepts, does TLS and speaks HTTP, and `connections` ends
//!   those that are idle.
//! - `proxy`, `foreign`, `fixed` and `admin` are the other ports; `certificates`, `credentials` and
//!   `folder` are the files of clients.

mod admin;
mod answer;
mod call;
mod certificates;
mod connections;
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
pub use connections::HowToEnd;
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
