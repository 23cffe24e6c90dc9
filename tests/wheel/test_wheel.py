"""The wheels in another place: they contain everything that they need, and work."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_data import check
from sandbox import Sandbox, started

ROOT = Path(__file__).parents[2]
OURS = ("PAYMENTSGATE_", "PG_", "PYTHON", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
"""The environment without variables that help to find the library or the package."""
PACKAGE = ROOT / "bindings" / "python" / "src" / "paymentsgate_auth"
LIBRARY = "paymentsgate_auth/libpaymentsgate_auth.so.1"

PROGRAMS = {"sandbox": "pg-sandbox", "cli": "paymentsgate-auth"}
"""The programs of the wheels paymentsgate-auth-sandbox and paymentsgate-auth-cli."""

JOB = """
import paymentsgate_auth
from paymentsgate_auth import Session, library_version

with Session.from_env() as session:
    token = session.token(timeout=30)
    assert token.remaining > 60
    assert session.request("GET", "/wallet").status == 200
    session.reject(token)
    assert session.token(timeout=30).fingerprint != token.fingerprint
    assert session.request("GET", "/wallet").status == 200
print(library_version())
print(paymentsgate_auth.__file__)
with open("/proc/self/maps") as maps:
    print({line.split()[-1] for line in maps if "libpaymentsgate_auth" in line})
"""

USER_PROGRAM = """
from paymentsgate_auth import AsyncSession, LogLevel, PaymentsGateError, Session, Token

def pay(amount: float) -> tuple[int, str | None]:
    try:
        with Session(base_url="https://secure.example", credentials_file="credentials.json") as session:
            token: Token = session.token(timeout=5, min_remaining=60.0)
            answer = session.request("POST", "/deals/payin", json={"amount": amount})
            for event in session.subscribe(LogLevel.WARN):
                print(event.kind.name, event.text)
            return answer.status, token.refresh_token
    except PaymentsGateError as error:
        return error.http_status or 0, error.server_code

async def wallet(session: AsyncSession) -> bytes:
    return (await session.request("GET", "/wallet")).body
"""
USER_TEST = """
def test_a_revoked_token_is_replaced(paymentsgate_session, paymentsgate_sandbox):
    paymentsgate_sandbox.revoke()
    assert paymentsgate_session.request("GET", "/wallet").status == 200
"""
WRONG_USE = """
from paymentsgate_auth import Session

with Session(base_url=443, colour="red") as session:
    number: int = session.token().access_token
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """The output of a command that must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**CLEAN, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made from a copy of the files that git has or would add, without other files of the tree."""
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
    """The wheel that PG_WHEEL names, or one built from the source distribution alone."""
    if given := os.environ.get("PG_WHEEL"):
        return Path(given).resolve()
    # At one path, so that cargo reuses its compiled crates. The file times are those of unpacking: the
    # archive's times never change, and cargo would not notice new sources.
    source = ROOT / "build" / "wheel"
    subprocess.run(["rm", "-rf", source], check=True)
    source.mkdir(parents=True)
    sdist = request.getfixturevalue("sdist")
    subprocess.run(["tar", "-xmzf", sdist, "--strip-components=1"], cwd=source, check=True)
    target = os.environ.get("CARGO_TARGET_DIR") or str(ROOT / "target")
    to = tmp_path_factory.mktemp("wheel")
    build: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", to]
    run(*build, source / "bindings" / "python", cwd=to, CARGO_TARGET_DIR=target)
    (file,) = to.iterdir()
    return file


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with only the wheel."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-index", wheel, cwd=home)
    return python


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of the programs: beside the one that PG_WHEEL names, or built in the tree."""
    folder = tmp_path_factory.mktemp("programs")
    if given := os.environ.get("PG_WHEEL"):
        folder = Path(given).resolve().parent
    else:
        build: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder]
        run(*build, *(ROOT / f"bindings/python-{part}" for part in PROGRAMS), cwd=folder)
    return {part: next(folder.glob(f"paymentsgate_auth_{part}-*.whl")) for part in PROGRAMS}


@pytest.fixture(scope="session")
def complete(wheel: Path, programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with all wheels."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-index", wheel, *programs.values(), cwd=home)
    return python


@pytest.fixture(params=["library", *PROGRAMS])
def each(request: pytest.FixtureRequest) -> tuple[Path, str]:
    """Each wheel, and what is in it that cargo has built."""
    if request.param == "library":
        return request.getfixturevalue("wheel"), LIBRARY
    file = request.getfixturevalue("programs")[request.param]
    return file, f"{'-'.join(file.name.split('-')[:2])}.data/scripts/{PROGRAMS[request.param]}"


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with started() as sandbox:
        yield sandbox


def environment(sandbox: Sandbox) -> dict[str, str]:
    return {
        "PAYMENTSGATE_BASE_URL": sandbox.address["https"],
        "PAYMENTSGATE_TLS_CA_FILE": sandbox.address["ca_file"],
        "PAYMENTSGATE_CREDENTIALS_FILE": sandbox.address["credentials_file"],
    }


def test_the_installed_package_gets_a_token(python: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    version, package, mapped = run(python, "-I", "-c", JOB, cwd=tmp_path, **environment(sandbox)).splitlines()
    assert version == re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]  # type: ignore[index]
    # It uses its own library and loads no other.
    assert Path(package).is_relative_to(python.parents[1])
    assert mapped == repr({str(Path(package).parent / Path(LIBRARY).name)})


def test_the_installed_command_works(python: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    command = python.with_name("paymentsgate-auth-session")
    for words in ([command], [python, "-m", "paymentsgate_auth"]):
        said = run(*words, "status", "--json", cwd=tmp_path, **environment(sandbox))
        assert json.loads(said)["phase"] == "fresh"
    # The name of the operators' command is free for the wheel that has it.
    assert not python.with_name("paymentsgate-auth").exists()


def test_pytest_finds_the_plugin(python: Path, tmp_path: Path) -> None:
    program = "from importlib.metadata import entry_points; print(*entry_points(group='pytest11'))"
    assert "value='paymentsgate_auth.testing'" in run(python, "-I", "-c", program, cwd=tmp_path)


def test_a_program_frozen_with_pyinstaller(python: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    """PyInstaller finds the hook of the installed package, and the program has the library inside."""
    (tmp_path / "shop.py").write_text(JOB)
    [installed] = python.parents[1].glob("lib/python*/site-packages")
    freeze = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level=WARN", "shop.py"]
    run(*freeze, cwd=tmp_path, PYTHONPATH=str(installed))
    program = tmp_path / "moved"
    (tmp_path / "dist" / "shop").rename(program)
    version, _, mapped = run(program / "shop", cwd=tmp_path, **environment(sandbox)).splitlines()
    assert version
    assert mapped == repr({str(program / "_internal" / LIBRARY)})
    # They are installed beside PyInstaller here, and the program does not use them.
    assert not any((program / "_internal" / name).exists() for name in ("gevent", "trio"))


def test_the_installed_programs_run(complete: Path, tmp_path: Path) -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]  # type: ignore[index]
    for program in PROGRAMS.values():
        assert run(complete.parent / program, "--version", cwd=tmp_path) == f"{program} {version}\n"
    # The command line finds the emulator beside itself, and a session with it gets a token.
    command = complete.parent / "paymentsgate-auth"
    here = {"PATH": "/usr/bin:/bin", "XDG_STATE_HOME": str(tmp_path)}
    assert "Bearer" in run(command, "sandbox", "--", command, "token", "--header", cwd=tmp_path, **here)


def test_the_plugin_finds_the_installed_emulator(python: Path, complete: Path, tmp_path: Path) -> None:
    """Without a variable, and not on PATH. pytest is that of this environment."""
    (tmp_path / "test_shop.py").write_text(USER_TEST)
    where = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(pytest.__file__).parents[1])}
    assert "1 passed" in run(complete, "-m", "pytest", "test_shop.py", cwd=tmp_path, **where)
    without = subprocess.run(
        [python, "-m", "pytest", "test_shop.py"],
        cwd=tmp_path,
        env={**CLEAN, **where},
        capture_output=True,
        text=True,
        check=False,
    )
    assert without.returncode == 1
    assert "pip install paymentsgate-auth-sandbox" in without.stdout


def test_the_metadata_has_urls_and_extras(wheel: Path, programs: dict[str, Path]) -> None:
    """The library too in a wheel that is given to others."""
    for file in (*programs.values(), *([wheel] if "PG_WHEEL" in os.environ else [])):
        archive = zipfile.ZipFile(file)
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
        urls = dict(re.findall("^Project-URL: (\\w+), (https://.+)$", metadata, re.M))
        assert set(urls) == {"Repository", "Documentation", "Changelog", "Issues"}
        for url in urls.values():
            # A page of the documentation exists in the tree.
            _, found, page = url.partition("/blob/main/")
            assert not found or (ROOT / page).is_file(), url
        if file == wheel:
            for extra, part in (("testing", "sandbox"), ("cli", "cli")):
                assert f"Requires-Dist: paymentsgate-auth-{part}; extra == '{extra}'" in metadata


def test_the_wheels_of_programs_contain_exactly_the_expected_files(programs: dict[str, Path]) -> None:
    for part, file in programs.items():
        archive = zipfile.ZipFile(file)
        names = {re.sub(r"^[^/]+\.(dist-info|data)/", "", name) for name in archive.namelist()}
        package = "pg-sandbox" if part == "sandbox" else "paymentsgate-auth-cli"
        texts = ("LICENSE-APACHE", "LICENSE-MIT", "THIRD-PARTY-NOTICES.txt")
        licences = {f"licenses/{name}" for name in texts}
        expected = {f"scripts/{PROGRAMS[part]}", "METADATA", "WHEEL", "RECORD", f"sboms/{package}.cdx.json"}
        assert names - {"sboms/auditwheel.cdx.json"} == expected | licences
        [notices] = [name for name in archive.namelist() if name.endswith("THIRD-PARTY-NOTICES.txt")]
        assert archive.read(notices) == (ROOT / "THIRD-PARTY-NOTICES.txt").read_bytes()


def test_the_wheel_contains_exactly_the_expected_files(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    found = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    sources = {path.relative_to(PACKAGE.parent).as_posix() for path in found}
    assert "paymentsgate_auth/py.typed" in sources
    licences = {name for name in names if ".dist-info/licenses/" in name}
    assert sources | {LIBRARY} <= names
    rest = names - sources - licences - {LIBRARY}
    # auditwheel adds another bill of materials.
    about = {Path(name).name for name in rest if ".dist-info/" in name}
    assert about - {"auditwheel.cdx.json"} == {
        *("METADATA", "WHEEL", "RECORD", "entry_points.txt", "sbom.cdx.json")
    }
    assert {name for name in rest if ".dist-info/" not in name} == set()


def test_pip_and_twine_report_no_problem(
    complete: Path, wheel: Path, programs: dict[str, Path], sdist: Path, tmp_path: Path
) -> None:
    assert "No broken requirements" in run(complete, "-m", "pip", "check", cwd=tmp_path)
    files = [wheel, sdist, *programs.values()]
    said = run(sys.executable, "-m", "twine", "check", "--strict", *files, cwd=tmp_path)
    assert said.count("PASSED") == 4


def test_a_wheel_runs_on_the_platforms_its_name_claims(each: tuple[Path, str], tmp_path: Path) -> None:
    """Checks with auditwheel, and by the newest glibc symbol that is needed."""
    wheel, built = each
    said = " ".join(run(sys.executable, "-m", "auditwheel", "show", wheel, cwd=tmp_path).split())
    tag = wheel.stem.split("-")[-1]
    assert "-py3-none-" in wheel.name
    if "musllinux" in tag:
        assert tag.split(".")[0] in said
        return
    zipfile.ZipFile(wheel).extract(built, tmp_path)
    symbols = run("objdump", "-T", built, cwd=tmp_path)
    newest = max(tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_(\d+\.\d+)", symbols))
    here = tuple(map(int, platform.libc_ver()[1].split(".")))
    promised = [tuple(map(int, found)) for found in re.findall(r"manylinux_(\d+)_(\d+)", tag)]
    print(f"{wheel.name}: {wheel.stat().st_size} bytes, glibc {'.'.join(map(str, newest))} or newer; {said}")
    assert newest <= (promised or [here])[0]
    # What this glibc does not have has no version, and neither linker nor auditwheel refuses it.
    undefined = [line for line in symbols.splitlines() if "*UND*" in line]
    assert not [line for line in undefined if "(" not in line and " w " not in line]
    # No symbol is needed that such a system may lack.
    assert f'manylinux_{newest[0]}_{newest[1]}_{platform.machine()}"' in said


def test_the_library_is_built_as_configured(wheel: Path, tmp_path: Path) -> None:
    """The wheel's linker must keep the name, the symbols, NODELETE, and room for the thread-local pointer."""
    zipfile.ZipFile(wheel).extract(LIBRARY, tmp_path)
    dynamic = run("readelf", "--dynamic", "--wide", LIBRARY, cwd=tmp_path)
    assert "[libpaymentsgate_auth.so.1]" in dynamic
    assert "NODELETE" in dynamic
    symbols = run("nm", "--dynamic", "--defined-only", LIBRARY, cwd=tmp_path)
    exports = (ROOT / "abi" / "exports.txt").read_text().splitlines()
    assert {line.split()[-1] for line in symbols.splitlines()} == {
        line for line in exports if line[:3] == "pg_"
    }
    if "musllinux" not in wheel.name and platform.machine() == "x86_64":
        assert "R_X86_64_TPOFF64" in run("readelf", "--relocs", "--wide", LIBRARY, cwd=tmp_path)


def test_the_wheel_carries_its_licences_and_its_bill_of_materials(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    named = re.findall("^License-File: (.*)$", archive.read(metadata).decode(), re.M)
    assert sorted(named) == ["LICENSE-APACHE", "LICENSE-MIT", "THIRD-PARTY-NOTICES.txt"]
    folder = metadata.removesuffix("METADATA")
    assert all(archive.read(f"{folder}licenses/{name}") == (ROOT / name).read_bytes() for name in named)
    bill = json.loads(archive.read(f"{folder}sboms/sbom.cdx.json"))
    assert {"ring", "rustls"} <= {component["name"] for component in bill["components"]}


def test_what_is_compiled_says_what_is_in_it(wheel: Path, programs: dict[str, Path], tmp_path: Path) -> None:
    """The library too in a wheel that is given to others."""
    for file in (*programs.values(), *([wheel] if "PG_WHEEL" in os.environ else [])):
        archive = zipfile.ZipFile(file)
        [bill] = [name for name in archive.namelist() if re.search(r"/sboms/(?!auditwheel)", name)]
        [binary] = [name for name in archive.namelist() if name == LIBRARY or ".data/scripts/" in name]
        check(Path(archive.extract(binary, tmp_path)), json.loads(archive.read(bill)))


def test_a_wheel_contains_no_path_of_the_build_machine(each: tuple[Path, str]) -> None:
    archive = zipfile.ZipFile(each[0])
    paths = [str(Path.home()), str(ROOT), os.environ.get("CARGO_HOME") or str(Path.home() / ".cargo")]
    for name in archive.namelist():
        assert not any(f"{path}/".encode() in archive.read(name) for path in paths), name


def test_the_same_sources_make_the_same_source_distribution(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"THIRD-PARTY-NOTICES.txt", "sbom.cdx.json", "scripts/cargo-release", "Cargo.lock"} <= names
    # What other targets of make leave in the tree, as those that .gitignore names.
    for made in ("target", "build", "fuzz/target", "fuzz/artifacts", "fuzz/Cargo.lock"):
        path = sdist.parents[1] / made / "something"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    run(sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path, sdist.parents[1], cwd=tmp_path)
    assert (tmp_path / sdist.name).read_bytes() == sdist.read_bytes()


def test_the_types_pass_a_strict_type_check(python: Path, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(USER_PROGRAM)
    (tmp_path / "wrong.py").write_text(WRONG_USE)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python)]
    assert "Success" in run(*mypy, "shop.py", cwd=tmp_path)
    wrong = subprocess.run([*mypy, "wrong.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert len(re.findall(r"\[(?:call-arg|arg-type|typeddict-item|assignment)\]", wrong.stdout)) == 3, (
        wrong.stdout
    )


def test_the_build_without_cargo_says_what_is_missing(sdist: Path, tmp_path: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--wheel-dir",
        tmp_path,
        sdist,
    ]
    environment = {**os.environ, "CARGO": "no-cargo-here"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode != 0
    assert "there is no no-cargo-here to build it: install Rust" in done.stdout + done.stderr
