"""Interpreters that exit while the library works: at once, without output, with their own exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import memory_store
import pytest
from sandbox import Sandbox

import paymentsgate_auth

PRELUDE = """
import asyncio, json, logging, os, signal, sys, threading
from paymentsgate_auth import AsyncClient, AsyncSession, LogLevel, PaymentsGateError, Session
settings = json.loads(sys.argv[1])
"""

# The service never answers, so every call is still waiting at exit.
ENDS = {
    "during a wait": """
session = Session(settings)
signal.signal(signal.SIGALRM, lambda *_: sys.exit(7))
signal.setitimer(signal.ITIMER_REAL, 0.05)
session.token()
""",
    "with daemon threads waiting": """
session = Session(settings)
session.log_to(logging.getLogger())
subscription = session.subscribe(LogLevel.DEBUG)
waits = [session.token, lambda: session.request("GET", "/wallet"), lambda: list(subscription)]
def wait(ask):
    try: ask()
    except PaymentsGateError: pass
for ask in waits:
    threading.Thread(target=wait, args=(ask,), daemon=True).start()
cycle = [session, subscription]; cycle.append(cycle)
sys.exit(7)
""",
    "with a loop closed under it": """
session, client, loop = AsyncSession(settings), AsyncClient(settings), asyncio.new_event_loop()
subscription = session.subscribe()
calls = session.token(), session.request("GET", "/wallet"), client.issue(), client.refresh("t")
tasks = [loop.create_task(call) for call in (*calls, subscription.poll())]
for task in tasks: task._log_destroy_pending = False
for _ in range(3): loop.run_until_complete(asyncio.sleep(0))
loop.close()
sys.exit(7)
""",
    "with a loop left open": """
session, client, loop = AsyncSession(settings), AsyncClient(settings), asyncio.new_event_loop()
tasks = [loop.create_task(ask) for ask in (session.token(), client.issue(), client.refresh("token"))]
for task in tasks: task._log_destroy_pending = False
for _ in range(3): loop.run_until_complete(asyncio.sleep(0))
sys.exit(7)
""",
    "by a callback of the loop": """
session = AsyncSession(settings)
async def work():
    asyncio.get_running_loop().call_later(0.02, sys.exit, 7)
    await asyncio.gather(session.token(), session.request("GET", "/wallet"))
asyncio.run(work())
""",
    # A thread of the library must neither release the store in an interpreter that has ended,
    "with a store that is not released": """
from memory_store import MemoryStore
from paymentsgate_auth import _store
session = Session(settings, store=MemoryStore())
_store._close_all()
del session
sys.exit(7 if _store._stores else "released")
""",
    # nor return into it from a call that a session began which is gone,
    "during a call of a store": """
import time
from memory_store import MemoryStore
class SlowStore(MemoryStore):
    def load(self, key):
        called.set()
        time.sleep(0.2)
called = threading.Event()
session = Session(settings, store=SlowStore())
try: session.token(timeout=0)
except PaymentsGateError: pass
called.wait()
del session
sys.exit(7)
""",
    # also if Ctrl-C ends the waits,
    "after an interruption": """
from memory_store import MemoryStore
from paymentsgate_auth import _store
def interrupted(*_): raise KeyboardInterrupt
session, _store._close = Session(settings, store=MemoryStore(), on_store_down="fail"), interrupted
try: _store._close_all()
except KeyboardInterrupt: _store._close = lambda *_: None
try: session.token(timeout=1)
except PaymentsGateError as error: sys.exit(7 if "the program has retired it" in str(error) else str(error))
""",
    # nor begin one there.
    "while flights on a store are gone": """
import time
from memory_store import MemoryStore
from paymentsgate_auth import _store
store = MemoryStore()
for _ in range(8):
    try: Session(settings, store=store).token(timeout=0)
    except PaymentsGateError: pass
sys.exit(7)
""",
}


def interpreter(end: str, settings: dict[str, str]) -> tuple[int, str]:
    """The exit code and the output of one."""
    folders = Path(paymentsgate_auth.__file__).parents[1], Path(memory_store.__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-c", PRELUDE + end, json.dumps(settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("end", ENDS)
def test_twenty_interpreters(sandbox: Sandbox, settings: dict[str, str], end: str) -> None:
    sandbox.fault(action={"kind": "hang"}, times=None)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: interpreter(ENDS[end], settings), range(20))) == {(7, "")}
