//! A pointer for each thread that is read without a function call: thread-local storage of the initial-exec model.
//!
//! Code in a shared library finds a `thread_local!` by a call into the dynamic linker (`__tls_get_addr`). The initial-exec
//! model needs no call, because the offset is known when the library is loaded; glibc keeps room there for small variables.
//! Stable Rust cannot choose the model, so this is in assembler.
//!
//! What it saves, by `make bench-read` with `thread_local!` in its place: a copy of a token of 248 bytes takes 121
//! instructions instead of 136 (of 700 bytes: 191 instead of 208), and 1.06 times the processor time of the C floor instead
//! of 1.28 (with two and eight threads: 1.07 instead of 1.49).

use super::hazard_pointer::HazardPointer;
use super::slot_list::Slot;

type OwnSlot = Option<&'static Slot<HazardPointer>>;

pub(super) use self::place::{get, set};

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
mod place {
    use std::arch::{asm, global_asm};
    use std::ptr;

    use super::{HazardPointer, OwnSlot, Slot};

    // Eight zeroed bytes for each thread, hidden from other libraries.
    global_asm!(
        ".pushsection .tbss.pg_own_slot, \"awT\", @nobits",
        ".globl pg_own_slot",
        ".hidden pg_own_slot",
        ".type pg_own_slot, @object",
        ".size pg_own_slot, 8",
        ".p2align 3",
        "pg_own_slot:",
        ".zero 8",
        ".popsection",
    );

    #[inline]
    pub(in super::super) fn get() -> OwnSlot {
        let slot: *const Slot<HazardPointer>;
        // SAFETY: reads this thread's pointer, which is null or was stored by `set`.
        unsafe {
            asm!(
                "mov {slot}, qword ptr [rip + pg_own_slot@GOTTPOFF]",
                "mov {slot}, qword ptr fs:[{slot}]",
                slot = out(reg) slot,
                options(nostack, preserves_flags, readonly),
            );
            slot.as_ref()
        }
    }

    pub(in super::super) fn set(slot: OwnSlot) {
        let slot = slot.map_or(ptr::null(), ptr::from_ref);
        // SAFETY: writes this thread's pointer.
        unsafe {
            asm!(
                "mov {place}, qword ptr [rip + pg_own_slot@GOTTPOFF]",
                "mov qword ptr fs:[{place}], {slot}",
                place = out(reg) _,
                slot = in(reg) slot,
                options(nostack, preserves_flags),
            );
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")))]
mod place {
    use std::cell::Cell;

    use super::OwnSlot;

    thread_local! {
        // Without a destructor, which would cost a check at each use.
        static OWN: Cell<OwnSlot> = const { Cell::new(None) };
    }

    #[inline]
    pub(in super::super) fn get() -> OwnSlot {
        OWN.get()
    }

    pub(in super::super) fn set(slot: OwnSlot) {
        OWN.set(slot);
    }
}
