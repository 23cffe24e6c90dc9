"""A program in an empty root works, and each thing that it needs there and misses is named by an error."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import roots
from root import needs_root
from roots import HERE, MUSL, PLATFORMS, WITH_LIBC, Platform, of
from sandbox import Sandbox

NO_ANSWER = "127.0.0.77"

pytestmark = needs_root("a root folder of its own")


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The program, for each platform: with musl static, with glibc against the shared library."""
    folder = tmp_path_factory.mktemp("programs")
    found = {}
    for platform in PLATFORMS:
        found[platform.target] = folder / platform.target
        options = ["-static", *platform.flags("--static")] if platform in MUSL else platform.flags()
        platform.compile(Path(__file__).with_name("shop.c"), found[platform.target], *options)
    return found


@pytest.fixture
def root(platform: Platform, programs: dict[str, Path], tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    if platform in MUSL:
        roots.static_root(programs[platform.target], folder)
    else:
        roots.shared_root(programs[platform.target], platform, folder)
    return folder


def fails(
    root: Path, environment: dict[str, str], platform: Platform, *pieces: str
) -> subprocess.CompletedProcess[str]:
    """The error has these pieces, one after the other."""
    done = roots.run(root, environment, platform.machine)
    assert done.returncode == 1, done
    assert re.search(".*".join(map(re.escape, pieces)), done.stdout), done.stdout
    return done


@of(PLATFORMS)
def test_a_program_works_in_a_read_only_root_without_proc_dev_etc_and_tmp(
    platform: Platform, root: Path, sandbox: Sandbox
) -> None:
    environment = roots.settings(sandbox, root)
    assert {path.name for path in root.iterdir()} <= {"shop", "given", "lib", "lib64", "usr"}
    done = roots.run(root, environment, platform.machine)
    assert done.returncode == 0, done
    assert done.stdout.startswith("a token: "), done
    if platform in MUSL:
        assert b"/lib/ld-" not in (root / "shop").read_bytes()[:4096], "the program has no loader"


@of(HERE)
def test_closed_standard_streams_need_no_devices(platform: Platform, root: Path, sandbox: Sandbox) -> None:
    environment = roots.settings(sandbox, root)
    assert roots.run(root, environment, platform.machine, "<&- >&- 2>&-").returncode == 0
    assert sandbox.counters()["routes"]["issue"]["calls"] == 2


@of(HERE)
def test_missing_credentials_are_named(platform: Platform, root: Path, sandbox: Sandbox) -> None:
    environment = roots.settings(sandbox, root)
    (root / "given/credentials_file").unlink()
    fails(root, environment, platform, "credentials_file", "/given/credentials_file", "No such file")


@of(HERE)
def test_missing_authorities_are_named(platform: Platform, root: Path, sandbox: Sandbox) -> None:
    environment = roots.settings(sandbox, root)
    (root / "given/ca_file").unlink()
    fails(root, environment, platform, "tls.ca_file", "/given/ca_file", "No such file")
    del environment["PAYMENTSGATE_TLS_CA_FILE"]
    fails(root, environment, platform, "PG_ERR_SYSTEM", "no certificate authorities", "set tls.ca_file")


@of(HERE)
def test_a_store_that_cannot_be_written_is_named(platform: Platform, root: Path, sandbox: Sandbox) -> None:
    environment = {**roots.settings(sandbox, root), "PAYMENTSGATE_STORE": "file:/var/lib/shop"}
    # The session serves its token anyway, and its health tells what is wrong with the store.
    for advice in ("check that the folder exists", "the mount is read-only; name a folder on another one"):
        done = roots.run(root, environment, platform.machine)
        assert done.returncode == 0, done
        assert re.search(rf'"store_error":"[^"]*/var/lib/shop[^"]*{advice}', done.stdout), done
        (root / "var/lib").mkdir(parents=True, exist_ok=True)


def by_name(sandbox: Sandbox, root: Path) -> dict[str, str]:
    environment = roots.settings(sandbox, root)
    url = environment["PAYMENTSGATE_BASE_URL"].replace("127.0.0.1", "localhost")
    return {**environment, "PAYMENTSGATE_BASE_URL": url}


@of(HERE)
def test_a_missing_resolver_is_an_error_at_once(platform: Platform, root: Path, sandbox: Sandbox) -> None:
    environment = by_name(sandbox, root)
    done = fails(root, environment, platform, "PG_ERR_DNS", "localhost", "/etc/hosts", "/etc/resolv.conf")
    # That of musl would wait until the library gives up.
    assert "has not answered" not in done.stdout
    (root / "etc").mkdir()
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    assert roots.run(root, environment, platform.machine).returncode == 0


@of(HERE)
def test_a_silent_resolver_is_named(platform: Platform, root: Path, sandbox: Sandbox) -> None:
    environment = {**by_name(sandbox, root), "PAYMENTSGATE_CONNECT_TIMEOUT_MS": "700"}
    (root / "etc").mkdir()
    (root / "etc/resolv.conf").write_text(f"nameserver {NO_ANSWER}\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((NO_ANSWER, 53))
        cause = "name resolution of localhost has not answered"
        fails(root, environment, platform, "PG_ERR_DNS", cause, "/etc/resolv.conf")


@of(WITH_LIBC)
def test_the_shared_library_needs_the_libc_of_musl_alone(
    platform: Platform, sandbox: Sandbox, tmp_path: Path
) -> None:
    program = tmp_path / "shop"
    platform.compile(Path(__file__).with_name("shop.c"), program, *platform.flags())
    folder = tmp_path / "root"
    roots.static_root(program, folder)
    (folder / "lib").mkdir()
    shutil.copy2(platform.musl, folder / "lib")
    shutil.copy2(platform.stage / "lib/libpaymentsgate_auth.so.1", folder / "lib")
    done = roots.run(folder, roots.settings(sandbox, folder), platform.machine)
    assert done.returncode == 0, done
    assert done.stdout.startswith("a token: ")
