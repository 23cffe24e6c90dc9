//! What the library says of itself.

use std::ffi::{CStr, CString, c_char};

use once_cell::race::OnceBox;

use super::boundary::{c_text, infallible};
use crate::status::Status;

/// The number of this ABI. It grows only when a program built against an older header would break, and it is
/// the number at the end of the SONAME.
pub const PG_ABI_VERSION: u32 = 1;

/// As a timeout: what the settings `issue_timeout_ms`, `refresh_timeout_ms` and `request_timeout_ms` say; for a token of a
/// session and an event of a queue, as long as it takes.
pub const PG_TIMEOUT_DEFAULT: i64 = -1;

/// The version of the library that is loaded, for example "0.1.0". Static text; any thread; never blocks.
///
/// Since 0.1.0.
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

/// The ABI of the library that is loaded. A wrapper that loads the library at run time compares it with the
/// PG_ABI_VERSION of the header it was written for, before any other call. Any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn pg_abi_version() -> u32 {
    infallible(0, || PG_ABI_VERSION)
}

/// The name of a status, for example "PG_ERR_TIMEOUT"; for a number that this version does not know,
/// "PG_ERR_UNKNOWN_STATUS". Static text; any thread; never blocks.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub extern "C" fn pg_status_name(status: i32) -> *const c_char {
    infallible(c"".as_ptr(), || status_name(status).as_ptr())
}

fn status_name(status: i32) -> &'static CStr {
    // OnceBox takes no lock, which a fork could leave locked in the child for ever.
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
