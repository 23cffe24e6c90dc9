//! What the library changes in a thread of the host while that drives the reactor, and puts back.

use std::{mem, ptr};

/// Keeps SIGPIPE from the thread, as from our own: a write to a closed socket must not end a host that has no handler for it.
pub(super) struct WithoutSigpipe {
    before: libc::sigset_t,
}

impl WithoutSigpipe {
    pub(super) fn enter() -> Self {
        // SAFETY: the sets are plain data that the calls fill; the calls change this thread alone.
        let before = unsafe {
            let mut before: libc::sigset_t = mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, &sigpipe(), &mut before);
            before
        };
        WithoutSigpipe { before }
    }
}

impl Drop for WithoutSigpipe {
    fn drop(&mut self) {
        // SAFETY: as above; `before` was filled there.
        unsafe {
            // One that a write of ours has raised would arrive now. None was pending before where it was not blocked.
            if libc::sigismember(&self.before, libc::SIGPIPE) == 0 && is_pending() {
                take_pending();
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut());
        }
    }
}

/// Keeps `pthread_cancel` from the thread: waits and writes are points of cancellation, and the end of a thread in the middle of
/// Rust's frames ends the process. A cancellation acts when the host's code comes to such a point.
pub(crate) struct WithoutCancellation(libc::c_int);

impl WithoutCancellation {
    pub(crate) fn enter() -> Self {
        let mut before = 0;
        // SAFETY: the call changes this thread alone.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &mut before) };
        WithoutCancellation(before)
    }
}

impl Drop for WithoutCancellation {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { pthread_setcancelstate(self.0, ptr::null_mut()) };
    }
}

fn sigpipe() -> libc::sigset_t {
    // SAFETY: plain data that the calls fill.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGPIPE);
        set
    }
}

/// Does not wait: another thread may have taken one that was for the whole process.
#[cfg(target_os = "linux")]
fn take_pending() {
    // SAFETY: the set and the time, zero, are plain data that the call reads.
    unsafe { libc::sigtimedwait(&sigpipe(), ptr::null_mut(), &mem::zeroed()) };
}

#[cfg(not(target_os = "linux"))]
fn take_pending() {
    // SAFETY: the set is plain data that the call reads; `taken` it fills.
    unsafe { libc::sigwait(&sigpipe(), &mut 0) };
}

fn is_pending() -> bool {
    // SAFETY: plain data that the call fills.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigpending(&mut set) == 0 && libc::sigismember(&set, libc::SIGPIPE) == 1
    }
}

const PTHREAD_CANCEL_DISABLE: libc::c_int = if cfg!(target_vendor = "apple") { 0 } else { 1 };

unsafe extern "C" {
    /// In POSIX, but not in the crate `libc`.
    fn pthread_setcancelstate(state: libc::c_int, before: *mut libc::c_int) -> libc::c_int;
}
