"""The pytest plugin: its fixtures, the faults by name, and what it says if there is no emulator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args
from urllib.error import HTTPError

import pytest

from paymentsgate_auth import (
    DeadlineExceeded,
    NetworkError,
    PaymentsGateError,
    Refused,
    ServiceError,
    Session,
    Status,
)
from paymentsgate_auth.testing import _FAULTS, Fault, Sandbox

PACKAGE = Path(__file__).parents[1] / "src"
STATUS: dict[Fault, int] = {"unauthorized": 401, "forbidden": 403, "rate_limited": 429, "unavailable": 503}
PROGRAM = """
def test_wallet(paymentsgate_session):
    assert paymentsgate_session.request("GET", "/wallet").status == 200
"""


def test_a_session_replaces_a_revoked_token(
    paymentsgate_session: Session, paymentsgate_sandbox: Sandbox
) -> None:
    assert paymentsgate_session.request("GET", "/wallet").status == 200
    paymentsgate_sandbox.revoke()
    assert paymentsgate_session.request("GET", "/wallet").status == 200
    sandbox = paymentsgate_sandbox
    assert (sandbox.calls("wallet"), sandbox.calls("issue"), sandbox.calls("fx")) == (3, 2, 0)
    assert sandbox.calls("any") == 5


def test_each_test_starts_anew(paymentsgate_session: Session, paymentsgate_sandbox: Sandbox) -> None:
    paymentsgate_sandbox.fault("unavailable", times=None)
    paymentsgate_sandbox.reset()
    assert paymentsgate_session.token(20).generation == 1
    assert paymentsgate_sandbox.calls("any") == 1


@pytest.mark.parametrize(("name", "status"), STATUS.items())
def test_faults_that_are_answers(
    paymentsgate_session: Session, paymentsgate_sandbox: Sandbox, name: Fault, status: int
) -> None:
    paymentsgate_sandbox.fault(name, "wallet", times=2)
    assert paymentsgate_session.request("GET", "/wallet").status == status
    assert paymentsgate_sandbox.calls("fx") == 0


def test_faults_of_the_connection(paymentsgate_session: Session, paymentsgate_sandbox: Sandbox) -> None:
    payin: dict[str, Any] = {"method": "POST", "path": "/deals/payin", "json": {"amount": 1}, "timeout": 20}
    for name in ("connection_reset", "answer_lost"):
        paymentsgate_sandbox.fault(name, "payin")
        with pytest.raises(NetworkError) as raised:
            paymentsgate_session.request(**payin)
        assert not raised.value.retryable
    paymentsgate_sandbox.fault("hang", "payin")
    with pytest.raises(DeadlineExceeded):
        paymentsgate_session.request(**{**payin, "timeout": 0.2})
    assert paymentsgate_sandbox.calls("payin") == 3


def test_faults_of_the_auth_endpoints(paymentsgate_session: Session, paymentsgate_sandbox: Sandbox) -> None:
    paymentsgate_sandbox.fault("malformed", "issue", times=None)
    with pytest.raises(PaymentsGateError) as raised:
        paymentsgate_session.token(0.3)
    assert Status.MALFORMED_ANSWER in (raised.value.status, raised.value.cause)
    paymentsgate_sandbox.reset()
    paymentsgate_sandbox.fault("unauthorized", "issue", times=None)
    with Session(paymentsgate_sandbox.settings) as session, pytest.raises((Refused, ServiceError)):
        session.token(5)


def test_every_fault_has_a_name_of_its_type(paymentsgate_sandbox: Sandbox) -> None:
    assert list(get_args(Fault)) == list(_FAULTS)
    for name in _FAULTS:
        paymentsgate_sandbox.fault(name, "other")
    assert len(paymentsgate_sandbox.ask("GET", "/faults")) == len(_FAULTS)
    with pytest.raises(ValueError, match="no fault is named 'earthquake'; there are unauthorized, forbidden"):
        paymentsgate_sandbox.fault("earthquake")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no route 'walet', only any, issue, refresh, wallet"):
        paymentsgate_sandbox.calls("walet")  # type: ignore[arg-type]


def test_a_refused_request_to_the_admin_port_says_why(paymentsgate_sandbox: Sandbox) -> None:
    with pytest.raises(HTTPError, match=r"400: Bad Request: PATCH /switches: .*rotatoin") as raised:
        paymentsgate_sandbox.ask("PATCH", "/switches", {"rotatoin": "static"})
    assert "rotatoin" in json.load(raised.value)["error"]


def run(folder: Path, **environment: str | None) -> str:
    """The output of pytest for a test of a program, in a process with other variables."""
    (folder / "test_wallet.py").write_text(PROGRAM)
    merged: dict[str, str | None] = {**os.environ, "PYTHONPATH": str(PACKAGE), **environment}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "paymentsgate_auth.testing", "test_wallet.py"]
    chosen = {name: value for name, value in merged.items() if value is not None}
    done = subprocess.run(
        command, cwd=folder, env=chosen, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


def test_the_emulator_is_found_by_its_variable_or_on_the_path(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path)
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(os.environ["PG_SANDBOX"], folder / "pg-sandbox")
    assert "1 passed" in run(tmp_path, PG_SANDBOX=None, PATH=f"{folder}:{os.environ['PATH']}")


def test_without_the_emulator_the_error_says_what_to_install(tmp_path: Path) -> None:
    said = run(tmp_path, PG_SANDBOX=None, PATH="/nowhere")
    assert "is missing: install it with `pip install paymentsgate-auth-sandbox`" in said
    assert "set PG_SANDBOX to its path" in said
    assert "cannot run the emulator /nowhere/pg-sandbox" in run(tmp_path, PG_SANDBOX="/nowhere/pg-sandbox")
    assert "the emulator /bin/true has ended" in run(tmp_path, PG_SANDBOX="/bin/true")
