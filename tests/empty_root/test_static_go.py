"""A static program in Go works in an empty root. Its own file: zig compiles Go's parts in C for minutes."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import roots
from roots import MUSL, ROOT, Platform, of
from sandbox import Sandbox


@of(MUSL)
def test_a_static_program_in_go_works_in_an_empty_root(
    platform: Platform, sandbox: Sandbox, tmp_path: Path
) -> None:
    program = tmp_path / "shop"
    environment = {
        **os.environ,
        "CC": shlex.join(map(str, platform.compiler)),
        "CGO_ENABLED": "1",
        # Separates what Go keeps for the trees.
        "CGO_LDFLAGS": f"-L{platform.stage / 'lib'}",
        "GOARCH": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine],
        "PKG_CONFIG_LIBDIR": str(platform.stage / "lib/pkgconfig"),
        "PKG_CONFIG_PATH": "",
    }
    linker = '-linkmode external -extldflags "-static"'
    words = ["go", "build", "-tags", "pgauth_static netgo osusergo", "-ldflags", linker, "-o", str(program)]
    subprocess.run([*words, "./session"], cwd=ROOT / "examples/go", env=environment, check=True)
    folder = tmp_path / "root"
    roots.static_root(program, folder)
    done = roots.run(folder, roots.settings(sandbox, folder), platform.machine)
    assert done.returncode == 0, done
    assert done.stdout.count("HTTP 200") == 3
