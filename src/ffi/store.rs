//! `pg_store`: a store of the program's own.

use std::ffi::{CStr, c_char, c_void};
use std::mem::{MaybeUninit, offset_of};
use std::sync::Arc;
use std::time::Duration;
use std::{ptr, slice};

use zeroize::Zeroizing;

use super::boundary::{fallible, infallible, invalid, null, required};
use super::handle::{Borrowed, Handle};
use super::{pg_config, pg_error};
use crate::error::Error;
use crate::runtime::run_blocking;
use crate::status::Status;
use crate::store::{Host, HostRecord, HostStore, check};

/// A failure shows so much of what the store says.
const MAX_REASON_LENGTH: usize = 200;

/// A store of the program's own, so that sessions can be shared and kept wherever the program keeps its data: four
/// callbacks, and what belongs to them. docs/custom-store.md has the contract at length, with the SQL for PostgreSQL and
/// SQLite; pg_store_check tests whether a store keeps it.
///
/// A record is bytes with a version, under a key, which is a text of at most 64 letters, digits and `-`. A lock is an
/// owner (a text of the same kind) under the same key, with the time when its lease ends by the store's own clock; it may
/// lie in another table, and nothing but `lock` and `unlock` heeds it. Each callback must be atomic, as one statement or
/// transaction of a database is: any number of threads, processes and machines call at once.
///
/// Every callback is given `context`, and answers 1 (yes), 0 (no) or, with `return pg_reply_failure(reply, "why")`, -1: it
/// failed, and the session goes on as if the store were down (see the setting `on_store_down`). `reply` and the texts are
/// good until the callback returns.
///
/// The callbacks are called on threads of the library's that may block, up to eight at a time for each store of a process, with
/// all signals blocked; for one session one after the other. After 5 s the library waits no longer and goes on as after a failure: what
/// the callback then does late must still be whole. A callback must not let a C++ exception out, end the thread, or call a
/// session that it serves. In a forked child the same callbacks are called: the child must open a database connection of its own.
///
/// Records hold tokens in clear unless the setting `store_key` is set.
///
/// Since 0.1.0.
#[repr(C)]
pub struct pg_store {
    /// sizeof(pg_store): later versions may have more members.
    pub size: usize,
    /// Whatever the callbacks need. May be NULL.
    pub context: *mut c_void,
    /// Takes the lock for `lease_ms` (six seconds) from now on, if nobody has it, or the lease of its last holder is over; begins the lease
    /// anew if `owner` has it. 1: `owner` has it now. 0: somebody else has it.
    pub lock: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            key: *const c_char,
            owner: *const c_char,
            lease_ms: u32,
            reply: *mut pg_reply,
        ) -> i32,
    >,
    /// Frees the lock, if `owner` has it. 1: it is freed. 0: `owner` did not have it, and nothing has changed.
    pub unlock: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            key: *const c_char,
            owner: *const c_char,
            reply: *mut pg_reply,
        ) -> i32,
    >,
    /// Reads the record, as last saved by anybody (not from a replica that lags): `return pg_reply_record(reply, version,
    /// bytes, length)`. 0: there is none.
    pub load:
        Option<unsafe extern "C" fn(context: *mut c_void, key: *const c_char, reply: *mut pg_reply) -> i32>,
    /// Replaces the record, and its version by `version`, if its version is `expected_version`; 0 stands for: there is no
    /// record yet. Versions are below 2^63. 1: it is saved, durably. 0: another version is there, and nothing has changed.
    pub save: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            key: *const c_char,
            expected_version: u64,
            version: u64,
            bytes: *const u8,
            length: usize,
            reply: *mut pg_reply,
        ) -> i32,
    >,
    /// The context is not needed any more: the settings and all sessions that were opened with them are gone, and so is the
    /// last callback. Called once, on any thread, perhaps from within pg_config_free or pg_session_free; in a forked child
    /// perhaps not at all. May be NULL.
    pub free: Option<unsafe extern "C" fn(context: *mut c_void)>,
}

/// What a callback of pg_store answers besides its number. Belongs to the library; good until the callback returns.
#[derive(Default)]
pub struct pg_reply {
    record: Option<HostRecord>,
    failure: Option<String>,
}

impl Handle for pg_reply {
    type Ownership = Borrowed;
}

/// The answer of `load`: the record, whose bytes are copied. The version is the one that it was saved under. Answers what
/// the callback is to return: 1, or -1 where `reply` or `bytes` is NULL, or `version` 0.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_reply_record(
    reply: Option<&mut pg_reply>,
    version: u64,
    bytes: *const u8,
    length: usize,
) -> i32 {
    infallible(-1, || {
        let Some(reply) = reply else { return -1 };
        let is_sound = version > 0 && isize::try_from(length).is_ok() && (length == 0 || !bytes.is_null());
        if !is_sound {
            reply.failure = Some("pg_reply_record was given version 0, or bytes that cannot be".into());
            return -1;
        }
        // SAFETY: not null unless there are none; the caller's contract makes `length` bytes readable.
        let bytes = if length == 0 { &[] } else { unsafe { slice::from_raw_parts(bytes, length) } };
        reply.record = Some(HostRecord { version, record: Zeroizing::new(bytes.to_vec()) });
        1
    })
}

/// The answer of a callback that failed, with the reason for a person, which is copied; NULL: none is known. The library's
/// error shows the first line of it, at most 200 characters: leave bytes of records out. Answers -1, for the callback to
/// return.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_reply_failure(reply: Option<&mut pg_reply>, text: *const c_char) -> i32 {
    infallible(-1, || {
        if let Some(reply) = reply
            && !text.is_null()
        {
            // SAFETY: not null; the caller's contract ends it with a NUL.
            let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
            let line = text.lines().next().unwrap_or_default();
            let reason: String =
                line.chars().filter(|char| !char.is_control()).take(MAX_REASON_LENGTH).collect();
            reply.failure = Some(reason).filter(|reason| !reason.is_empty());
        }
        -1
    })
}

/// Sessions that are opened with these settings keep their pair in a store of the program's own, which all processes and
/// machines share that have access to it. The table is copied. A failure changes nothing, and `free` is then not called. Not
/// together with the setting `store`. Never blocks.
///
/// Errors: PG_ERR_NULL_POINTER (also for a callback that is missing), PG_ERR_INVALID_ARGUMENT (`size`).
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_config_set_store(
    config: Option<&mut pg_config>,
    store: *const pg_store,
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || {
        let config = required(config, "config")?;
        // SAFETY: the caller's table, good for the call.
        let table = unsafe { CallbackTable::of(store, true) }?;
        config.config.set_store(HostStore::new(Arc::new(table)));
        Ok(())
    })
}

/// Puts every promise of pg_store to the test, on keys of its own that begin with "check-": exclusion, leases that end,
/// versions that are compared, bytes that come back as they were, and eight threads at once. For the tests of a program,
/// against a database like the real one. What it saves stays there. Calls the callbacks on threads of its own; `free` is not
/// called. Blocks for about a second.
///
/// Errors: PG_ERR_INVALID_ARGUMENT (the text says which promise is broken), PG_ERR_STORE (a callback failed), PG_ERR_TIMEOUT
/// (one has not returned within 5 s: it is left to itself, with the context), PG_ERR_NULL_POINTER.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_store_check(store: *const pg_store, error: Option<&mut *mut pg_error>) -> Status {
    fallible(error, || {
        // SAFETY: the caller's table, good for the call.
        let table = unsafe { CallbackTable::of(store, false) }?;
        check(&HostStore::new(Arc::new(table)))
    })
}

/// A copy of a table in which nothing is missing.
struct CallbackTable {
    store: pg_store,
    owns_context: bool,
}

// SAFETY: the contract of pg_store lets any thread call it.
unsafe impl Send for CallbackTable {}
// SAFETY: as above.
unsafe impl Sync for CallbackTable {}

impl CallbackTable {
    /// # Safety
    ///
    /// NULL, or as many bytes are readable as the member `size` says.
    unsafe fn of(store: *const pg_store, owns_context: bool) -> Result<Self, Error> {
        // SAFETY: the caller's promise: `size` is the first member.
        let size = *required(unsafe { store.cast::<usize>().as_ref() }, "store")?;
        let mut copy = MaybeUninit::<pg_store>::zeroed();
        let copied = size.min(size_of::<pg_store>());
        // SAFETY: `size` bytes are readable, and the copy is at least as large as what is copied.
        unsafe { ptr::copy_nonoverlapping(store.cast::<u8>(), copy.as_mut_ptr().cast(), copied) };
        // SAFETY: all zero, each member is valid; what was copied is the caller's table, or the front of it.
        let store = unsafe { copy.assume_init() };
        if size < offset_of!(pg_store, free) {
            let what = format!("has a member `size` of {size}; set it to sizeof(pg_store)");
            return Err(invalid("store", &what));
        }
        for (name, is_there) in [
            ("store->lock", store.lock.is_some()),
            ("store->unlock", store.unlock.is_some()),
            ("store->load", store.load.is_some()),
            ("store->save", store.save.is_some()),
        ] {
            if !is_there {
                return Err(null(name));
            }
        }
        Ok(CallbackTable { store, owns_context })
    }
}

impl Drop for CallbackTable {
    fn drop(&mut self) {
        if let (Some(free), true) = (self.store.free, self.owns_context) {
            let context = Context(self.store.context);
            // SAFETY: the contract of pg_store: once, when no callback is under way any more.
            run_blocking(move || unsafe { free(context.get()) });
        }
    }
}

/// A context on its way to another thread.
struct Context(*mut c_void);

// SAFETY: the contract of pg_store lets any thread have it.
unsafe impl Send for Context {}

impl Context {
    fn get(&self) -> *mut c_void {
        self.0
    }
}

impl Host for CallbackTable {
    fn lock(&self, key: &CStr, owner: &CStr, lease: Duration) -> Result<bool, String> {
        let lease = u32::try_from(lease.as_millis()).unwrap_or(u32::MAX);
        let (key, owner) = (key.as_ptr(), owner.as_ptr());
        call_back(self.store.lock, |lock, reply| {
            // SAFETY: the host's function, called as pg_store says.
            unsafe { lock(self.store.context, key, owner, lease, reply) }
        })
        .map(|(answer, _)| answer)
    }

    fn unlock(&self, key: &CStr, owner: &CStr) -> Result<(), String> {
        call_back(self.store.unlock, |unlock, reply| {
            // SAFETY: as above.
            unsafe { unlock(self.store.context, key.as_ptr(), owner.as_ptr(), reply) }
        })
        .map(|_| ())
    }

    fn load(&self, key: &CStr) -> Result<Option<HostRecord>, String> {
        let answer = call_back(self.store.load, |load, reply| {
            // SAFETY: as above.
            unsafe { load(self.store.context, key.as_ptr(), reply) }
        });
        match answer? {
            (true, None) => Err("it answered 1 without pg_reply_record".into()),
            (false, Some(_)) => Err("it answered 0 after pg_reply_record".into()),
            (_, record) => Ok(record),
        }
    }

    fn save(&self, key: &CStr, expected: u64, version: u64, record: &[u8]) -> Result<bool, String> {
        let (bytes, length) = (record.as_ptr(), record.len());
        call_back(self.store.save, |save, reply| {
            // SAFETY: as above.
            unsafe { save(self.store.context, key.as_ptr(), expected, version, bytes, length, reply) }
        })
        .map(|(answer, _)| answer)
    }
}

/// One callback, with what it replies.
fn call_back<F>(
    callback: Option<F>,
    call: impl FnOnce(F, *mut pg_reply) -> i32,
) -> Result<(bool, Option<HostRecord>), String> {
    let mut reply = pg_reply::default();
    let answer = callback.map_or(-1, |callback| call(callback, &mut reply));
    match (answer, reply) {
        (0 | 1, pg_reply { record, .. }) => Ok((answer == 1, record)),
        (-1, pg_reply { failure: Some(reason), .. }) => Err(reason),
        (-1, _) => Err("it answered -1, and gave no reason with pg_reply_failure".into()),
        _ => Err(format!("it answered {answer}, which is neither 1, 0 nor -1")),
    }
}
