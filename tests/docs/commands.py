"""What is checked of a command line in the documents, by its first word."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from pages import COMMAND_LINE, ROOT

MAKEFILE = "".join(file.read_text() for file in (ROOT / "Makefile", *sorted(ROOT.glob("mk/*.mk"))))
# Pages of other projects, which are not checked.
OTHERS = {"curl", "pip", "go", "jq", "url()", "pytest"}


def run(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
    return done


def is_command(line: str) -> bool:
    first = line.split(" ")[0]
    return bool(first) and not line[0].isspace() and (first in CHECKS or "=" in first)


def play(line: str, environment: dict[str, str], folder: Path) -> None:
    words = shlex.split(line, comments=True)
    while "=" in words[0]:
        words.pop(0)
    first = words[0]
    if first in OTHERS:
        return
    CHECKS[first](words, environment, folder)


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


CHECKS = {
    "make": make,
    "paymentsgate-auth": command_line,
    "pg-sandbox": emulator,
    "python": python,
    "cargo": cargo,
    **dict.fromkeys(OTHERS, make),
}
