"""The programs in the archive of `make dist` are static: they work in an empty root."""

from __future__ import annotations

from pathlib import Path

import roots
from roots import MUSL, Platform, of
from sandbox import Sandbox


@of(MUSL)
def test_the_command_line_prints_a_token_in_an_empty_root(
    platform: Platform, sandbox: Sandbox, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    roots.static_root(platform.stage / "bin/paymentsgate-auth", root)
    environment = roots.settings(sandbox, root)
    done = roots.run(root, environment, platform.machine, arguments=("token", "--header"))
    assert done.returncode == 0, done
    assert done.stdout.startswith("Authorization: Bearer "), done


@of(MUSL)
def test_the_emulator_starts_in_an_empty_root(platform: Platform, tmp_path: Path) -> None:
    root = tmp_path / "root"
    roots.static_root(platform.stage / "bin/pg-sandbox", root)
    done = roots.run(root, {}, platform.machine, arguments=("--version",))
    assert done.returncode == 0, done
    assert done.stdout.startswith("pg-sandbox "), done
