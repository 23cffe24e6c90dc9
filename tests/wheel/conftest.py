"""The wheel under test, in an environment of its own outside of this tree."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox import Sandbox, started

ROOT = Path(__file__).parents[2]
OURS = ("PAYMENTSGATE_", "PG_", "PYTHON", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
"""The environment without anything that helps to find the library or the package."""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command says, which must succeed."""
    done = subprocess.run(
        command, cwd=cwd, env={**CLEAN, **environment}, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from a copy of what git has or would have: nothing that lies about helps."""
    copy = tmp_path_factory.mktemp("copy")
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout
    packed = ["tar", "--create", "--null", "--files-from=-", "--ignore-failed-read"]
    with subprocess.Popen(["tar", "--extract"], cwd=copy, stdin=subprocess.PIPE) as unpack:
        subprocess.run(packed, cwd=ROOT, input=names, stdout=unpack.stdin, check=True)
        assert unpack.stdin
        unpack.stdin.close()
    run(sys.executable, "-m", "build", "--sdist", copy, cwd=copy)
    (file,) = (copy / "dist").iterdir()
    return file


@pytest.fixture(scope="session")
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one that PG_WHEEL names; else one that is made from the source distribution alone."""
    if given := os.environ.get("PG_WHEEL"):
        return Path(given).resolve()
    # At one path, so that cargo finds the crates that it has compiled. The times are those of unpacking: the
    # archive's never change, and cargo would take new sources for old ones.
    source = ROOT / "build" / "wheel"
    subprocess.run(["rm", "-rf", source], check=True)
    source.mkdir(parents=True)
    sdist = request.getfixturevalue("sdist")
    subprocess.run(["tar", "-xmzf", sdist, "--strip-components=1"], cwd=source, check=True)
    target = os.environ.get("CARGO_TARGET_DIR") or str(ROOT / "target")
    to = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", to]
    run(*build, source / "bindings" / "python", cwd=to, CARGO_TARGET_DIR=target)
    (file,) = to.iterdir()
    return file


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment's interpreter, with the wheel and nothing else."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-index", wheel, cwd=home)
    return python


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with started() as sandbox:
        yield sandbox
