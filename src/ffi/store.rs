//! `pg_store`: a store of the program's own.

use std::ffi::{CStr, c_char, c_void};
use std::mem::{MaybeUninit, offset_of};
use std::sync::Arc;
use std::time::Duration;
use std::{ptr, slice};

use super::boundary::{fallible, infallible, invalid, null, required, timeout};
use super::handle::{Borrowed, Handle};
use super::store_gate::{self, StoreId};
use super::versions::versioned;
use super::{pg_config, pg_error};
use crate::clock::FOREVER;
use crate::error::Error;
use crate::runtime::run_blocking;
use crate::secret::Wiped;
use crate::status::Status;
use crate::store::{Host, HostRecord, HostStore, check};

versioned!(pg_reply_record, pg_reply_failure, pg_config_set_store, pg_store_check, pg_store_retire);

/// How many characters of a callback's reason an error shows.
const MAX_REASON_LENGTH: usize = 200;

/// A store of the program's own, so that sessions are kept and shared where the program keeps its data: four
/// callbacks and their context. docs/custom-store.md has the full contract, with the SQL for PostgreSQL and
/// SQLite; pg_store_check tests a store.
///
/// A record is bytes with a version, under a key: a text of at most 64 letters, digits and `-`. A lock is an
/// owner (a text of the same kind) under the same key, with the end of its lease by the store's own clock. It
/// may be in another table; only `lock` and `unlock` use it. Each callback must be atomic, like one statement
/// or transaction of a database: any number of threads, processes and machines call at once.
///
/// Each callback gets `context`, and returns 1 (yes), 0 (no), or -1 (it failed) with `return
/// pg_reply_failure(reply, "why")`. After -1 the session goes on as if the store were down (see the setting
/// `on_store_down`). `reply` and the texts are valid until the callback returns.
///
/// Callbacks run on threads of the library, with all signals blocked, and may block: up to eight at a time
/// for each store of a process, one after the other for one session. After 5 s the library waits no longer
/// and goes on as after a failure; what the callback does later must still be atomic. A callback must not let
/// a C++ exception out, end the thread, or call a session that it serves. A forked child calls the same
/// callbacks: it must open a database connection of its own.
///
/// Records have tokens in clear text unless the setting `store_key` is set.
#[repr(C)]
pub struct pg_store {
    /// sizeof(pg_store). Later versions may have more members.
    pub size: usize,
    /// For the callbacks. May be NULL.
    pub context: *mut c_void,
    /// Takes the lock for `lease_ms` (six seconds) from now, if nobody has it or its last lease is over;
    /// renews the lease if `owner` has it. 1: `owner` has it now. 0: another owner has it.
    pub lock: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            key: *const c_char,
            owner: *const c_char,
            lease_ms: u32,
            reply: *mut pg_reply,
        ) -> i32,
    >,
    /// Frees the lock if `owner` has it. 1: it is free. 0: `owner` did not have it, and nothing changed.
    pub unlock: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            key: *const c_char,
            owner: *const c_char,
            reply: *mut pg_reply,
        ) -> i32,
    >,
    /// Reads the record as it was last saved (not from a replica that lags): `return pg_reply_record(reply,
    /// version, bytes, length)`. 0: there is none.
    pub load:
        Option<unsafe extern "C" fn(context: *mut c_void, key: *const c_char, reply: *mut pg_reply) -> i32>,
    /// Replaces the record, and its version by `version` (below 2^63), if its version is `expected_version`;
    /// 0 there means that there is no record yet. 1: it is saved, durably. 0: there is another version, and
    /// nothing changed.
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
    /// Frees the context: the settings and all sessions opened with them are gone, and the last callback has
    /// returned. Called once, on any thread, perhaps from pg_config_free or pg_session_free; in a forked
    /// child perhaps never. May be NULL.
    pub free: Option<unsafe extern "C" fn(context: *mut c_void)>,
}

/// What a pg_store callback returns besides its number: a record, or the reason of a failure. Belongs to the
/// library; valid until the callback returns.
#[derive(Default)]
pub struct pg_reply {
    record: Option<HostRecord>,
    failure: Option<String>,
}

impl Handle for pg_reply {
    type Ownership = Borrowed;
}

/// The record of `load`, whose bytes are copied, with the version under which it was saved. Returns what the
/// callback must return: 1, or -1 if `reply` or `bytes` is NULL or `version` is 0.
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
            reply.failure = Some("pg_reply_record was given version 0, or invalid bytes".into());
            return -1;
        }
        // SAFETY: not null unless there are none; the caller passes `length` readable bytes.
        let bytes = if length == 0 { &[] } else { unsafe { slice::from_raw_parts(bytes, length) } };
        reply.record = Some(HostRecord { version, record: Wiped::new(bytes.to_vec()) });
        1
    })
}

/// Why a callback failed, for a person; `text` is copied, and may be NULL. The library's error shows its
/// first line, at most 200 characters: leave out bytes of records. Returns -1, for the callback to return.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_reply_failure(reply: Option<&mut pg_reply>, text: *const c_char) -> i32 {
    infallible(-1, || {
        if let Some(reply) = reply
            && !text.is_null()
        {
            // SAFETY: not null; the caller's text ends in a NUL.
            let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
            let line = text.lines().next().unwrap_or_default();
            let reason: String =
                line.chars().filter(|char| !char.is_control()).take(MAX_REASON_LENGTH).collect();
            reply.failure = Some(reason).filter(|reason| !reason.is_empty());
        }
        -1
    })
}

/// Sessions opened with these settings keep their pair in a store of the program's own, and share it with all
/// processes and machines that use the store. The table is copied. After a failure nothing has changed, and
/// `free` is not called. Excludes the setting `store`.
///
/// Errors: PG_ERR_INVALID_ARGUMENT (`size`), PG_ERR_NULL_POINTER (also: a callback is missing).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_config_set_store(
    config: Option<&mut pg_config>,
    store: *const pg_store,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let config = required(config, "config")?;
        // SAFETY: the caller's table is valid for the call.
        let table = unsafe { CallbackTable::of(store, true) }?;
        config.config.set_store(HostStore::new(Arc::new(table)));
        Ok(())
    })
}

/// Tests every requirement of pg_store: exclusion, leases that end, compared versions, unchanged bytes, and
/// eight threads at once. For a program's tests, with a database like the real one. It uses keys that begin
/// with "check-"; what it saves stays there. It calls the callbacks on its own threads, and does not call
/// `free`. Blocks for about a second.
///
/// Errors: PG_ERR_INVALID_ARGUMENT (the error text names the broken requirement), PG_ERR_STORE (a callback
/// failed), PG_ERR_TIMEOUT (a callback has not returned within 5 s: it goes on, and keeps using the context).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_store_check(
    store: *const pg_store,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        // SAFETY: the caller's table is valid for the call.
        let table = unsafe { CallbackTable::of(store, false) }?;
        check(&HostStore::new(Arc::new(table)))
    })
}

/// Retires the stores with this `context` and callback `lock`, for a program whose callbacks end before the
/// process does: the interpreter of a language as it exits. No callback is called again, `free` neither; in
/// this process, also if such a store is set later. Sessions go on as if the store were down; close them
/// first. Blocks until the calls in progress end, or the deadline. PG_TIMEOUT_DEFAULT: no deadline. Must not
/// be called from a callback.
///
/// Errors: PG_ERR_INVALID_ARGUMENT (`size`), PG_ERR_NULL_POINTER (also: a callback is missing),
/// PG_ERR_TIMEOUT (a callback has not returned; no other is called).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_store_retire(
    store: *const pg_store,
    timeout_ms: i64,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        // SAFETY: the caller's table is valid for the call.
        let table = unsafe { CallbackTable::of(store, false) }?;
        let timeout = timeout(timeout_ms)?.unwrap_or(FOREVER);
        if store_gate::retire(table.id(), timeout)? {
            return Ok(());
        }
        Err(Error::new(Status::PG_ERR_TIMEOUT, "a callback of the store has not returned within the timeout"))
    })
}

/// A copy of a complete table.
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
    /// `store` is NULL, or has as many readable bytes as its member `size` says.
    unsafe fn of(store: *const pg_store, owns_context: bool) -> Result<Self, Error> {
        // SAFETY: the caller's promise: `size` is the first member.
        let size = *required(unsafe { store.cast::<usize>().as_ref() }, "store")?;
        let mut copy = MaybeUninit::<pg_store>::zeroed();
        let copied = size.min(size_of::<pg_store>());
        // SAFETY: `size` bytes are readable, and the copy is at least as large as what is copied.
        unsafe { ptr::copy_nonoverlapping(store.cast::<u8>(), copy.as_mut_ptr().cast(), copied) };
        // SAFETY: zero is valid for each member; the copied bytes are the caller's table, or the first part of it.
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

    fn id(&self) -> StoreId {
        StoreId(self.store.context.addr(), self.store.lock.map_or(0, |lock| lock as usize))
    }

    /// Calls one callback; returns its answer and its record.
    fn call_back<F>(
        &self,
        callback: Option<F>,
        call: impl FnOnce(F, *mut pg_reply) -> i32,
    ) -> Result<(bool, Option<HostRecord>), String> {
        let mut reply = pg_reply::default();
        let in_progress = store_gate::enter(self.id()).ok_or("the program has retired it")?;
        let answer = callback.map_or(-1, |callback| call(callback, &mut reply));
        drop(in_progress);
        match (answer, reply) {
            (0 | 1, pg_reply { record, .. }) => Ok((answer == 1, record)),
            (-1, pg_reply { failure: Some(reason), .. }) => Err(reason),
            (-1, _) => Err("it answered -1, and gave no reason with pg_reply_failure".into()),
            _ => Err(format!("it answered {answer}, which is neither 1, 0 nor -1")),
        }
    }
}

impl Drop for CallbackTable {
    fn drop(&mut self) {
        if let (Some(free), true) = (self.store.free, self.owns_context) {
            let (context, id) = (Context(self.store.context), self.id());
            run_blocking(move || {
                if let Some(_in_progress) = store_gate::enter(id) {
                    // SAFETY: as pg_store says: called once, after the last callback.
                    unsafe { free(context.get()) }
                }
            });
        }
    }
}

/// The context, to be moved to another thread.
struct Context(*mut c_void);

// SAFETY: the contract of pg_store lets any thread use it.
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
        self.call_back(self.store.lock, |lock, reply| {
            // SAFETY: the program's function, called as pg_store says.
            unsafe { lock(self.store.context, key, owner, lease, reply) }
        })
        .map(|(answer, _)| answer)
    }

    fn unlock(&self, key: &CStr, owner: &CStr) -> Result<(), String> {
        self.call_back(self.store.unlock, |unlock, reply| {
            // SAFETY: as above.
            unsafe { unlock(self.store.context, key.as_ptr(), owner.as_ptr(), reply) }
        })
        .map(|_| ())
    }

    fn load(&self, key: &CStr) -> Result<Option<HostRecord>, String> {
        let answer = self.call_back(self.store.load, |load, reply| {
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
        self.call_back(self.store.save, |save, reply| {
            // SAFETY: as above.
            unsafe { save(self.store.context, key.as_ptr(), expected, version, bytes, length, reply) }
        })
        .map(|(answer, _)| answer)
    }
}
