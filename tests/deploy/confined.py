"""confined.py UNIT PROGRAM…: runs a program under the system call filter and the memory rule of a unit."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

# seccomp.h
ALLOW, EPERM = 0x7FFF0000, 0x00050001
# prctl.h
SET_MDWE, REFUSE_EXEC_GAIN = 65, 1


def lines_of(unit: Path, name: str) -> list[str]:
    prefix = f"{name}="
    return [line.removeprefix(prefix) for line in unit.read_text().splitlines() if line.startswith(prefix)]


def calls_of(group: str) -> set[str]:
    """The system calls in a group of systemd, and in the groups in it."""
    output = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", group], capture_output=True, text=True, check=True
    ).stdout
    words = [line.strip() for line in output.splitlines()[1:]]
    calls = {word for word in words if word and word[0] not in "#@"}
    return calls.union(*(calls_of(word) for word in words if word.startswith("@")))


def allowed(unit: Path) -> set[str]:
    """What the unit's lines leave, in their order."""
    calls: set[str] = set()
    for line in lines_of(unit, "SystemCallFilter"):
        named = set().union(*(calls_of(group) for group in line.lstrip("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def confine(unit: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    denies = lines_of(unit, "MemoryDenyWriteExecute") == ["yes"]
    # Linux has this call since 6.3.
    if denies and libc.prctl(SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0) and ctypes.get_errno() != errno.EINVAL:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_MDWE)")
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    filters = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(EPERM)))
    for call in allowed(unit) | {"execve"}:
        number = seccomp.seccomp_syscall_resolve_name(call.encode())
        # A call of another kind of machine has no number, or a negative one.
        if number >= 0 and seccomp.seccomp_rule_add(filters, ctypes.c_uint32(ALLOW), number, 0):
            raise OSError(f"no rule for {call}")
    if seccomp.seccomp_load(filters):
        raise OSError("seccomp_load")


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
