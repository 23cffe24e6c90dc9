"""A pytest plugin: tests of a program against the emulator of the service, ``pg-sandbox``.

pytest loads it where the package is installed. The fixture ``paymentsgate_sandbox`` is a
:class:`Sandbox`, and ``paymentsgate_session`` a session with it:

>>> def test_a_revoked_token_is_replaced(paymentsgate_session, paymentsgate_sandbox):
...     assert paymentsgate_session.request("GET", "/wallet").status == 200
...     paymentsgate_sandbox.revoke()
...     assert paymentsgate_session.request("GET", "/wallet").status == 200
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import pytest

from ._session import Session

__all__ = ["Fault", "Route", "Sandbox"]

_PROGRAM = "pg-sandbox"
_VARIABLE = "PG_SANDBOX"

Route = Literal["any", "issue", "refresh", "wallet", "deal", "payin", "fx", "other"]
"""What a call asks for: the two auth endpoints, those of the business API, or any."""

Fault = Literal[
    "unauthorized",
    "forbidden",
    "rate_limited",
    "unavailable",
    "malformed",
    "hang",
    "connection_reset",
    "answer_lost",
]
"""The faults by name.

The answers 401, 403, 429 (with ``Retry-After: 1``) and 503; an answer that is not JSON; no answer; a
connection that ends before the call is processed, and one that ends after it.
"""

_FAULTS: dict[Fault, dict[str, Any]] = {
    "unauthorized": {"action": {"kind": "status", "status": 401}},
    "forbidden": {"action": {"kind": "status", "status": 403}},
    "rate_limited": {"action": {"kind": "status", "status": 429, "headers": {"retry-after": "1"}}},
    "unavailable": {"action": {"kind": "status", "status": 503}},
    "malformed": {"action": {"kind": "body", "form": "malformed"}},
    "hang": {"action": {"kind": "hang"}},
    "connection_reset": {"action": {"kind": "reset"}},
    "answer_lost": {"action": {"kind": "reset"}, "point": "after"},
}


class Sandbox:
    """The emulator, a process on this machine."""

    def __init__(self, address: dict[str, Any]) -> None:
        self.address = address
        """What the emulator has printed: its URLs and files, for example ``https`` and ``ca_file``."""

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a session with it, for ``Session(settings)`` and ``AsyncSession(settings)``.

        The URL is the one without TLS, so that another HTTP client needs no certificate.
        """
        return {"base_url": self.address["http"], "credentials_file": self.address["credentials_file"]}

    def fault(self, name: Fault, route: Route = "any", *, times: int | None = 1) -> None:
        """Spoils the next ``times`` calls of a route. None means all calls until :meth:`reset`."""
        if name not in _FAULTS:
            raise ValueError(f"no fault is named {name!r}; there are {', '.join(_FAULTS)}")
        self.ask("POST", "/faults", {**_FAULTS[name], "route": route, "times": times})

    def revoke(self) -> None:
        """Makes the service refuse every token that it has issued so far."""
        self.ask("POST", "/revoke", {"all": True})

    def calls(self, route: Route) -> int:
        """The number of calls of a route since the test began."""
        if route not in get_args(Route):
            raise ValueError(f"there is no route {route!r}, only {', '.join(get_args(Route))}")
        counted = self.ask("GET", "/counters")["routes"]
        names = counted if route == "any" else [route]
        return sum(counted.get(name, {"calls": 0})["calls"] for name in names)

    def reset(self) -> None:
        """Removes all faults, tokens and counters. The fixture does so before each test."""
        self.ask("POST", "/reset")

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """One request to the emulator's admin port, for all that has no method here. Returns the JSON.

        If the emulator refuses it, the ``urllib.error.HTTPError`` has the reason in its text.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address["admin"] + path, data, method=method)
        try:
            with _DIRECT.open(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read()
            reason = f"{error.reason}: {method} {path}: {text.decode()}"
            raise urllib.error.HTTPError(
                error.url, error.code, reason, error.headers, io.BytesIO(text)
            ) from None


# The proxies of the environment are for the program under test.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _program() -> str | None:
    """The variable's path, else the program beside this interpreter, else on PATH."""
    beside = shutil.which(_PROGRAM, path=sysconfig.get_path("scripts"))
    return os.environ.get(_VARIABLE) or beside or shutil.which(_PROGRAM)


@contextmanager
def _started() -> Iterator[Sandbox]:
    program = _program()
    if program is None:
        pytest.fail(
            f"the emulator {_PROGRAM} is missing: install it with `pip install paymentsgate-auth-sandbox`, "
            f"or set {_VARIABLE} to its path",
            pytrace=False,
        )
    try:
        process = subprocess.Popen([program], stdout=subprocess.PIPE)
    except OSError as error:
        pytest.fail(f"cannot run the emulator {program}: {error}; see {_VARIABLE}", pytrace=False)
    with process:
        assert process.stdout
        try:
            line = process.stdout.readline()
            if not line:
                pytest.fail(f"the emulator {program} has ended; standard error has the reason", pytrace=False)
            yield Sandbox(json.loads(line))
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def _paymentsgate_emulator() -> Iterator[Sandbox]:
    """One process for all tests."""
    with _started() as sandbox:
        yield sandbox


@pytest.fixture
def paymentsgate_sandbox(_paymentsgate_emulator: Sandbox) -> Sandbox:
    """The emulator of the service, without faults, tokens and counters of the tests before."""
    _paymentsgate_emulator.reset()
    return _paymentsgate_emulator


@pytest.fixture
def paymentsgate_session(paymentsgate_sandbox: Sandbox) -> Iterator[Session]:
    """A session with the emulator. It is closed after the test."""
    with Session(paymentsgate_sandbox.settings) as session:
        yield session
