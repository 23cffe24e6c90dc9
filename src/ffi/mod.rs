//! The C interface. One file per noun; every export goes through `boundary`.
//!
//! A pointer that the caller lends for the call is an `Option<&T>`, an output an `Option<&mut *mut T>`: both are plain C
//! pointers, NULL is `None`, and that they are good for the call is the promise of an `unsafe extern "C"` function's
//! caller. What C holds for longer is a `Handle`. The doc comments here become the C header, so they speak C.

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
