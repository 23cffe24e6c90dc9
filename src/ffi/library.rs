//! Versions and names.

use std::ffi::{CStr, CString, c_char};

use once_cell::race::OnceBox;

use super::boundary::{c_text, infallible};
use super::versions::versioned;
use crate::status::Status;

versioned!(pg_version, pg_abi_version, pg_status_name);

/// The number of this ABI, and the number at the end of the SONAME. It grows only if a program built with an
/// older header would break.
pub const PG_ABI_VERSION: u32 = 1;

/// A timeout: the setting `issue_timeout_ms`, `refresh_timeout_ms` or `request_timeout_ms`; without limit for
/// the token of a session, an event of a queue, and pg_session_close.
pub const PG_TIMEOUT_DEFAULT: i64 = -1;

/// The version of the loaded library, for example "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn pg_version() -> *const c_char {
    infallible(c"".as_ptr(), || {
        const VERSION: &CStr =
            match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
                Ok(text) => text,
                Err(_) => c"",
            };
        VERSION.as_ptr()
    })
}

/// The ABI of the loaded library. A wrapper that loads it at run time compares this with the PG_ABI_VERSION
/// of its header, before any other call.
#[unsafe(no_mangle)]
pub extern "C" fn pg_abi_version() -> u32 {
    infallible(0, || PG_ABI_VERSION)
}

/// The name of a status, for example "PG_ERR_TIMEOUT"; "PG_ERR_UNKNOWN_STATUS" for a number that this version
/// does not know.
#[unsafe(no_mangle)]
pub extern "C" fn pg_status_name(status: i32) -> *const c_char {
    infallible(c"".as_ptr(), || status_name(status).as_ptr())
}

fn status_name(status: i32) -> &'static CStr {
    // OnceBox takes no lock: a fork could leave a lock held in the child.
    static NAMES: OnceBox<Vec<CString>> = OnceBox::new();
    let names = NAMES
        .get_or_init(|| Box::new(Status::ALL.iter().map(|status| c_text(&format!("{status:?}"))).collect()));
    let index = Status::ALL.iter().position(|known| *known as i32 == status);
    index.and_then(|index| names.get(index)).map_or(c"PG_ERR_UNKNOWN_STATUS", CString::as_c_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_own_name() {
        for status in Status::ALL {
            assert_eq!(status_name(*status as i32).to_str().unwrap(), format!("{status:?}"));
        }
        assert_eq!(status_name(-7), c"PG_ERR_UNKNOWN_STATUS");
    }
}
