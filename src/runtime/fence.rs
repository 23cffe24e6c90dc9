//! A fence with two unequal ends: nothing where it is passed a hundred million times a second, a system call of a
//! microsecond where a token is replaced. Where the system has no such call, both ends are ordinary fences.

use std::sync::atomic::{AtomicU8, Ordering, compiler_fence, fence};

const UNDECIDED: u8 = 0;
const ASYMMETRIC: u8 = 1;
const SYMMETRIC: u8 = 2;

/// Decided before the first light end is passed, and kept: the two ends must be of one kind.
static KIND: AtomicU8 = AtomicU8::new(UNDECIDED);

/// What is stored before it is seen by whoever passes a heavy end afterwards, or else what he stored before that is
/// seen by what is loaded after it.
pub(super) fn light() {
    decide();
    let _ = try_light();
}

/// The same without a call, so that a reader in a hurry has nothing to keep across it. `None` until it is decided.
#[inline]
pub(super) fn try_light() -> Option<()> {
    match KIND.load(Ordering::Relaxed) {
        ASYMMETRIC => compiler_fence(Ordering::SeqCst),
        SYMMETRIC => fence(Ordering::SeqCst),
        _ => return None,
    }
    Some(())
}

/// The heavy end. False where it could not be passed, which tells nothing about anybody's light end.
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
    // Threads that race may see the system change its mind; the first word holds.
    KIND.compare_exchange(UNDECIDED, kind, Ordering::Relaxed, Ordering::Relaxed)
        .map_or_else(|first| first, |_| kind)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    /// Announces the use of the call, once for each process; a child inherits it.
    pub(super) fn register() -> bool {
        membarrier(REGISTER_PRIVATE_EXPEDITED)
    }

    /// Every thread of this process that runs passes a full fence before the call returns.
    pub(super) fn interrupt_all_threads() -> bool {
        membarrier(PRIVATE_EXPEDITED)
    }

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: the call takes three numbers and touches no memory of ours.
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
