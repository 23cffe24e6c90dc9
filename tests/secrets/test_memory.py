"""Which secrets are in the memory and in the core dump of a program, with an open session and after it."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import holders
import pytest
import sandbox
from holders import Holder

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "c": [os.environ["PG_HOLDER_C"]],
    "go": [os.environ["PG_HOLDER_GO"]],
    "python": [sys.executable, str(Path(__file__).with_name("holder.py"))],
}
# A string of Go or Python cannot be wiped. These programs keep one: the search must find it.
KEPT = {"c": set[str](), "go": {"kept"}, "python": {"kept"}}
# Only the program in C has seen the refresh token that its session has now.
ACTIVE = {
    "c": {"access", "refresh", "public-key"},
    "go": {"access", "public-key", "kept"},
    "python": {"access", "public-key", "kept"},
}


def received(emulator: sandbox.Sandbox) -> dict[str, str]:
    """The secrets of the account, and those of the last requests."""
    credentials = json.loads(Path(emulator.address["credentials_file"]).read_text())
    routes = emulator.counters()["routes"]

    def last(route: str) -> Any:
        return routes[route]["last"]

    return {
        "public-key": credentials["public_key"],
        "private-key": credentials["private_key"],
        "replaced-refresh": json.loads(last("refresh")["body"])["refresh_token"],
        "access": last("payin" if "payin" in routes else "wallet")["headers"]["authorization"].split()[1],
    }


@contextmanager
def program(language: str, stage: str, folder: Path) -> Iterator[Holder]:
    """At this stage, with all secrets of its life. The service has ended, and with it the connections."""
    with ExitStack() as service:
        emulator = service.enter_context(sandbox.started())
        environment = os.environ | {
            "PAYMENTSGATE_BASE_URL": emulator.address["https"],
            "PAYMENTSGATE_CREDENTIALS_FILE": emulator.address["credentials_file"],
            "PAYMENTSGATE_TLS_CA_FILE": emulator.address["ca_file"],
            "PYTHONPATH": str(ROOT / "bindings" / "python" / "src"),
            # Go makes no core dump otherwise.
            "GOTRACEBACK": "crash",
        }
        with holders.started(PROGRAMS[language], environment, folder) as holder:
            if language != "python":  # whose own copies of them cannot be wiped
                holder.give(header=secrets.token_hex(), body=secrets.token_hex())
            holder.await_stage("active")
            holder.secrets |= received(emulator)
            service.close()
            if stage == "closed":
                holder.go_on()
                holder.await_stage(stage)
            yield holder


Programs = dict[tuple[str, str], Holder]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """All at once: the library notices the end of an idle connection within 20 seconds."""
    with ExitStack() as ends:
        yield {
            (language, stage): ends.enter_context(program(language, stage, tmp_path_factory.mktemp(stage)))
            for language in PROGRAMS
            for stage in ("active", "closed")
        }


def check(holder: Holder, expected: set[str]) -> None:
    """In memory and, where the system makes one, in the core dump."""
    assert holder.await_held(expected) == expected
    assert holder.killed() in (expected, None)


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_program_with_a_session_has_the_current_pair_and_the_public_key(
    language: str, programs: Programs
) -> None:
    check(programs[language, "active"], ACTIVE[language])


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_program_that_has_closed_its_session_has_no_secret(language: str, programs: Programs) -> None:
    check(programs[language, "closed"], KEPT[language])
