//! One pointer for each thread. An ordinary thread-local of a shared library is found by a call into the dynamic linker,
//! a tenth of what reading a token costs. glibc keeps room for small variables at a place that is known when the library
//! is loaded; Rust has no stable word for that, the assembler has.

use super::hazard_pointer::HazardPointer;
use super::slot_list::Slot;

type OwnSlot = Option<&'static Slot<HazardPointer>>;

pub(super) use self::place::{get, set};

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
mod place {
    use std::arch::{asm, global_asm};
    use std::ptr;

    use super::{HazardPointer, OwnSlot, Slot};

    // Eight zeroed bytes for each thread, seen by this library alone.
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
        // SAFETY: reads this thread's pointer, which is null or was set below.
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
        // Without a destructor, which would be asked for at each use.
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
