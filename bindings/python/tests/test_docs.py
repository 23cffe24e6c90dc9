"""The examples of docs/python.md, run as they stand against the emulator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "python.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 9


@pytest.mark.parametrize("example", EXAMPLES, ids=range(1, len(EXAMPLES) + 1))
def test_an_example(example: str, settings: dict[str, str]) -> None:
    """With the emulator's address and credentials; each HTTP client takes its trust from the environment."""
    program = example.replace("https://secure.example", settings["base_url"])
    program = program.replace('"credentials.json"', repr(settings["credentials_file"]))
    assert settings["base_url"] in program
    ca_file = settings["tls.ca_file"]
    trust = {"SSL_CERT_FILE": ca_file, "REQUESTS_CA_BUNDLE": ca_file, "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(
        command, env={**os.environ, **trust}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "paymentsgate_auth" in done.stderr if "basicConfig" in example else done.stdout
