"""The command line in the archive of `make dist` is static: it works in an empty root."""

from __future__ import annotations

from pathlib import Path

import roots
from roots import MUSL, Platform, of
from sandbox import Sandbox


@of(MUSL)
def test_the_command_line_prints_a_token_in_an_empty_root(
    platform: Platform, sandbox: Sandbox, tmp_path: Path
) -> None:
    (program,) = (platform.stage.parent / "archive").glob("*/bin/paymentsgate-auth")
    root = tmp_path / "root"
    roots.static_root(program, root)
    environment = roots.settings(sandbox, root)
    done = roots.run(root, environment, platform.machine, arguments=("token", "--header"))
    assert done.returncode == 0, done
    assert done.stdout.startswith("Authorization: Bearer "), done
