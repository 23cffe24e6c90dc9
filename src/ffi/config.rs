//! `pg_config`: the settings of a client or session.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::ptr;

use super::boundary::{closing, fallible, infallible, required, sized_text, text};
use super::handle::{Handle, Owned, give, release};
use super::pg_error;
use super::versions::versioned;
use crate::config::Config;
use crate::status::Status;

versioned!(pg_config_new, pg_config_set, pg_config_set_sized, pg_config_set_from_env, pg_config_free);

/// Settings by name. Used by one thread at a time. Clients and sessions copy what they need from it.
pub struct pg_config {
    pub(super) config: Config,
}

impl Handle for pg_config {
    type Ownership = Owned;
}

/// New settings with their defaults. NULL only after a defect of this library.
#[unsafe(no_mangle)]
pub extern "C" fn pg_config_new() -> *mut pg_config {
    infallible(ptr::null_mut(), || give(pg_config { config: Config::default() }))
}

/// Sets one value. Names, types, ranges and defaults: docs/settings.md, and pg_setting_count for a program.
/// Files are not read here, but by pg_client_new and pg_session_open. A failure changes nothing.
///
/// Errors: PG_ERR_UNKNOWN_SETTING, PG_ERR_INVALID_SETTING, PG_ERR_INSECURE_URL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_config_set(
    config: Option<&mut pg_config>,
    name: *const c_char,
    value: *const c_char,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let config = required(config, "config")?;
        // SAFETY: the caller's texts are valid for the call.
        let (name, value) = unsafe { (text(name, "name")?, text(value, "value")?) };
        config.config.set(name, value)
    })
}

/// pg_config_set with the length of the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_config_set_sized(
    config: Option<&mut pg_config>,
    name: *const c_char,
    value: *const c_char,
    value_length: usize,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let config = required(config, "config")?;
        // SAFETY: the caller's texts are valid for the call.
        let (name, value) = unsafe { (text(name, "name")?, sized_text(value, value_length, "value")?) };
        config.config.set(name, value)
    })
}

/// Sets every setting whose environment variable is set: `base_url` from PAYMENTSGATE_BASE_URL, `tls.ca_file`
/// from PAYMENTSGATE_TLS_CA_FILE, and so on. A failure changes nothing. It reads no other variables, and no
/// other function reads PAYMENTSGATE_ variables. No other thread may change the environment meanwhile.
///
/// Errors: those of pg_config_set; the error text names the variable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_config_set_from_env(
    config: Option<&mut pg_config>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || required(config, "config")?.config.set_from_env(|name| std::env::var_os(name)))
}

/// Frees settings. Clients and sessions made from them stay valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_config_free(config: *mut pg_config) {
    // SAFETY: from pg_config_new, and the caller gives it up; or NULL.
    closing(|| unsafe { release(config) });
}
