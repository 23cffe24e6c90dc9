"""Builds the shared library with cargo, and puts it beside the package.

The wheel is tagged for this machine (``linux_x86_64``). auditwheel finds out on which other systems it runs.

Variables: CARGO (default ``cargo``) and PG_WHEEL_TARGET, a ``--target`` for cargo. With ``cargo-zigbuild``
and ``x86_64-unknown-linux-gnu.2.17`` the library is linked for an older glibc.
"""

import json
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CargoHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs for each wheel. An editable install contains no library: PAYMENTSGATE_AUTH_LIB names it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + re.sub(r"\W", "_", sysconfig.get_platform())
        build_data["force_include"][build_library(root)] = f"paymentsgate_auth/{soname(root)}"


def build_library(root: Path) -> str:
    """Builds the library and returns its path in cargo's target directory."""
    cargo, target = os.environ.get("CARGO") or "cargo", os.environ.get("PG_WHEEL_TARGET")
    if not shutil.which(cargo):
        raise SystemExit(
            f"paymentsgate-auth: this is the source and not a wheel, and there is no {cargo} to build it: "
            "install Rust 1.88 or newer (https://rustup.rs), or use a wheel"
        )
    command = [str(root / "scripts" / "cargo-release"), "rustc", "--locked", "--release", "--lib"]
    command += ["--crate-type", "cdylib"]
    command += ["--message-format", "json-render-diagnostics", *(["--target", target] if target else [])]
    output = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True).stdout
    files = [file for line in output.splitlines() for file in json.loads(line).get("filenames", [])]
    return str(next(file for file in reversed(files) if file.endswith("paymentsgate_auth.so")))


def soname(root: Path) -> str:
    """The file name that the package looks for. It ends in the number of the ABI."""
    abi = re.search(r"^const ABI_MAJOR: u32 = (\d+);", (root / "build.rs").read_text(), re.M)
    if not abi:
        raise SystemExit("paymentsgate-auth: build.rs does not define ABI_MAJOR")
    return f"libpaymentsgate_auth.so.{abi[1]}"
