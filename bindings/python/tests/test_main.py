"""``paymentsgate-auth-session``, which is also ``python -m paymentsgate_auth``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import Sandbox
from test_request import calls

from paymentsgate_auth import library_version
from paymentsgate_auth.__main__ import main

Config = dict[str, str]


@pytest.fixture(autouse=True)
def environment(settings: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"PAYMENTSGATE_{name.replace('.', '_').upper()}", value)


def test_status(sandbox: Sandbox, settings: Config, capsys: pytest.CaptureFixture[str]) -> None:
    main(["status", "--json"])
    status = json.loads(capsys.readouterr().out)
    assert (status["base_url"], status["phase"], status["generation"]) == (settings["base_url"], "fresh", 1)
    main(["status"])
    said = capsys.readouterr().out
    assert re.search(r"^base_url +https://127", said, re.M)
    assert re.search(r"^phase +fresh$", said, re.M)
    assert re.search(r"^last_error +null$", said, re.M)
    assert re.search(r"^counters\.issues +1$", said, re.M)
    assert not any(secret in said for secret in sandbox.secrets())


def test_status_from_a_store_makes_no_call(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ["--set", f"store=file:{tmp_path}/store"]
    (tmp_path / "store").mkdir(mode=0o700)
    main(["token", *store])
    token = capsys.readouterr().out
    main(["status", "--json", *store])
    status = json.loads(capsys.readouterr().out)
    assert (status["generation"], status["counters"]["issues"]) == (1, 0)
    assert calls(sandbox, "issue") == 1
    assert token.strip() not in json.dumps(status)


def test_status_says_why_there_is_no_token(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox.fault(route="issue", times=None, action={"kind": "status", "status": 503})
    with pytest.raises(SystemExit) as ended:
        main(["status", "--json", "--timeout", "0.2"])
    assert isinstance(ended.value.code, str)
    assert ended.value.code.startswith("PG_ERR_")
    assert json.loads(capsys.readouterr().out)["phase"] == "expired"


def test_token_works(sandbox: Sandbox, settings: Config, capsys: pytest.CaptureFixture[str]) -> None:
    main(["token", "--set", "user_agent=by hand/1"])
    token = capsys.readouterr().out.strip()
    last = sandbox.counters()["routes"]["issue"]["last"]
    assert last["headers"]["user-agent"] == "by hand/1"
    assert token.count(".") == 2


def test_run_as_a_module(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "paymentsgate_auth"]
    done = subprocess.run([*command, "version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == library_version()
    helped = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert helped.stdout.startswith("usage: paymentsgate-auth-session ")
    assert "pip install paymentsgate-auth-cli" in " ".join(helped.stdout.split())
    wrong = subprocess.run(
        [*command, "status", "--set", "colour=red"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("PG_ERR_UNKNOWN_SETTING: ")
    wrong = subprocess.run(
        [*command, "status", "--set", "colour"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "write NAME=VALUE" in wrong.stderr
