"""Root folders that hold a program and what it needs to start, and nothing else."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from sandbox import Sandbox

ROOT = Path(__file__).parents[2]
ZIG = ROOT / "build/venv-wheel/bin/python"
# Not in the PATH of every user.
CHROOT = shutil.which("chroot") or "/usr/sbin/chroot"
# No user of this machine has this number.
USER = 1_000_680_000
PATIENCE_S = 200
# Everything takes long there.
UNDER_QEMU = {"PAYMENTSGATE_CONNECT_TIMEOUT_MS": "60000"}
WARNINGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def output(words: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Platform:
    """A platform for which the library was built, and the tree that programs are built against."""

    target: str
    stage: Path

    @property
    def machine(self) -> str:
        return self.target.split("-")[0]

    @property
    def system(self) -> Path:
        """Where its libc is, in the folder lib: with musl for ARM that of a package (mk/platforms.mk)."""
        return Path("/") if self.machine == os.uname().machine else ROOT / "build/musl-arm64"

    @property
    def musl(self) -> Path:
        """The libc of musl, which is the loader too."""
        return self.system / f"lib/ld-musl-{self.machine}.so.1"

    @property
    def starter(self) -> list[str]:
        """What starts its programs outside of a root."""
        qemu = [f"qemu-{self.machine}-static", "-L", str(self.system)]
        return [] if self.machine == os.uname().machine else qemu

    @property
    def compiler(self) -> list[str | Path]:
        if not self.target.endswith("-musl"):
            return [os.environ.get("CC", "cc")]
        return [ZIG, "-m", "ziglang", "cc", "-target", f"{self.machine}-linux-musl"]

    def flags(self, *options: str) -> list[str]:
        """Those of pkg-config, as the documents have it."""
        folder = str(self.stage / "lib/pkgconfig")
        words = ["pkg-config", *options, "--cflags", "--libs", "paymentsgate_auth"]
        environment = {**os.environ, "PKG_CONFIG_LIBDIR": folder, "PKG_CONFIG_PATH": ""}
        return output(words, environment).split()

    def compile(self, source: Path, program: Path, *flags: str) -> None:
        subprocess.run([*self.compiler, *WARNINGS, source, *flags, "-o", program], check=True)


def _platforms() -> list[Platform]:
    """Those in the variable PG_PLATFORMS: TARGET=STAGE, one after the other."""
    pairs = [word.split("=", 1) for word in os.environ["PG_PLATFORMS"].split()]
    return [Platform(target, Path(stage).resolve()) for target, stage in pairs]


PLATFORMS = _platforms()
MUSL = [platform for platform in PLATFORMS if platform.target.endswith("-musl")]
WITH_LIBC = [platform for platform in MUSL if platform.musl.exists()]
HERE = [platform for platform in PLATFORMS if platform.machine == os.uname().machine]


def of(platforms: list[Platform]) -> pytest.MarkDecorator:
    """The test is played on each of them."""
    return pytest.mark.parametrize("platform", platforms, ids=[platform.target for platform in platforms])


def static_root(program: Path, root: Path) -> None:
    root.mkdir()
    shutil.copy2(program, root / "shop")


def shared_root(program: Path, platform: Platform, root: Path) -> None:
    """The program, the library, and what the loader of glibc lists: itself, libc, the compiler's runtime."""
    static_root(program, root)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(platform.stage / "lib")}
    said = output(["ldd", str(program)], environment)
    found = [Path(path) for path in re.findall(r"(/\S+) \(0x", said)]
    assert any(path.name == "libpaymentsgate_auth.so.1" for path in found), said
    for path in found:
        place = root / ("lib" if path.parent == platform.stage / "lib" else str(path.parent)[1:]) / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)


def settings(sandbox: Sandbox, root: Path) -> dict[str, str]:
    """The settings for the emulator; their files are put into the root."""
    folder = root / "given"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    for name in ("ca_file", "credentials_file"):
        (folder / name).write_bytes(Path(sandbox.address[name]).read_bytes())
        (folder / name).chmod(0o444)
    return {
        "PAYMENTSGATE_BASE_URL": sandbox.address["https"],
        "PAYMENTSGATE_CREDENTIALS_FILE": "/given/credentials_file",
        "PAYMENTSGATE_TLS_CA_FILE": "/given/ca_file",
        "PAYMENTSGATE_STORE": "memory:",
        "LD_LIBRARY_PATH": "/lib",
    }


def run(
    root: Path,
    environment: dict[str, str],
    machine: str,
    redirections: str = "",
    arguments: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Runs the program in the root, which is read-only, as a user without rights."""
    root.chmod(0o755)
    words = ["/shop", *arguments]
    if machine != os.uname().machine:
        shutil.copy2(shutil.which(f"qemu-{machine}-static") or "", root / "qemu")
        words = ["/qemu", *words]
        environment = {**environment, **UNDER_QEMU}
    variables = [f"{name}={value}" for name, value in environment.items()]
    place = shlex.quote(str(root))
    script = (
        f"mount --bind {place} {place}; mount -o remount,bind,ro {place}; exec setpriv --no-new-privs "
        f"--bounding-set=-all,+sys_chroot,+setuid,+setgid env -i {shlex.join(variables)} "
        f"{CHROOT} --userspec={USER}:{USER} {place} {shlex.join(words)} {redirections}"
    )
    command = ["unshare", "--mount", "sh", "-ec", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    print(done.stdout, done.stderr, file=sys.stderr)
    return done
