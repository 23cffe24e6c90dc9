//! Owners of objects of the C interface, and what holds for the outputs of every call.

use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;

use paymentsgate_auth::Status;
use paymentsgate_auth::ffi::*;

use super::super::scripted::check_text;

/// One ownership of an object, which is given up once.
pub struct Owner<T> {
    object: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

// SAFETY: any thread may use the objects of the C interface, and free them.
unsafe impl<T> Send for Owner<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Owner<T> {}

impl<T> Owner<T> {
    pub fn new(object: *mut T, free: unsafe extern "C" fn(*mut T)) -> Self {
        assert!(!object.is_null());
        Owner { object, free }
    }

    pub fn get(&self) -> Option<&T> {
        // SAFETY: the object lives as long as this owner.
        unsafe { self.object.as_ref() }
    }

    #[allow(clippy::mut_from_ref, reason = "settings are used by one thread at a time")]
    pub fn get_mut(&self) -> Option<&mut T> {
        // SAFETY: as above; settings alone are changed, by one thread at a time.
        unsafe { self.object.as_mut() }
    }

    pub fn pointer(&self) -> *mut T {
        self.object
    }
}

impl<T> fmt::Debug for Owner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<T>())
    }
}

impl<T> Drop for Owner<T> {
    fn drop(&mut self) {
        // SAFETY: this ownership ends here.
        unsafe { (self.free)(self.object) };
    }
}

type Out<'a, T> = Option<&'a mut MaybeUninit<*mut T>>;

/// A call with an output: an object and PG_OK, or an error with a status of the list.
pub fn produced<T>(
    free: unsafe extern "C" fn(*mut T),
    call: impl FnOnce(Out<'_, T>, Out<'_, pg_error>) -> Status,
) -> Result<Owner<T>, Owner<pg_error>> {
    found(free, call).map(|object| object.expect("PG_OK comes with an object"))
}

/// As `produced`, where PG_OK may come with NULL.
pub fn found<T>(
    free: unsafe extern "C" fn(*mut T),
    call: impl FnOnce(Out<'_, T>, Out<'_, pg_error>) -> Status,
) -> Result<Option<Owner<T>>, Owner<pg_error>> {
    // Garbage, which the call must replace.
    let mut out = MaybeUninit::new(ptr::dangling_mut());
    let result = checked(|error| call(Some(&mut out), error));
    // SAFETY: initialized above.
    let object = unsafe { out.assume_init() };
    let object = (!object.is_null()).then(|| Owner::new(object, free));
    match result {
        Ok(()) => Ok(object),
        Err(error) => {
            assert!(object.is_none(), "an error comes with NULL");
            Err(error)
        }
    }
}

/// A call without an output.
pub fn checked(call: impl FnOnce(Out<'_, pg_error>) -> Status) -> Result<(), Owner<pg_error>> {
    let mut error = MaybeUninit::new(ptr::dangling_mut());
    let status = call(Some(&mut error));
    assert!(Status::ALL.contains(&status));
    // SAFETY: initialized above.
    let error = unsafe { error.assume_init() };
    if status == Status::PG_OK {
        assert!(error.is_null(), "PG_OK comes without an error");
        return Ok(());
    }
    let error = Owner::new(error, pg_error_free);
    // SAFETY: the error is valid.
    assert_eq!(unsafe { pg_error_status(error.get()) }, status);
    check_error(error.get());
    Err(error)
}

pub fn succeeded(call: impl FnOnce(Out<'_, pg_error>) -> Status) {
    if let Err(error) = checked(call) {
        // SAFETY: the error is valid.
        panic!("{:?}", borrowed(unsafe { pg_error_text(error.get()) }));
    }
}

/// Reads all of an error.
pub fn check_error(error: Option<&pg_error>) {
    // SAFETY: the error is valid, or NULL.
    unsafe {
        let status = pg_error_status(error);
        let text = borrowed(pg_error_text(error)).expect("an error has a text");
        assert!(status != Status::PG_ERR_INTERNAL && status != Status::PG_ERR_INVALID_UTF8, "{text}");
        check_text(&text);
        for text in
            [pg_error_server_code(error), pg_error_server_message(error), pg_error_server_details(error)]
        {
            borrowed(text).iter().for_each(|text| check_text(text));
        }
        assert!(pg_error_retry_after_ms(error) >= -1 && (0..1000).contains(&pg_error_http_status(error)));
        assert!(Status::ALL.contains(&pg_error_cause(error)));
        let lost = pg_error_refresh_token_fate(error) as i32 > 2;
        assert!(!lost || (pg_error_needs_credentials(error) && !pg_error_is_retryable(error)));
    }
}

/// A text that the library lends.
pub fn borrowed(text: *const c_char) -> Option<String> {
    // SAFETY: NULL, or a text with its NUL.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned())
}

pub fn c_text(text: &str) -> CString {
    CString::new(text).unwrap()
}
