"""A server that opens a session before it forks its workers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sandbox import Sandbox
from waiting import eventually

import paymentsgate_auth

# The master process loads this: its session has a token before the workers start.
APPLICATION = """
import json, os, threading
from paymentsgate_auth import Session

session = Session(json.loads(os.environ["SETTINGS"]))
inherited = session.token()
lock, own = threading.Lock(), []

def app(environ, start_response):
    with lock:
        if not own:
            served = session.token().fingerprint == inherited.fingerprint
            session.reject(inherited)
            own.append({"served": served, "fingerprint": session.token(timeout=10).fingerprint})
    answer = {"pid": os.getpid(), "status": session.request("GET", "/wallet", timeout=10).status, **own[0]}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""

CONFIGURATION = """
import json, os
preload_app, workers, threads, worker_class, graceful_timeout = True, 4, 2, "gthread", 5
bind = f"unix:{os.environ['FOLDER']}/socket"

def worker_exit(server, worker):
    import application
    application.session.close(timeout=5)

def on_exit(server):
    # The refresh token has stayed in the master process.
    import application as a
    served = a.session.token(timeout=0).fingerprint == a.inherited.fingerprint
    a.session.reject(a.inherited)
    answer = {"served": served, "fingerprint": a.session.token(timeout=10).fingerprint}
    with open(f"{os.environ['FOLDER']}/master.json", "w") as file:
        json.dump({**answer, "health": a.session.health()}, file)
"""


@contextlib.contextmanager
def server(folder: Path, settings: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The server in its own process group, which is killed after the test."""
    (folder / "application.py").write_text(APPLICATION)
    (folder / "configuration.py").write_text(CONFIGURATION)
    package = Path(paymentsgate_auth.__file__).parents[1]
    environment = {
        **os.environ,
        "SETTINGS": json.dumps(settings),
        "FOLDER": str(folder),
        "PYTHONPATH": f"{package}:{folder}",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "configuration.py", "application:app"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(path: Path) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(15)
        connected.connect(str(path))
        connection = http.client.HTTPConnection("server")
        connection.sock = connected
        connection.request("GET", "/", headers={"Connection": "close"})
        answer: dict[str, Any] = json.load(connection.getresponse())
        return answer


def test_a_preloaded_session_in_master_and_workers(
    sandbox: Sandbox, settings: dict[str, str], tmp_path: Path
) -> None:
    workers: dict[int, dict[str, Any]] = {}

    def all_have_answered() -> bool:
        with ThreadPoolExecutor(8) as pool:
            for answer in pool.map(ask, [tmp_path / "socket"] * 8):
                known = workers.setdefault(answer["pid"], answer)
                assert answer == known
        return len(workers) == 4

    with server(tmp_path, settings) as process:
        try:
            eventually((tmp_path / "socket").exists)
            eventually(all_have_answered, timeout=30)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=15) == 0
        except BaseException:
            print((tmp_path / "log").read_text())
            raise
    master = json.loads((tmp_path / "master.json").read_text())
    assert all(worker["served"] and worker["status"] == 200 for worker in [*workers.values()])
    assert master["served"]
    assert master["health"]["has_refresh_token"]
    assert len({worker["fingerprint"] for worker in [*workers.values(), master]}) == 5
    counters = sandbox.counters()
    assert counters["pairs_issued"] + counters["pairs_refreshed"] == 6
    assert counters["most_presentations"] <= 1
    assert "Traceback" not in (tmp_path / "log").read_text()
