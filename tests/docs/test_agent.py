"""The commands of docs/agent.md and the README: an agent, and the curl that asks it, as printed."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from pages import COMMAND_LINE, ROOT, Block, blocks

AGENT = "paymentsgate-auth agent"
BLOCKS = [
    block
    for block in blocks()
    if block.page in (ROOT / "docs/agent.md", ROOT / "README.md") and AGENT in block.code
]


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def test_there_are_such_blocks() -> None:
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_an_agent_answers(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    """Only the port is another one, since any port may be in use here."""
    code = block.code
    for port in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", code))):
        code = code.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}")
    agent, curl = (line for line in code.splitlines() if line)
    path = f"{COMMAND_LINE.parent}:{environment['PATH']}"
    own = environment | {"XDG_RUNTIME_DIR": str(tmp_path), "PATH": path}
    started = subprocess.Popen(["sh", "-c", f"exec {agent}"], env=own, cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        assert started.stderr is not None
        line = started.stderr.readline()
        assert b" on " in line, line + started.stderr.read()
        asked = subprocess.run(["sh", "-c", curl], env=own, cwd=tmp_path, capture_output=True, timeout=60)
        answer = json.loads(asked.stdout)
        assert "assets" in answer or answer["access_token"].startswith("eyJ")
        started.send_signal(signal.SIGTERM)
        started.stderr.read()
        assert started.wait(60) == 0
    finally:
        started.kill()
        started.wait()
