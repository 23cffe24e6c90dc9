"""Forks, child processes and interpreter exit. Each script runs in its own process with a time limit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox import Sandbox

import paymentsgate_auth

PRELUDE = """
import json, multiprocessing, os, signal, sys, threading, time
from paymentsgate_auth import Client, PaymentsGateError, Session
client = Client(json.loads(sys.argv[1]))
"""


def run(script: str, settings: dict[str, str]) -> str:
    command = [sys.executable, "-c", PRELUDE + script, json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(Path(paymentsgate_auth.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_forked_child_uses_the_inherited_client(sandbox: Sandbox, settings: dict[str, str]) -> None:
    script = """
token = client.issue()
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        assert token.remaining > 3000
        client.issue()
        other = Client(json.loads(sys.argv[1]))
        other.refresh(other.issue())
        client.close()
        del client, token, other
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
client.refresh(token)
"""
    run("import warnings; warnings.simplefilter('ignore')\n" + script, settings)
    assert sandbox.counters()["pairs_issued"] == 9


def test_python_warns_about_a_fork_only_after_the_first_call(settings: dict[str, str]) -> None:
    """What docs/python.md says: there is no thread before the first call, and Python 3.12 counts threads."""
    script = """
import warnings
def warned():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        child = os.fork()
        if child == 0: os._exit(0)
    os.waitpid(child, 0)
    return [warning.category for warning in caught]
session = client.session()
session.health()
assert len(os.listdir("/proc/self/task")) == 1
assert warned() == []
session.token()
assert threading.active_count() == 1
assert len(os.listdir("/proc/self/task")) > 1
assert warned() == ([DeprecationWarning] if sys.version_info >= (3, 12) else [])
session.close()
"""
    run(script, settings)


def test_a_fork_during_calls(sandbox: Sandbox, settings: dict[str, str]) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 20}, times=None)
    script = """
import warnings; warnings.simplefilter("ignore")
threads = [threading.Thread(target=lambda: [client.issue() for _ in range(20)]) for _ in range(4)]
for thread in threads: thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        client.issue(timeout=10)
        client.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
for thread in threads: thread.join()
"""
    run(script, settings)
    assert sandbox.counters()["pairs_issued"] == 90


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_carries_results_and_errors(settings: dict[str, str], method: str) -> None:
    if method == "fork":
        work = "def work(_): return client.issue().fingerprint\ndef fail(_): client.refresh('unknown')\n"
    else:
        work = (
            "from paymentsgate_auth import *\n"
            "def work(s): return Client(s).issue().fingerprint\ndef fail(s): Client(s).refresh('unknown')\n"
        )
    script = f"""
import tempfile, warnings; warnings.simplefilter("ignore")
client.issue()
folder = tempfile.TemporaryDirectory()
sys.path.insert(0, folder.name)
WORK = {work!r}
if {method!r} == "fork":
    exec(WORK)
else:
    open(folder.name + "/worker.py", "w").write(WORK)
    from worker import work, fail
settings = json.loads(sys.argv[1])
with multiprocessing.get_context({method!r}).Pool(2) as pool:
    assert len(set(pool.map(work, [settings] * 4))) == 4
    try:
        pool.apply(fail, (settings,))
    except PaymentsGateError as error:
        print(error.status_name, error.fate.name, error.http_status)
"""
    assert run(script, settings) == "PG_ERR_REFUSED REFUSED 401\n"


def test_the_interpreter_ends_cleanly_with_live_objects(sandbox: Sandbox, settings: dict[str, str]) -> None:
    script = """
token = client.issue()
def hang():
    try: client.issue(timeout=20)
    except PaymentsGateError: pass
thread = threading.Thread(target=hang, daemon=True)
thread.start()
time.sleep(0.02)
cycle = [client, token]; cycle.append(cycle)
"""
    for _ in range(20):
        sandbox.reset()
        sandbox.fault(skip=1, action={"kind": "hang"})
        run(script, settings)


def test_a_forked_child_returns_the_inherited_token(sandbox: Sandbox, settings: dict[str, str]) -> None:
    script = """
import warnings; warnings.simplefilter("ignore")
session = client.session()
inherited = session.token()
child = os.fork()
if child == 0:
    assert session.token().fingerprint == inherited.fingerprint
    assert session.health()["has_refresh_token"] is False
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert session.health()["has_refresh_token"] is True
"""
    run(script, settings)
    assert sandbox.counters()["pairs_issued"] == 1


@pytest.mark.parametrize("start", ["with four at once", "one after another"])
def test_workers_of_a_preloaded_session(sandbox: Sandbox, settings: dict[str, str], start: str) -> None:
    script = f"""
import warnings; warnings.simplefilter("ignore")
session = client.session()
inherited = session.token()

def work():
    assert session.token(timeout=5).fingerprint == inherited.fingerprint
    session.reject(inherited)
    own = session.token(timeout=5)
    assert (own.generation, own.fingerprint != inherited.fingerprint) == (2, True)
    session.close()

children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    children.append(child)
    if {start!r} == "one after another":
        assert os.waitpid(child, 0)[1] == 0
if {start!r} == "with four at once":
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
assert session.token().fingerprint == inherited.fingerprint
"""
    run(script, settings)
    counters = sandbox.counters()
    assert counters["pairs_issued"] == 5
    assert counters["most_presentations"] <= 1


def test_a_fork_while_callers_wait(sandbox: Sandbox, settings: dict[str, str]) -> None:
    sandbox.fault(action={"kind": "delay", "ms": 500})
    script = """
import warnings; warnings.simplefilter("ignore")
session = client.session()
threads = [threading.Thread(target=session.token) for _ in range(4)]
for thread in threads: thread.start()
time.sleep(0.1)
child = os.fork()
if child == 0:
    os._exit(0 if session.token(timeout=10).generation == 1 else 1)
assert os.waitpid(child, 0)[1] == 0
for thread in threads: thread.join()
"""
    run(script, settings)
    assert sandbox.counters()["pairs_issued"] == 2


def test_a_session_goes_through_multiprocessing_fork(sandbox: Sandbox, settings: dict[str, str]) -> None:
    script = """
import warnings; warnings.simplefilter("ignore")
session = client.session()
session.token()
def work(_): return session.token(timeout=10).fingerprint
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert set(pool.map(work, range(8))) == {session.token().fingerprint}
"""
    run(script, settings)
    assert sandbox.counters()["pairs_issued"] == 1


def test_the_interpreter_ends_cleanly_with_an_open_session(
    sandbox: Sandbox, settings: dict[str, str]
) -> None:
    script = """
session = Session(json.loads(sys.argv[1]))
def wait():
    try: session.token()
    except PaymentsGateError: pass
threading.Thread(target=wait, daemon=True).start()
time.sleep(0.02)
cycle = [session]; cycle.append(cycle)
"""
    for _ in range(20):
        sandbox.reset()
        sandbox.fault(action={"kind": "hang"})
        run(script, settings)


@pytest.mark.parametrize(
    "wait",
    [
        "session.token()",
        "session.token(timeout=20)",
        "session.request('POST', '/deals/payin', json={})",
        "session.subscribe().poll()",
        "session.close()",
    ],
)
def test_ctrl_c_ends_a_wait_at_once(sandbox: Sandbox, settings: dict[str, str], wait: str) -> None:
    sandbox.fault(action={"kind": "hang"}, times=None)
    # A background job of a shell starts with the signal ignored.
    script = f"""
signal.signal(signal.SIGINT, signal.default_int_handler)
session = client.session()
try: session.token(timeout=0.2)
except PaymentsGateError: pass
sent = []
def interrupt():
    time.sleep(0.5)
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try: {wait}
except KeyboardInterrupt: assert time.monotonic() - sent[0] < 5
else: sys.exit("not interrupted")
print(len(sent))
"""
    assert run(script, settings) == "1\n"
    assert sandbox.counters()["routes"]["issue"]["calls"] == 1


def test_an_interrupted_request_is_sent_once_and_abandoned(
    sandbox: Sandbox, settings: dict[str, str]
) -> None:
    sandbox.fault(route="payin", action={"kind": "hang"}, times=None)
    script = """
signal.signal(signal.SIGINT, signal.default_int_handler)
session = client.session()
session.token()
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
try: session.request("POST", "/deals/payin", json={"amount": 1})
except KeyboardInterrupt as error: caught = error
else: sys.exit("not interrupted")
# The queue is freed, which cancels the operation, although the traceback still references the queue.
frames = caught.__traceback__
while "queue" not in frames.tb_frame.f_locals: frames = frames.tb_next
print(frames.tb_frame.f_locals["queue"].handle._as_parameter_)
"""
    assert run(script, settings) == "None\n"
    assert sandbox.counters()["routes"]["payin"]["calls"] == 1


FORKED = """
import asyncio, warnings; warnings.simplefilter("ignore")
from paymentsgate_auth import AsyncSession
session = client.async_session()

async def fingerprint():
    assert (await session.request("GET", "/wallet")).status == 200
    return (await session.token(timeout=10)).fingerprint

async def own():
    inherited = await session.token()
    session.reject(inherited)
    token = await session.token(timeout=10)
    assert (await session.request("GET", "/wallet", timeout=10)).status == 200
    await session.close(timeout=10)
    return (inherited.fingerprint, token.fingerprint)

warm = asyncio.run(fingerprint())
"""


def test_an_async_session_in_forked_children(sandbox: Sandbox, settings: dict[str, str]) -> None:
    script = """
subscription = session.subscribe()
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # Events go to the parent.
            assert asyncio.run(subscription.poll()) is None
            first, second = asyncio.run(own())
            assert first == warm != second
            status = 0
        finally:
            os._exit(status)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
assert asyncio.run(fingerprint()) == warm
"""
    run(FORKED + script, settings)
    counters = sandbox.counters()
    assert counters["pairs_issued"] == 5
    assert counters["most_presentations"] <= 1


def test_a_fork_while_tasks_wait(sandbox: Sandbox, settings: dict[str, str]) -> None:
    script = """
async def parent():
    tasks = [asyncio.create_task(fingerprint()) for _ in range(2)]
    await asyncio.sleep(0.1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # The forked loop belongs to the parent; the child uses a new one.
            asyncio._set_running_loop(None)
            first, second = asyncio.run(own())
            assert first == warm != second
            status = 0
        finally:
            os._exit(status)
    assert await asyncio.gather(*tasks) == [warm] * 2
    assert os.waitpid(child, 0)[1] == 0

asyncio.run(parent())
"""
    sandbox.fault(route="wallet", skip=1, action={"kind": "delay", "ms": 700}, times=2)
    run(FORKED + script, settings)
    assert sandbox.counters()["pairs_issued"] == 2


def test_an_async_session_goes_through_multiprocessing_fork(
    sandbox: Sandbox, settings: dict[str, str]
) -> None:
    script = """
def work(_): return asyncio.run(fingerprint())
with multiprocessing.get_context("fork").Pool(4) as pool:
    assert set(pool.map(work, range(16))) == {warm}
assert asyncio.run(fingerprint()) == warm
"""
    run(FORKED + script, settings)
    assert sandbox.counters()["pairs_issued"] == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_inherit_nothing_open_their_own_session(
    sandbox: Sandbox, settings: dict[str, str], method: str
) -> None:
    script = f"""
import tempfile
WORKER = '''
import asyncio
from paymentsgate_auth import AsyncSession, Session
def work(settings):
    async def ask():
        async with AsyncSession(settings) as session:
            return (await session.token()).fingerprint
    with Session(settings) as session:
        return session.token().fingerprint, asyncio.run(ask())
'''
session = client.session()
session.token()
with tempfile.TemporaryDirectory() as folder:
    sys.path.insert(0, folder)
    with open(folder + "/worker.py", "w") as file: file.write(WORKER)
    from worker import work
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        pairs = pool.map(work, [json.loads(sys.argv[1])] * 2)
    assert len({{session.token().fingerprint, *pairs[0], *pairs[1]}}) == 5
"""
    run(script, settings)
    assert sandbox.counters()["pairs_issued"] == 5


def test_queued_log_lines_are_written_before_exit(settings: dict[str, str]) -> None:
    script = """
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
logging.getLogger().addFilter(lambda record: time.sleep(0.3) or True)
session = client.session()
session.log_to(logging.getLogger())
session.token()
"""
    assert "of generation 1" in run(script, settings)


def test_a_child_of_a_session_that_logs_ends_cleanly(sandbox: Sandbox, settings: dict[str, str]) -> None:
    script = """
import logging, warnings; warnings.simplefilter("ignore")
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(process)d %(message)s")
session = client.session()
session.log_to(logging.getLogger())
session.token()
child = os.fork()
if child == 0:
    session.log_to(logging.getLogger())
    session.reject(session.token())
    session.token()
    sys.exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
session.close()
"""
    lines = run(script, settings).splitlines()
    processes = [line.split()[0] for line in lines if "generation" in line]
    assert len(processes) == len(set(processes)) == 2
