//! `pg_queue`: waiting for many things at one place.

use std::ptr;

use super::boundary::{fallible, infallible, producing, required, timeout};
use super::handle::{Handle, Owned, give, release};
use super::{pg_error, pg_event};
use crate::clock::FOREVER;
use crate::queue::Queue;
use crate::status::Status;

/// A queue of events, for programs that do not block: they wait for its descriptor (epoll, asyncio, libuv) and poll.
/// What is started on it ends in exactly one event, whatever becomes of it, and never before the call that started
/// it has put it there; news of sessions come on it too. Owned by the caller, who frees it with pg_queue_free. Any
/// number of threads may use it at once. A forked child finds it empty, and with a descriptor of its own; what the
/// parent has under way ends in the parent.
pub struct pg_queue {
    pub(super) queue: Queue,
}

impl Handle for pg_queue {
    type Ownership = Owned;
}

/// A new queue. `*queue` is owned by the caller, and NULL on failure. Never blocks.
///
/// Errors: PG_ERR_NULL_POINTER.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_queue_new(
    queue: Option<&mut *mut pg_queue>,
    error: Option<&mut *mut pg_error>,
) -> Status {
    producing(queue, "queue", error, || Ok(give(pg_queue { queue: Queue::default() })))
}

/// A descriptor that is readable while an event waits; level-triggered. It is the queue's: only wait for it, do not
/// read from it or close it. `*fd` is -1 on failure. In a forked child, ask again. Any thread; never blocks.
///
/// Errors: PG_ERR_SYSTEM (no descriptor is left), PG_ERR_NULL_POINTER.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_queue_fd(
    queue: Option<&pg_queue>,
    fd: Option<&mut i32>,
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || {
        let fd = required(fd, "fd")?;
        *fd = -1;
        *fd = required(queue, "queue")?.queue.descriptor()?;
        Ok(())
    })
}

/// Takes the next event. `*event` is owned by the caller, who frees it with pg_event_free; it is NULL where none came
/// within `timeout_ms`, which is no error. 0 does not wait; PG_TIMEOUT_DEFAULT waits as long as it takes. Any thread;
/// blocks until an event or the deadline.
///
/// Errors: PG_ERR_NULL_POINTER, PG_ERR_INVALID_ARGUMENT.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_queue_poll(
    queue: Option<&pg_queue>,
    timeout_ms: i64,
    event: Option<&mut *mut pg_event>,
    error: Option<&mut *mut pg_error>,
) -> Status {
    producing(event, "event", error, || {
        let timeout = timeout(timeout_ms)?.unwrap_or(FOREVER);
        let event = required(queue, "queue")?.queue.poll(timeout)?;
        Ok(event.map_or(ptr::null_mut(), |event| give(pg_event::from(event))))
    })
}

/// Ends what was started on the queue under that number: its one event says PG_ERR_CANCELED. What has ended already,
/// its event waiting or taken, is left alone. A call for a token that others share goes on for them; a request is given
/// up, and may have been processed. Any thread; never blocks.
///
/// Errors: PG_ERR_NULL_POINTER.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_queue_cancel(
    queue: Option<&pg_queue>,
    id: u64,
    error: Option<&mut *mut pg_error>,
) -> Status {
    fallible(error, || required(queue, "queue")?.queue.cancel(id))
}

/// Frees a queue with the events that wait on it, and gives up what is under way on it. NULL is fine. Its descriptor is
/// closed: let nobody wait for it any more. Not while another thread is in a call on it. Never blocks on the network.
///
/// Since 0.1.0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pg_queue_free(queue: *mut pg_queue) {
    // SAFETY: NULL, or from pg_queue_new, and the caller gives it up.
    infallible((), || unsafe { release(queue) });
}
