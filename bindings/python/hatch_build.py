"""Builds a part of the tree with cargo, and puts it into the wheel.

Without options that is the shared library, beside the package; with the options ``package`` and ``program``
(of cargo) it is a program, as a script with a bill of materials. The wheel is tagged for this machine, or for
the target: with glibc ``linux_x86_64``, and auditwheel finds out on which other systems it runs; with musl
``musllinux_1_2_x86_64``, since auditwheel judges musl only where it is the libc of the system.

Variables: CARGO (default ``cargo``) and PG_WHEEL_TARGET, a ``--target`` for cargo. With ``cargo-zigbuild``
and ``x86_64-unknown-linux-gnu.2.17`` the part is linked for an older glibc; with ``scripts/cargo-platform``
and ``aarch64-unknown-linux-gnu.2.17`` or ``x86_64-unknown-linux-musl``, for another platform.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parents[2]


class CargoHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs for each wheel. An editable install contains no library: PAYMENTSGATE_AUTH_LIB names it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform()}"
        if "program" in self.config:
            package, program = self.config["package"], self.config["program"]
            built = build_program(package, program)
            build_data["shared_scripts"][built] = program
            build_data["sbom_files"].append(write_bill(package, Path(built).parent))
        else:
            build_data["force_include"][build_library()] = f"paymentsgate_auth/{soname()}"


def platform() -> str:
    """Python's name of the target, or of this machine."""
    target = os.environ.get("PG_WHEEL_TARGET")
    if not target:
        return re.sub(r"\W", "_", sysconfig.get_platform())
    system = "musllinux_1_2" if target.endswith("-musl") else "linux"
    return f"{system}_{target.split('-')[0]}"


def build_library() -> str:
    """Builds the library and returns its path in cargo's target directory."""
    files = cargo("rustc", "--lib", "--crate-type", "cdylib")
    names = ("paymentsgate_auth.so", "paymentsgate_auth.dylib")
    built = next(file for file in reversed(files) if file.endswith(names))
    # Only in what is given to others: the list needs all packages of the tree, and a build of the
    # library does not.
    return auditable("paymentsgate-auth", built) if "PG_WHEEL_TARGET" in os.environ else built


def build_program(package: str, program: str) -> str:
    """Builds a program and returns its path.

    The command line has a target directory of its own, as in the Makefile: it is built with another form of
    the library, and in one directory each would undo the other. With musl so has the emulator: programs have
    other flags than the library.
    """
    folder = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    apart = package == "paymentsgate-auth-cli" or os.environ.get("PG_WHEEL_TARGET", "").endswith("-musl")
    words = ["--target-dir", str(folder / "cli")] if apart else []
    files = cargo("build", "--package", package, "--bin", program, *words)
    return auditable(package, next(file for file in reversed(files) if Path(file).name == program))


def auditable(package: str, file: str) -> str:
    """Puts the list of what is compiled into the file into it."""
    subprocess.run([str(ROOT / "scripts" / "auditable"), package, file], cwd=ROOT, check=True)
    return file


def cargo(command: str, *words: str) -> list[str]:
    """A release build. Returns the files that it has made."""
    cargo, target = os.environ.get("CARGO") or "cargo", os.environ.get("PG_WHEEL_TARGET")
    if not shutil.which(cargo):
        raise SystemExit(
            f"paymentsgate-auth: this is the source and not a wheel, and there is no {cargo} to build it: "
            "install Rust 1.88 or newer (https://rustup.rs), or use a wheel"
        )
    line = [str(ROOT / "scripts" / "cargo-release"), command, "--locked", "--release", *words]
    line += ["--message-format", "json-render-diagnostics", *(["--target", target] if target else [])]
    output = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [file for line in output.splitlines() for file in json.loads(line).get("filenames", [])]


def write_bill(package: str, folder: Path) -> str:
    """The bill of materials of a program."""
    words = [str(ROOT / "scripts" / "third-party"), "bill", package]
    path = folder / f"{package}.cdx.json"
    path.write_bytes(subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    return str(path)


def soname() -> str:
    """The file name that the package looks for. It has the number of the ABI in it."""
    abi = re.search(r"^const ABI_MAJOR: u32 = (\d+);", (ROOT / "build.rs").read_text(), re.M)
    if not abi:
        raise SystemExit("paymentsgate-auth: build.rs does not define ABI_MAJOR")
    if "darwin" in (os.environ.get("PG_WHEEL_TARGET") or sys.platform):
        return f"libpaymentsgate_auth.{abi[1]}.dylib"
    return f"libpaymentsgate_auth.so.{abi[1]}"
