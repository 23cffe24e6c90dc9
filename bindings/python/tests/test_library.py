"""Which library is loaded, and that this package declares all its functions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from ctypes import sizeof
from pathlib import Path
from typing import get_type_hints

import pytest

import paymentsgate_auth
from paymentsgate_auth import Settings, library_version, settings
from paymentsgate_auth._library import _SIGNATURES, _file_name
from paymentsgate_auth._store import _Table

PACKAGE = Path(paymentsgate_auth.__file__).parent
HEADER = Path(__file__).parents[3] / "include" / "paymentsgate_auth.h"
SONAME = "libpaymentsgate_auth.so.1"


def stub(path: Path, source: str) -> Path:
    """Builds a tiny library that replaces the real one."""
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", path, "-"], input=source.encode(), check=True)
    return path


def abi(number: int) -> str:
    return f"unsigned pg_abi_version(void) {{ return {number}; }}"


IMPORT = "import paymentsgate_auth as p; print(p.library_version())"


def load(package: Path, program: str = IMPORT, **environment: str) -> str:
    """The output of importing the package in a separate process."""
    inherited = {name: value for name, value in os.environ.items() if name != "PAYMENTSGATE_AUTH_LIB"}
    command = [sys.executable, "-c", program]
    environment = {**inherited, "PYTHONPATH": str(package.parent), **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, so that a test can put a library beside it."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "paymentsgate_auth"))


def test_the_file_has_the_name_that_the_platform_gives_it() -> None:
    names = {platform: _file_name(platform) for platform in ("linux", "darwin", "freebsd14")}
    assert names == {
        "linux": "libpaymentsgate_auth.so.1",
        "darwin": "libpaymentsgate_auth.1.dylib",
        "freebsd14": "libpaymentsgate_auth.so.1",
    }


def test_the_variable_names_the_library(package: Path) -> None:
    assert load(package, PAYMENTSGATE_AUTH_LIB=os.environ["PAYMENTSGATE_AUTH_LIB"]) == library_version()


def test_a_library_beside_the_package_comes_first(package: Path) -> None:
    shutil.copy(os.environ["PAYMENTSGATE_AUTH_LIB"], package / SONAME)
    assert load(package, PAYMENTSGATE_AUTH_LIB="/nowhere.so") == library_version()


def test_the_system_comes_last(package: Path, tmp_path: Path) -> None:
    stub(tmp_path / SONAME, abi(41))
    assert "has ABI 41" in load(package, LD_LIBRARY_PATH=str(tmp_path))
    other = stub(tmp_path / "other.so", abi(42))
    assert "has ABI 42" in load(package, LD_LIBRARY_PATH=str(tmp_path), PAYMENTSGATE_AUTH_LIB=str(other))


def test_another_abi_is_refused_before_any_other_call(package: Path, tmp_path: Path) -> None:
    said = load(package, PAYMENTSGATE_AUTH_LIB=str(stub(tmp_path / "two.so", abi(2))))
    assert said.startswith("ImportError: ")
    assert "has ABI 2" in said
    assert "made for ABI 1" in said


def test_another_library_is_refused(package: Path, tmp_path: Path) -> None:
    said = load(package, PAYMENTSGATE_AUTH_LIB=str(stub(tmp_path / "other.so", "int other;")))
    assert said.startswith("ImportError: ")
    assert "is not paymentsgate-auth" in said


def test_an_older_library_is_refused(package: Path, tmp_path: Path) -> None:
    said = load(package, PAYMENTSGATE_AUTH_LIB=str(stub(tmp_path / "old.so", abi(1))))
    assert said.startswith("ImportError: ")
    assert "has no pg_version: it is older than this package" in said


def test_the_error_says_where_the_library_was_searched(package: Path) -> None:
    said = load(package, PAYMENTSGATE_AUTH_LIB="/nowhere.so")
    assert said.startswith("ImportError: cannot load /nowhere.so")
    for piece in (str(package / SONAME), "PAYMENTSGATE_AUTH_LIB (/nowhere.so)", "make install", "ldconfig"):
        assert piece in said


def test_thread_local_memory_that_other_libraries_have_taken(package: Path, tmp_path: Path) -> None:
    """What docs/python.md says about glibc: the error, and the two ways out of it."""
    model = '__attribute__((tls_model("initial-exec"))) __thread'
    other = stub(
        tmp_path / "other.so", f"{model} char taken[64] = {{1}}; char *use(void) {{ return taken; }}"
    )
    for number in range(40):
        shutil.copy(other, tmp_path / f"other{number}.so")
    others = f"""
import contextlib, ctypes, pathlib
for other in pathlib.Path({str(tmp_path)!r}).glob("other?*.so"):
    with contextlib.suppress(OSError): ctypes.CDLL(str(other))
"""
    ours = os.environ["PAYMENTSGATE_AUTH_LIB"]
    said = load(package, others + IMPORT, PAYMENTSGATE_AUTH_LIB=ours)
    assert said.startswith("ImportError: ")
    assert "cannot allocate memory in static TLS block" in said
    assert load(package, IMPORT + others, PAYMENTSGATE_AUTH_LIB=ours) == library_version()
    [setting] = re.findall(r"GLIBC_TUNABLES=(\S+)", said)
    reserved = load(package, others + IMPORT, PAYMENTSGATE_AUTH_LIB=ours, GLIBC_TUNABLES=setting)
    assert reserved == library_version()


def test_every_function_of_the_header_is_declared() -> None:
    assert set(_SIGNATURES) == set(
        re.findall(r"\b(pg_\w+)\(", re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S))
    )


def test_the_version_is_the_crate_s() -> None:
    manifest = (HEADER.parents[1] / "Cargo.toml").read_text()
    assert f'\nversion = "{paymentsgate_auth.__version__}"\n' in manifest, (
        "write the new version into __init__.py"
    )


def test_the_keywords_are_the_library_s_settings() -> None:
    table = settings()
    assert list(get_type_hints(Settings)) == [setting.name.replace(".", "_") for setting in table]
    rows = {setting.name: setting for setting in table}
    assert rows["refresh_timeout_ms"][1:3] == ("milliseconds", "45000")
    assert all(setting.type and setting.range and setting.description for setting in table)


def test_the_table_of_a_store_has_the_library_s_layout() -> None:
    lines = (HEADER.parents[1] / "abi" / "layout.txt").read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    listed = {name: (int(offset), int(size)) for name, offset, size in rows}
    members = {name: getattr(_Table, name) for name, _ in _Table._fields_}
    found = {name: (member.offset, member.size) for name, member in members.items()}
    assert {**found, "pg_store": (0, sizeof(_Table))} == listed
