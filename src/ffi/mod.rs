//! The C interface: one file per noun. Every export goes through `boundary`.
//!
//! An object that C lends for a call is an `Option<&T>`. An output is an `Option<&mut MaybeUninit<*mut T>>`, because C need not
//! have set it. Both are plain pointers in C, with `None` for NULL. The caller of an `unsafe extern "C"` function promises that
//! they are valid. The type of a handle says who owns it (`handle`). The doc comments here become the C header, so they use C's
//! names.

#![allow(unsafe_code, reason = "the C boundary")]
#![allow(non_camel_case_types, reason = "the names are the C header's")]
#![allow(
    clippy::missing_safety_doc,
    reason = "docs/conventions.md states the contract of every pointer once"
)]

mod boundary;
mod client;
mod config;
mod error;
mod event;
mod handle;
mod library;
mod queue;
mod request;
mod response;
mod session;
mod setting;
mod store;
mod store_gate;
mod token;

pub use client::*;
pub use config::*;
pub use error::*;
pub use event::*;
pub use library::*;
pub use queue::*;
pub use request::*;
pub use response::*;
pub use session::*;
pub use setting::*;
pub use store::*;
pub use token::*;
