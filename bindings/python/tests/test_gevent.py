"""Programs with gevent: while one greenlet waits for the library, the others continue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import Sandbox
from test_request import calls

import paymentsgate_auth

PATCHED = """
from gevent import monkey; monkey.patch_all()
"""

PRELUDE = """
import gevent, json, logging, os, sys, warnings
from paymentsgate_auth import Client, Closed, DeadlineExceeded, EventKind, InvalidCall, Session
settings = json.loads(sys.argv[1])

def continues(wait):
    '''Returns what a wait returns, and checks that another greenlet runs meanwhile.'''
    turns, waiting = 0, gevent.spawn(wait)
    while not waiting.ready():
        gevent.sleep(0.001)
        turns += 1
    assert turns > 5, f"{turns} turns of the other greenlet"
    return waiting.get()
"""


def run(script: str, settings: dict[str, str], before: str = PATCHED) -> str:
    command = [sys.executable, "-c", before + PRELUDE + script, json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(Path(paymentsgate_auth.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# What waits for the service, which answers after 300 ms.
WAITS = {
    "a token": "assert continues(Session(settings).token).generation == 1",
    "a token with a deadline": "assert continues(lambda: Session(settings).token(20)).generation == 1",
    "a request": "assert continues(lambda: Session(settings).request('GET', '/wallet')).status == 200",
    "a new pair": "assert continues(Client(settings).issue).refresh_token",
    "the next pair": """
client = Client(settings)
first = client.issue()
assert continues(lambda: client.refresh(first)).fingerprint != first.fingerprint
""",
    "an event": """
session = Session(settings)
subscription = session.subscribe()
asking = gevent.spawn(session.token)
assert continues(subscription.poll).kind is EventKind.ROTATED
""",
    "a newer token": """
session = Session(settings)
session.token()
assert continues(session.refresh).generation == 2
""",
    "the end of a session": """
session = Session(settings)
def ask():
    try: session.token()
    except Closed: return "closed"
asking = gevent.spawn(ask)
gevent.sleep(0.05)
continues(session.close)
assert asking.get() == "closed"
""",
}


@pytest.mark.parametrize("wait", WAITS)
def test_other_greenlets_continue_while_one_waits_for(
    sandbox: Sandbox, settings: dict[str, str], wait: str
) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 300}, times=None)
    run(WAITS[wait], settings)


def test_many_greenlets_share_one_call(sandbox: Sandbox, settings: dict[str, str]) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 300})
    run(
        """
session = Session(settings)
crowd = [gevent.spawn(session.token) for _ in range(200)]
assert {greenlet.get().generation for greenlet in crowd} == {1}
""",
        settings,
    )
    assert calls(sandbox, "issue") == 1


def test_deadlines(sandbox: Sandbox, settings: dict[str, str]) -> None:
    sandbox.fault(action={"kind": "hang"}, times=None)
    run(
        """
session, client = Session(settings), Client(settings)
subscription = session.subscribe()
assert subscription.poll(0) is None and subscription.poll(0.05) is None
for wait in (session.token, session.refresh, client.issue, session.close):
    for timeout in (0.05, 0):
        try: wait(timeout=timeout)
        except DeadlineExceeded: continue
        # A closed session has ended.
        assert wait == session.close
    try: wait(timeout=-1)
    except InvalidCall: continue
    raise AssertionError("a negative time was accepted")
try: client.issue("account\\0", "key")
except InvalidCall: pass
else: raise AssertionError("a NUL was accepted")
""",
        settings,
    )


def test_a_greenlet_that_is_killed_ends_its_wait(sandbox: Sandbox, settings: dict[str, str]) -> None:
    sandbox.fault(route="wallet", action={"kind": "hang"})
    run(
        """
session = Session(settings)
session.token()
killed = gevent.spawn(session.request, "GET", "/wallet")
gevent.sleep(0.1)
killed.kill(timeout=10)
assert killed.dead
with gevent.Timeout(0.2, False):
    session.subscribe().poll()
assert session.request("GET", "/wallet").status == 200
""",
        settings,
    )


def test_the_log_does_not_block(sandbox: Sandbox, settings: dict[str, str]) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 300})
    written = run(
        """
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
session = Session(settings)
session.log_to(logging.getLogger())
assert continues(session.token).generation == 1
""",
        settings,
    )
    assert "of generation 1" in written


def test_a_fork(sandbox: Sandbox, settings: dict[str, str]) -> None:
    run(
        """
session = Session(settings)
warm = session.token()
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    assert session.token().fingerprint == warm.fingerprint
    session.reject(warm)
    os._exit(0 if session.token().fingerprint != warm.fingerprint else 1)
assert os.waitpid(child, 0)[1] == 0
assert session.token().fingerprint == warm.fingerprint
""",
        settings,
    )


def test_without_patches_the_thread_pool_of_gevent_waits(sandbox: Sandbox, settings: dict[str, str]) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 300})
    run(
        """
session = Session(settings)
assert continues(lambda: gevent.get_hub().threadpool.apply(session.token)).generation == 1
""",
        settings,
        before="",
    )
