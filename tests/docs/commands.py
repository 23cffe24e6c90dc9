"""What is checked of a command line in the documents, by its first word."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from pages import COMMAND_LINE, ROOT

MAKEFILE = "".join(file.read_text() for file in (ROOT / "Makefile", *sorted(ROOT.glob("mk/*.mk"))))
DEPLOY = ROOT / "examples/deploy"
UNITS = DEPLOY / "systemd"
# Programs of other projects, which are not run.
OTHERS = {"conan", "go", "jq", "pytest", "python3", "tar", "vcpkg"}
# How the blocks begin that are no command lines: drawings, messages, and code of other kinds.
TEXTS = (
    "┌ token",
    "return at once",
    "lock ─",
    "the store breaks its contract",
    "explorer: ",
    "FROM scratch",
    "ACL SETUSER",
    "set NAME VALUE",
    "find_program(",
    "let sandbox",
)
# Variables that are no settings: of the command line, and of other programs.
VARIABLES = {"PAYMENTSGATE_PROFILE", "PKG_CONFIG_LIBDIR", "CGO_ENABLED", "CC", "PG_SANDBOX"}


def run(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done


def commands_of(code: str) -> Iterator[str]:
    """The command lines of an indented block, without the output between them."""
    if code.lstrip().startswith(TEXTS):
        return
    for line in code.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith(("{", " ")):
            yield line.removeprefix("$ ")


def play(line: str, environment: dict[str, str], folder: Path) -> None:
    words = shlex.split(line, comments=True)
    while "=" in words[0]:
        is_known_variable(words.pop(0))
    first = words[0]
    assert first in CHECKS or first in OTHERS, f"nothing checks {first}: {line}"
    if first in CHECKS:
        CHECKS[first](words, environment, folder)


def is_known_variable(assignment: str) -> None:
    name = assignment.partition("=")[0]
    is_driver = name.startswith("PG_DRIVER_")
    settings = (ROOT / "docs/settings.md").read_text()
    assert name in VARIABLES or is_driver or f"`{name}`" in settings, f"no setting has the variable {name}"


def export(words: list[str], _environment: dict[str, str], _folder: Path) -> None:
    for assignment in words[1:]:
        is_known_variable(assignment)


def make(words: list[str], _environment: dict[str, str], _folder: Path) -> None:
    for target in words[1:]:
        if "=" in target:
            assert re.search(
                rf"^{target.split('=')[0]}\s*\??:?=|\$\({target.split('=')[0]}\)", MAKEFILE, re.M
            ), target
        else:
            assert re.search(rf"^{target}:", MAKEFILE, re.M), f"make has no target {target}"


def command_line(words: list[str], environment: dict[str, str], folder: Path) -> None:
    """With --help at its end a command checks its other arguments, and does nothing."""
    # After `--` comes another program.
    own = words[1 : words.index("--")] if "--" in words else words[1:]
    run([str(COMMAND_LINE), *own, "--help"], environment, folder)


def python(words: list[str], environment: dict[str, str], folder: Path) -> None:
    run([sys.executable, *words[1:], "--help"], environment, folder)


def session_command(words: list[str], environment: dict[str, str], folder: Path) -> None:
    """The console script of the package, which is not installed here."""
    script = (ROOT / "pyproject.toml").read_text()
    assert f'{words[0]} = "paymentsgate_auth.__main__:main"' in script
    python([words[0], "-m", "paymentsgate_auth", *words[1:]], environment, folder)


def cargo(words: list[str], environment: dict[str, str], folder: Path) -> None:
    for option in ("-p", "--package"):
        if option in words:
            package = words[words.index(option) + 1]
            run(["cargo", "pkgid", "--manifest-path", str(ROOT / "Cargo.toml"), package], environment, folder)
    if "--test" in words:
        assert list((ROOT / "tests").glob(f"{words[words.index('--test') + 1]}*"))


def emulator(words: list[str], environment: dict[str, str], folder: Path) -> None:
    # After `--` comes another program, and after `>` a file.
    own = words[1 : next((at for at, word in enumerate(words) if word in ("--", ">")), None)]
    run([os.environ["PG_SANDBOX"], *own, "--help"], environment, folder)


def pip(words: list[str], _environment: dict[str, str], _folder: Path) -> None:
    """A package of this project and its extras, the sources, or wheels that `make wheel` leaves in dist/."""
    _, verb, *wanted = words
    assert verb == "install"
    projects = [ROOT / "pyproject.toml", *ROOT.glob("bindings/python-*/pyproject.toml")]
    names = {re.findall('^name = "(.+)"$', file.read_text(), re.M)[0] for file in projects}
    for package in wanted:
        name, _, extras = package.rstrip("]").partition("[")
        assert name in names | {"."} or re.fullmatch(r"dist/[\w*-]*\*\.whl", name), package
        for extra in filter(None, extras.split(",")):
            assert re.search(f"^{extra} = \\[", projects[0].read_text(), re.M), package


def apt_get(words: list[str], _environment: dict[str, str], _folder: Path) -> None:
    packages = re.findall("^Package: (.+)$", (ROOT / "debian/control").read_text(), re.M)
    assert words[1] == "install"
    for file in words[2:]:
        assert re.fullmatch(r"\./([\w-]+)_\*\.deb", file), file
        assert file.removeprefix("./").removesuffix("_*.deb") in packages, file


def curl(words: list[str], environment: dict[str, str], folder: Path) -> None:
    """A socket of the units is named as they name it, and a command whose output is sent is one."""
    if "--unix-socket" in words:
        path = words[words.index("--unix-socket") + 1]
        listened = {place for unit in UNITS.glob("*.socket") for place in values_of(unit, "ListenStream")}
        assert path in listened or path.startswith("$"), path
    for inner in re.findall(r"\$\(([^)]*)\)", " ".join(words)):
        if inner.split()[0] != "cat":
            play(inner, environment, folder)


# ---- Machines: what would change this one is done below a folder of the test's own.


def values_of(unit: Path, name: str) -> list[str]:
    return re.findall(f"^{name}=(.*)$", unit.read_text(), re.M)


def below(words: list[str], environment: dict[str, str], folder: Path) -> None:
    """The line as it is printed, but /etc is a folder of the test's own, and so are the sources."""
    (folder / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
    if not (folder / "examples").exists():
        (folder / "examples").symlink_to(ROOT / "examples")
        shutil.copy(environment["PAYMENTSGATE_CREDENTIALS_FILE"], folder / "credentials.json")
    signs = {"|", ">"}
    line = " ".join(word if word in signs else shlex.quote(word) for word in words)
    run(["sh", "-ec", line.replace(" /etc/", f" {folder}/etc/")], environment, folder)


def key_of_the_store(words: list[str], environment: dict[str, str], folder: Path) -> None:
    """It makes a file for its owner alone, which is a store_key_file."""
    below(words, environment, folder)
    file = next(folder.rglob("store.key"))
    if "install" in words:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    own = environment | {"PAYMENTSGATE_STORE_KEY_FILE": str(file)}
    run([str(COMMAND_LINE), "login", "--store", f"file:{folder}/sealed"], own, folder)


def groupadd(words: list[str], _environment: dict[str, str], _folder: Path) -> None:
    for unit in UNITS.glob("*.socket"):
        assert values_of(unit, "SocketGroup") == words[-1:]


def systemctl(words: list[str], _environment: dict[str, str], _folder: Path) -> None:
    units = [word for word in words[2:] if not word.startswith("-")]
    assert words[1] == ("enable" if units else "daemon-reload")
    assert [unit for unit in units if not (UNITS / unit).is_file()] == []


def docker(words: list[str], environment: dict[str, str], folder: Path) -> None:
    text = (DEPLOY / "docker/Dockerfile").read_text().replace("\\\n", " ")
    image = "paymentsgate-auth"
    match words[1:]:
        case ["build", "-f", file, "-t", name, "."]:
            assert (ROOT / file, name) == (DEPLOY / "docker/Dockerfile", image)
        case ["tag", name, pushed]:
            assert name == image
            is_the_image_of_the_manifests(pushed)
        case ["push", pushed]:
            is_the_image_of_the_manifests(pushed)
        case ["run", *options, name]:
            assert name == image
            [user] = re.findall("^USER ([0-9]+):", text, re.M)
            [health] = re.findall("^EXPOSE ([0-9]+)$", text, re.M)
            made = re.findall(r'"\$root(/[^"]+)"', (DEPLOY / "docker/rootfs").read_text())
            given = dict(pairwise(options))
            path, _, modes = given["--tmpfs"].partition(":")
            assert path in made
            assert f'"{path}/agent.sock"' in text
            assert modes == f"uid={user},mode=0700"
            source, target, access = given["-v"].split(":")
            assert f"PAYMENTSGATE_CREDENTIALS_FILE={target}" in text
            assert str(Path(target).parent) in made
            assert (Path(source).name, access) == (Path(target).name, "ro")
            is_known_variable(given["-e"])
            assert given["-p"] == f"127.0.0.1:{health}:{health}"
            assert {"--read-only", "--cap-drop", "--security-opt"} <= set(options)
        case _:
            raise AssertionError(f"nothing checks {shlex.join(words)}")


def is_the_image_of_the_manifests(name: str) -> None:
    for file in (DEPLOY / "kubernetes").glob("*.yaml"):
        assert f"image: {name}\n" in file.read_text(), f"{file.name}: {name}"


def kubectl(words: list[str], _environment: dict[str, str], _folder: Path) -> None:
    manifests = "".join(file.read_text() for file in (DEPLOY / "kubernetes").glob("*.yaml"))
    match words[1:]:
        case ["apply", "-f", file]:
            assert (ROOT / file).is_file(), file
        case ["create", "secret", "generic", name, *sources]:
            assert f"secretName: {name}\n" in manifests, name
            # The manifests' comments have the same line.
            assert f"#   {shlex.join(words)}\n" in manifests, shlex.join(words)
            assert all(source.startswith(("--from-file=", "--from-literal=")) for source in sources)
        case _:
            raise AssertionError(f"nothing checks {shlex.join(words)}")


CHECKS = {
    "apt-get": apt_get,
    "cargo": cargo,
    "cp": below,
    "curl": curl,
    "docker": docker,
    "export": export,
    "groupadd": groupadd,
    "install": below,
    "kubectl": kubectl,
    "make": make,
    "openssl": key_of_the_store,
    "paymentsgate-auth": command_line,
    "paymentsgate-auth-session": session_command,
    "pg-sandbox": emulator,
    "pip": pip,
    "pipx": pip,
    "python": python,
    "systemctl": systemctl,
}
