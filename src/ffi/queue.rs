//! `pg_queue`: events, and the descriptor to wait for them.

use std::mem::MaybeUninit;
use std::ptr;

use super::boundary::{closing, fallible, producing, required, timeout};
use super::handle::{Handle, Owned, give, release};
use super::versions::versioned;
use super::{pg_error, pg_event};
use crate::clock::FOREVER;
use crate::queue::Queue;
use crate::status::Status;

versioned!(pg_queue_new, pg_queue_fd, pg_queue_poll, pg_queue_cancel, pg_queue_free);

/// A queue of events, for programs that do not block: they wait for its descriptor (epoll, asyncio, libuv)
/// and poll. Each operation that was started on it ends in exactly one event, whatever happens; session
/// events (pg_session_subscribe) come on it too. In a forked child it is empty and has another descriptor;
/// the parent's operations end in the parent.
pub struct pg_queue {
    pub(super) queue: Queue,
}

impl Handle for pg_queue {
    type Ownership = Owned;
}

/// A new queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_queue_new(
    queue: Option<&mut MaybeUninit<*mut pg_queue>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    producing(queue, "queue", error, || Ok(give(pg_queue { queue: Queue::default() })))
}

/// A descriptor that is readable while an event waits (level-triggered). It belongs to the queue: wait for
/// it, but do not read or close it. `*fd` is -1 on failure. A forked child must ask again.
///
/// Errors: PG_ERR_SYSTEM (no descriptor is left).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_queue_fd(
    queue: Option<&pg_queue>,
    fd: Option<&mut i32>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || {
        let fd = required(fd, "fd")?;
        *fd = -1;
        *fd = required(queue, "queue")?.queue.descriptor()?;
        Ok(())
    })
}

/// Takes the next event. `*event` is NULL if none came within `timeout_ms`, which is not an error. Blocks
/// until an event or the deadline.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_queue_poll(
    queue: Option<&pg_queue>,
    timeout_ms: i64,
    event: Option<&mut MaybeUninit<*mut pg_event>>,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    producing(event, "event", error, || {
        let timeout = timeout(timeout_ms)?.unwrap_or(FOREVER);
        let event = required(queue, "queue")?.queue.poll(timeout)?;
        Ok(event.map_or(ptr::null_mut(), |event| give(pg_event::from(event))))
    })
}

/// Ends the operation or subscription with this `id`: its event has PG_ERR_CANCELED. It does nothing if that
/// event is already on the queue or taken. A call for a token goes on for those who share it. A request is
/// abandoned, and the service may have processed it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_queue_cancel(
    queue: Option<&pg_queue>,
    id: u64,
    error: Option<&mut MaybeUninit<*mut pg_error>>,
) -> Status {
    fallible(error, || required(queue, "queue")?.queue.cancel(id))
}

/// Frees a queue with its events, and abandons its operations. Closes its descriptor: nothing may wait for it
/// any more. Does not block on the network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_queue_free(queue: *mut pg_queue) {
    // SAFETY: from pg_queue_new, and the caller gives it up; or NULL.
    closing(|| unsafe { release(queue) });
}
