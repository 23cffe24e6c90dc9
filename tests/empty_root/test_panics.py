"""A panic inside the library is an error with musl too, which has another unwinder than glibc."""

from __future__ import annotations

import subprocess
from pathlib import Path

import roots
from roots import MUSL, WITH_LIBC, Platform, of
from sandbox import Sandbox


def contains_the_panic(platform: Platform, sandbox: Sandbox, folder: Path, *flags: str) -> None:
    program = folder / "panics"
    support = f"-I{roots.ROOT / 'tests/support'}"
    platform.compile(Path(__file__).with_name("panics.c"), program, support, *flags)
    environment = {
        "PAYMENTSGATE_BASE_URL": sandbox.address["https"],
        "PAYMENTSGATE_CREDENTIALS_FILE": sandbox.address["credentials_file"],
        "PAYMENTSGATE_TLS_CA_FILE": sandbox.address["ca_file"],
        "PAYMENTSGATE_STORE": "memory:",
        "LD_LIBRARY_PATH": str(platform.stage / "lib"),
        **(roots.UNDER_QEMU if platform.starter else {}),
    }
    words = [*platform.starter, str(program)]
    done = subprocess.run(
        words, env=environment, capture_output=True, text=True, check=False, timeout=roots.PATIENCE_S
    )
    assert done.returncode == 0, done
    assert done.stdout.startswith("contained: a defect of paymentsgate-auth at "), done


@of(MUSL)
def test_a_panic_is_contained_in_a_static_program(
    platform: Platform, sandbox: Sandbox, tmp_path: Path
) -> None:
    contains_the_panic(platform, sandbox, tmp_path, "-static", *platform.flags("--static"))


@of(WITH_LIBC)
def test_a_panic_is_contained_in_the_shared_library(
    platform: Platform, sandbox: Sandbox, tmp_path: Path
) -> None:
    contains_the_panic(platform, sandbox, tmp_path, *platform.flags())
