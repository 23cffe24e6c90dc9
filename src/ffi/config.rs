//! `pg_config`: the settings a client is made from.

use std::ffi::c_char;
use std::ptr;

use super::boundary::{fallible, infallible, required, sized_text, text};
use super::handle::{Handle, Owned, give, release};
use super::pg_error;
use crate::config::Config;
use crate::status::Status;

/// Settings, by name. Owned by the caller, who frees it with pg_config_free. Not to be used from two threads at
/// once; making clients from it copies it.
pub struct pg_config {
    pub(super) config: Config,
}

impl Handle for pg_config {
    type Ownership = Owned;
}

/// New settings, all at their defaults. Owned by the caller. NULL only after a defect of this library. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn pg_config_new() -> *mut pg_config {
    infallible(ptr::null_mut(), || give(pg_config { config: Config::default() }))
}

/// Sets one value. Names, types, ranges and defaults are in the table: see pg_setting_count and docs/settings.md.
/// The texts are copied. A failure changes nothing. Files are not read here but by pg_client_new. Never blocks.
///
/// Errors: PG_ERR_UNKNOWN_SETTING, PG_ERR_INVALID_SETTING, PG_ERR_INSECURE_URL, PG_ERR_NULL_POINTER,
/// PG_ERR_INVALID_UTF8.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_config_set(
    config: Option<&mut pg_config>,
    name: *const c_char,
    value: *const c_char,
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || {
        let config = required(config, "config")?;
        // SAFETY: the caller's texts, good for the call.
        let (name, value) = unsafe { (text(name, "name")?, text(value, "value")?) };
        config.config.set(name, value)
    })
}

/// pg_config_set for a value that is not NUL-terminated: `value_length` bytes of UTF-8.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_config_set_sized(
    config: Option<&mut pg_config>,
    name: *const c_char,
    value: *const c_char,
    value_length: usize,
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || {
        let config = required(config, "config")?;
        // SAFETY: the caller's texts, good for the call.
        let (name, value) = unsafe { (text(name, "name")?, sized_text(value, value_length, "value")?) };
        config.config.set(name, value)
    })
}

/// Takes every setting whose variable is set in the environment: `base_url` from PAYMENTSGATE_BASE_URL,
/// `tls.ca_file` from PAYMENTSGATE_TLS_CA_FILE, and so on. All or nothing. Other variables are not looked at, and no
/// other function reads PAYMENTSGATE_ variables. Not while another thread changes the environment. Never blocks.
///
/// Errors: those of pg_config_set; the text names the variable.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_config_set_from_env(
    config: Option<&mut pg_config>,
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || required(config, "config")?.config.set_from_env(|name| std::env::var_os(name)))
}

/// Frees settings. NULL is fine. Clients made from them live on. Never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_config_free(config: *mut pg_config) {
    // SAFETY: NULL, or from pg_config_new, and the caller gives it up.
    infallible((), || unsafe { release(config) });
}
