"""What `make wheel dist deb` made for another platform: names, tags, kind of machine, no path from here."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGET = os.environ["PG_TARGET"]
"""As the Makefile has it: aarch64-unknown-linux-gnu.2.17, x86_64-unknown-linux-musl."""
MADE = Path(os.environ["PG_MADE"])
VERSION = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]  # type: ignore[index]

MACHINE = TARGET.split("-")[0]
MUSL = TARGET.endswith("-musl")
ELF_MACHINE = {"x86_64": 62, "aarch64": 183}[MACHINE]
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}[MACHINE]
WHEELS = {
    "paymentsgate_auth": "paymentsgate_auth/libpaymentsgate_auth.so.1",
    "paymentsgate_auth_cli": f"paymentsgate_auth_cli-{VERSION}.data/scripts/paymentsgate-auth",
    "paymentsgate_auth_sandbox": f"paymentsgate_auth_sandbox-{VERSION}.data/scripts/pg-sandbox",
}
PROGRAMS = ["paymentsgate-auth", "pg-sandbox"]
LIBC_OF_MUSL = Path("/lib/ld-musl-x86_64.so.1")
"""Musl 1.2.3 of this system. Its functions have the same names on every kind of machine."""
SINCE_MUSL_1_2_0 = {
    *("_Fork", "reallocarray", "gettid", "tcgetwinsize", "tcsetwinsize"),  # 1.2.2
    *("qsort_r", "pthread_getname_np"),  # 1.2.3
}
"""Those of its functions that are newer than 1.2.0."""


def said(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def glibc() -> tuple[int, ...]:
    """The oldest one that TARGET asks for."""
    return tuple(int(part) for part in TARGET.partition(".")[2].split("."))


def elf_files(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if path.read_bytes()[:4] == b"\x7fELF"]


def check_object(path: Path) -> None:
    """The kind of machine, and nothing that is only read in a debugger."""
    assert int.from_bytes(path.read_bytes()[18:20], "little") == ELF_MACHINE, path
    assert ".debug_" not in said("readelf", "--wide", "--section-headers", path), path


def check_elf(path: Path) -> None:
    check_object(path)
    if MUSL:
        check_musl(path)
    else:
        check_glibc(path)


def dynamic_symbols(path: Path) -> list[list[str]]:
    """Columns of readelf."""
    lines = (line.split() for line in said("readelf", "--wide", "--dyn-syms", path).splitlines())
    return [line for line in lines if len(line) >= 8 and line[0][:-1].isdigit()]


def check_musl(path: Path) -> None:
    """The library needs libc alone, as it was in musl 1.2.0. The programs need nothing, also no loader.

    All of them can lie at any address.
    """
    library = ".so" in path.name
    assert re.search(r"Type: +DYN ", said("readelf", "--file-header", path)), path
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", said("readelf", "--wide", "--dynamic", path))
    assert needed == (["libc.so"] if library else []), path
    assert "INTERP" not in said("readelf", "--wide", "--program-headers", path), path
    symbols = {line[7] for line in dynamic_symbols(path) if line[4] == "GLOBAL" and line[6] == "UND"}
    assert bool(symbols) is library, path
    given = {line[7] for line in dynamic_symbols(LIBC_OF_MUSL) if line[6] != "UND"}
    assert not symbols - (given - SINCE_MUSL_1_2_0), path


def check_glibc(path: Path) -> None:
    versions = re.findall(r"GLIBC_(\d+\.[\d.]+)", said("readelf", "--version-info", path))
    assert versions, path
    assert max(tuple(int(part) for part in version.split(".")) for version in versions) <= glibc(), path
    # What this glibc does not have has no version, and the linker accepts it in a library.
    symbols = [line[7] for line in dynamic_symbols(path) if line[4] == "GLOBAL" and line[6] == "UND"]
    assert symbols, path
    assert not [symbol for symbol in symbols if "@" not in symbol], path


def reviewed_exports() -> set[str]:
    lines = (ROOT / "abi" / "exports.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def check_symbol_versions(library: Path) -> None:
    """Each symbol of the reviewed list with the version of the ABI, and no other."""
    exported = {line[7] for line in dynamic_symbols(library) if line[6] != "UND"}
    assert exported == {f"{name}@@PAYMENTSGATE_AUTH_1" for name in reviewed_exports()}, library


def check_no_path_of_this_machine(folder: Path) -> None:
    paths = [str(ROOT), str(Path.home()), os.environ.get("CARGO_HOME") or str(Path.home() / ".cargo")]
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert not [name for name in paths if f"{name}/".encode() in content], path


@pytest.mark.parametrize("name", WHEELS)
def test_a_wheel_is_for_the_target(name: str, tmp_path: Path) -> None:
    system = "musllinux_1_2" if MUSL else f"manylinux_{'_'.join(map(str, glibc()))}"
    tag = f"{system}_{MACHINE}"
    (file,) = MADE.glob(f"{name}-*.whl")
    assert file.name.startswith(f"{name}-{VERSION}-py3-none-")
    assert tag in file.name.removesuffix(".whl").split("-")[-1].split(".")
    with zipfile.ZipFile(file) as wheel:
        wheel.extractall(tmp_path)
    about = (tmp_path / f"{name}-{VERSION}.dist-info" / "WHEEL").read_text()
    assert f"Tag: py3-none-{tag}\n" in about
    assert "Root-Is-Purelib: false\n" in about
    assert elf_files(tmp_path) == [tmp_path / WHEELS[name]]
    check_elf(tmp_path / WHEELS[name])
    check_no_path_of_this_machine(tmp_path)


def test_the_archive_is_for_the_target(tmp_path: Path) -> None:
    name = f"paymentsgate-auth-{VERSION}-{TARGET.split('.')[0]}"
    with tarfile.open(MADE / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="tar")
    folder = tmp_path / name
    (library,) = (folder / "lib").glob("libpaymentsgate_auth.so.1.*")
    programs = [folder / "bin" / program for program in PROGRAMS]
    assert sorted(elf_files(folder)) == sorted([library, *programs])
    for path in [library, *programs]:
        check_elf(path)
    check_symbol_versions(library)
    subprocess.run(["ar", "x", folder / "lib" / "libpaymentsgate_auth.a"], cwd=tmp_path, check=True)
    (member,) = tmp_path.glob("*.o")
    check_object(member)
    check_no_path_of_this_machine(folder)


def test_the_archive_exports_the_reviewed_names(tmp_path: Path) -> None:
    name = f"paymentsgate-auth-{VERSION}-{TARGET.split('.')[0]}"
    with tarfile.open(MADE / f"{name}.tar.gz") as archive:
        archive.extract(f"{name}/lib/libpaymentsgate_auth.a", tmp_path, filter="tar")
    library = tmp_path / name / "lib" / "libpaymentsgate_auth.a"
    lines = said(f"{MACHINE}-linux-gnu-nm", "--extern-only", "--defined-only", library).splitlines()
    exported = {line.split()[2] for line in lines if len(line.split()) == 3}
    assert exported == reviewed_exports()


@pytest.mark.parametrize("name", ["libpaymentsgate-auth1", "libpaymentsgate-auth-dev", "paymentsgate-auth"])
def test_a_debian_package_is_for_the_target(name: str, tmp_path: Path) -> None:
    file = MADE / f"{name}_{VERSION}_{DEBIAN}.deb"
    fields = said("dpkg-deb", "--field", file)
    assert f"Architecture: {DEBIAN}\n" in fields
    subprocess.run(["dpkg-deb", "--extract", file, tmp_path], check=True)
    folder = tmp_path / "usr" / "lib" / f"{MACHINE}-linux-gnu"
    if name == "paymentsgate-auth":
        expected = [tmp_path / "usr" / "bin" / program for program in PROGRAMS]
    else:
        expected = list(folder.glob("libpaymentsgate_auth.so.1.*"))
        assert (folder / "libpaymentsgate_auth.a").exists() == (name == "libpaymentsgate-auth-dev")
    if name != "libpaymentsgate-auth-dev":
        assert re.search(r"^Depends: .*\blibc6 \(>= 2\.", fields, re.M)
        assert expected
    assert sorted(elf_files(tmp_path)) == sorted(expected)
    for path in expected:
        check_elf(path)
    if name == "libpaymentsgate-auth1":
        (library,) = expected
        check_symbol_versions(library)
    check_no_path_of_this_machine(tmp_path)


def test_the_sums_are_those_of_the_files() -> None:
    lines = (line.split("  ") for line in (MADE / "SHA256SUMS").read_text().splitlines())
    sums = {name: value for value, name in lines}
    made = {path.name for path in MADE.iterdir() if path.suffix in (".deb", ".gz", ".whl")}
    assert set(sums) == made
    for name, value in sums.items():
        assert hashlib.sha256((MADE / name).read_bytes()).hexdigest() == value, name
