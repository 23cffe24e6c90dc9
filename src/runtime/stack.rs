//! How much of its stack a thread of the host has left.

use std::cell::Cell;

thread_local! {
    /// Where this thread's stack lies. `None`: not known yet.
    static BOUNDS: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// What a TLS handshake and a request need, with room to spare.
const NEEDED: usize = 256 << 10;

/// Whether this thread may do the work of a request. A thread of the host may have a stack of 16 kB, and a coroutine has one that
/// the system does not know: those wait while our own thread works.
pub(super) fn has_room() -> bool {
    let local = 0_u8;
    let here = std::ptr::from_ref(&local).addr();
    let known = BOUNDS.try_with(|bounds| {
        bounds.set(bounds.get().or_else(|| Some(system::bounds().unwrap_or_default())));
        bounds.get()
    });
    let (lowest, end) = known.ok().flatten().unwrap_or_default();
    (lowest.saturating_add(NEEDED)..end).contains(&here)
}

#[cfg(target_os = "linux")]
mod system {
    use std::{mem, ptr};

    pub(super) fn bounds() -> Option<(usize, usize)> {
        // SAFETY: the attributes are those of this thread, filled by the first call and destroyed after use.
        unsafe {
            let mut attributes: libc::pthread_attr_t = mem::zeroed();
            if libc::pthread_getattr_np(libc::pthread_self(), &mut attributes) != 0 {
                return None;
            }
            let (mut lowest, mut size) = (ptr::null_mut(), 0);
            let known = libc::pthread_attr_getstack(&attributes, &mut lowest, &mut size) == 0;
            libc::pthread_attr_destroy(&mut attributes);
            known.then(|| (lowest.addr(), lowest.addr().saturating_add(size)))
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    /// Not known: no caller drives.
    pub(super) fn bounds() -> Option<(usize, usize)> {
        None
    }
}
