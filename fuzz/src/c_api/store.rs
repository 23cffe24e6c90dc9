//! A store of the host in memory, as a table of callbacks. Each table has a context of its own.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use paymentsgate_auth::ffi::{pg_reply, pg_reply_record, pg_store};

/// How many contexts were freed.
pub static FREED: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct Content {
    holder: Option<(Vec<u8>, Instant)>,
    record: Option<(u64, Vec<u8>)>,
}

type Context = Mutex<Content>;

pub fn table() -> pg_store {
    pg_store {
        size: size_of::<pg_store>(),
        context: Box::into_raw(Box::<Context>::default()).cast(),
        lock: Some(lock),
        unlock: Some(unlock),
        load: Some(load),
        save: Some(save),
        free: Some(free),
    }
}

fn content<T>(context: *mut c_void, work: impl FnOnce(&mut Content) -> T) -> T {
    // SAFETY: the context is valid until `free`.
    let context = unsafe { &*context.cast::<Context>() };
    work(&mut context.lock().unwrap())
}

fn bytes_of(text: *const c_char) -> Vec<u8> {
    // SAFETY: the library passes a text.
    unsafe { CStr::from_ptr(text) }.to_bytes().to_vec()
}

unsafe extern "C" fn lock(
    context: *mut c_void,
    _key: *const c_char,
    owner: *const c_char,
    lease_ms: u32,
    _reply: *mut pg_reply,
) -> i32 {
    content(context, |content| {
        let (owner, now) = (bytes_of(owner), Instant::now());
        let is_free = content.holder.as_ref().is_none_or(|(holder, until)| *holder == owner || *until <= now);
        if is_free {
            content.holder = Some((owner, now + Duration::from_millis(lease_ms.into())));
        }
        is_free.into()
    })
}

unsafe extern "C" fn unlock(
    context: *mut c_void,
    _key: *const c_char,
    owner: *const c_char,
    _reply: *mut pg_reply,
) -> i32 {
    content(context, |content| {
        let owner = bytes_of(owner);
        content.holder.take_if(|(holder, _)| *holder == owner).is_some().into()
    })
}

unsafe extern "C" fn load(context: *mut c_void, _key: *const c_char, reply: *mut pg_reply) -> i32 {
    content(context, |content| match &content.record {
        None => 0,
        // SAFETY: the reply is valid until the callback returns, and so are the bytes.
        Some((version, bytes)) => unsafe {
            pg_reply_record(reply.as_mut(), *version, bytes.as_ptr(), bytes.len())
        },
    })
}

unsafe extern "C" fn save(
    context: *mut c_void,
    _key: *const c_char,
    expected: u64,
    version: u64,
    bytes: *const u8,
    length: usize,
    _reply: *mut pg_reply,
) -> i32 {
    content(context, |content| {
        if content.record.as_ref().map_or(0, |(version, _)| *version) != expected {
            return 0;
        }
        // SAFETY: the library passes `length` bytes.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, length) };
        content.record = Some((version, bytes.to_vec()));
        1
    })
}

unsafe extern "C" fn free(context: *mut c_void) {
    // SAFETY: from `table`, and freed once.
    drop(unsafe { Box::from_raw(context.cast::<Context>()) });
    FREED.fetch_add(1, Ordering::SeqCst);
}
