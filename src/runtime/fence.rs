//! An asymmetric memory fence: readers pay nothing for their light side, a thread that replaces a value pays a system
//! call (`membarrier`, about a microsecond) for the heavy side. Where the system has no such call, both sides are
//! ordinary fences.

use std::sync::atomic::{AtomicU8, Ordering, compiler_fence, fence};

const UNDECIDED: u8 = 0;
const ASYMMETRIC: u8 = 1;
const SYMMETRIC: u8 = 2;

/// Decided before the first light fence, and never changed: both sides must be of the same kind.
static KIND: AtomicU8 = AtomicU8::new(UNDECIDED);

/// The light side. One thread stores, passes the light side and loads; another one stores, passes the heavy side and
/// loads: at least one of them sees what the other has stored.
pub(super) fn light() {
    decide();
    let _ = try_light();
}

/// The same without a function call, so that the fast path saves no registers. `None` until the kind is decided.
#[inline]
pub(super) fn try_light() -> Option<()> {
    match KIND.load(Ordering::Relaxed) {
        ASYMMETRIC => compiler_fence(Ordering::SeqCst),
        SYMMETRIC => fence(Ordering::SeqCst),
        _ => return None,
    }
    Some(())
}

/// The heavy side. False: the system refused it, and the caller must not rely on what other threads have stored.
pub(super) fn heavy() -> bool {
    fence(Ordering::SeqCst);
    decide() == SYMMETRIC
        || system::interrupt_all_threads()
        || (system::register() && system::interrupt_all_threads())
}

fn decide() -> u8 {
    let known = KIND.load(Ordering::Relaxed);
    if known != UNDECIDED {
        return known;
    }
    let kind = if system::register() { ASYMMETRIC } else { SYMMETRIC };
    // Threads that race may get different answers from the system; the first one counts.
    KIND.compare_exchange(UNDECIDED, kind, Ordering::Relaxed, Ordering::Relaxed)
        .map_or_else(|first| first, |_| kind)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    /// Registers the process for the call below. A forked child inherits it.
    pub(super) fn register() -> bool {
        membarrier(REGISTER_PRIVATE_EXPEDITED)
    }

    /// Every running thread of this process passes a full fence before the call returns.
    pub(super) fn interrupt_all_threads() -> bool {
        membarrier(PRIVATE_EXPEDITED)
    }

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes three numbers and reads or writes no memory of the process.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn interrupt_all_threads() -> bool {
        false
    }
}
