"""The units of systemd are valid and hardened, and the agent works with what they do to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from agents import COMMAND, DEPLOY, PATIENCE_S, ROOT, answers, eventually, get, running, settings, stop
from confined import lines_of
from sandbox import Sandbox

UNITS = DEPLOY / "systemd"
SERVICE = UNITS / "paymentsgate-auth-agent.service"
SOCKETS = sorted(UNITS.glob("*.socket"))
# The network to any service, files of the host, and the devices that PrivateDevices gives.
NEEDED = {
    # /proc/sys has the boot id, by which the age of a stored token is measured.
    "ProcSubset=",
    "DeviceAllow=",
    "IPAddressDeny=",
    "PrivateNetwork=",
    "RestrictAddressFamilies=~AF_(INET|INET6)",
    "RestrictAddressFamilies=~AF_NETLINK",
    "RestrictAddressFamilies=~AF_UNIX",
    "RootDirectory=/RootImage=",
}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units in a folder of the test's own, with the path of the command that was built."""
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    service = folder / SERVICE.name
    service.write_text(service.read_text().replace("/usr/bin/paymentsgate-auth", str(COMMAND)))
    return folder


def analyze(*words: str | Path) -> str:
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Unknown" not in done.stderr, done.stderr
    return done.stdout


def test_the_units_are_valid(installed: Path) -> None:
    units = [installed / unit.name for unit in (SERVICE, *SOCKETS)]
    analyze("verify", "--man=no", "--recursive-errors=yes", *units)


def test_the_service_is_hardened(installed: Path) -> None:
    """Of all that systemd checks, only this is left open."""
    report = analyze("security", "--no-pager", "--offline=yes", "--json=short", installed / SERVICE.name)
    left_open = {check["name"] for check in json.loads(report) if check.get("set") is False}
    assert left_open <= NEEDED


def test_the_units_start_the_agent_with_arguments_and_sockets_that_it_knows() -> None:
    [command] = lines_of(SERVICE, "ExecStart")
    subprocess.run([COMMAND, *command.split()[1:], "--help"], check=True, stdout=subprocess.DEVNULL)
    assert [lines_of(unit, "FileDescriptorName") for unit in SOCKETS] == [["tokens"], ["proxy"]]
    assert lines_of(SERVICE, "Requires") == [" ".join(unit.name for unit in SOCKETS)]
    assert all(lines_of(unit, "Service") == [SERVICE.name] for unit in SOCKETS)
    drain, limit = int(command.split("--drain-seconds ")[1]), int(lines_of(SERVICE, "TimeoutStopSec")[0])
    assert limit >= drain + 5


def test_the_variables_of_the_units_are_settings() -> None:
    known = (ROOT / "docs/settings.md").read_text()
    units = [SERVICE, UNITS / f"{SERVICE.name}.d/settings.conf"]
    variables = [line.partition("=")[0] for unit in units for line in lines_of(unit, "Environment")]
    assert len(variables) == 5
    assert [name for name in variables if f"`{name}`" not in known] == []


def test_each_file_that_the_units_name_is_there() -> None:
    """%d is the folder of the credentials that systemd copies, %S the one above the state folder."""
    units = [SERVICE, UNITS / f"{SERVICE.name}.d/settings.conf"]
    values = [line.partition("=")[2] for unit in units for line in lines_of(unit, "Environment")]
    loaded = [line.partition(":")[0] for unit in units for line in lines_of(unit, "LoadCredential")]
    named = [name for value in values for name in re.findall(r"%d/([^ ]+)", value)]
    assert sorted(named) == sorted(loaded) == ["credentials.json", "store.key"]
    states = [name for value in values for name in re.findall(r"%S/([^ ]+)", value)]
    assert states == lines_of(SERVICE, "StateDirectory") == ["paymentsgate-auth-agent"]
    # Nothing else stands for a path.
    assert {place for value in values for place in re.findall(r"%.", value)} == {"%d", "%S"}


def test_the_agent_takes_the_sockets_of_the_service_manager(sandbox: Sandbox, tmp_path: Path) -> None:
    """systemd-socket-activate passes sockets as the two units do. The first connection starts the agent."""
    tokens, proxy = tmp_path / "agent.sock", tmp_path / "proxy.sock"
    variables = [word for name, value in settings(sandbox).items() for word in ("-E", f"{name}={value}")]
    listen = ["-l", str(tokens), "-l", str(proxy), "--fdname=tokens:proxy"]
    command: list[str | Path] = ["systemd-socket-activate", *listen, *variables, COMMAND, "agent"]
    with running(command, {}, tmp_path / "log") as agent:
        answer = eventually(lambda: get(tokens, "/v1/token"))
        assert answer.status == 200
        assert json.loads(answer.text)["seconds_left"] > 0
        assert "assets" in get(proxy, "/wallet").text
        assert get(proxy, "/v1/token").status == 404, "the proxy's socket gives no token"
        stop(agent, PATIENCE_S)
    # They belong to the service manager, which serves the next start by them.
    assert tokens.is_socket()
    assert proxy.is_socket()


def test_the_agent_tells_the_service_manager_that_it_is_ready_alive_and_stopping(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    manager = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(manager))
        inbox.settimeout(PATIENCE_S)
        environment = {
            **settings(sandbox),
            "NOTIFY_SOCKET": str(manager),
            "WATCHDOG_USEC": "400000",
            "RUNTIME_DIRECTORY": str(tmp_path),
        }
        with running([COMMAND, "agent"], environment, tmp_path / "log") as agent:
            words = [inbox.recv(1000).decode().strip()]
            while words.count("WATCHDOG=1") < 3:
                words.append(inbox.recv(1000).decode().strip())
            # Ready means that the sockets are served.
            assert "READY=1" in words[:2]
            assert get(tmp_path / "agent.sock", "/healthz").status == 200
            agent.send_signal(signal.SIGTERM)
            while "STOPPING=1" not in words:
                words.append(inbox.recv(1000).decode().strip())
            assert agent.wait(PATIENCE_S) == 0


def test_the_agent_works_under_the_filters_of_the_service(sandbox: Sandbox, tmp_path: Path) -> None:
    """It obtains and renews a token, keeps it in a store, and serves. A call outside the filter fails."""
    store, here = tmp_path / "store", Path(__file__).parent
    environment = {
        **settings(sandbox),
        "PAYMENTSGATE_STORE": f"file:{store}",
        "RUNTIME_DIRECTORY": str(tmp_path),
    }
    confined: list[str | Path] = [sys.executable, here / "confined.py", SERVICE]
    refused = subprocess.run(
        [*confined, sys.executable, "-c", "import os; os.setuid(os.getuid())"],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PermissionError" in refused.stderr
    proxy = tmp_path / "proxy.sock"
    with running(
        [*confined, COMMAND, "agent", "--proxy", f"unix:{proxy}", "--socket", tmp_path / "agent.sock"],
        environment,
        tmp_path / "log",
    ) as agent:
        eventually(answers(tmp_path / "agent.sock", "/readyz", 200))
        sandbox.ask("POST", "/revoke", {"all": True})
        assert get(proxy, "/wallet").status == 200
        assert sandbox.counters()["routes"]["issue"]["calls"] == 2
        stop(agent, PATIENCE_S)
    assert [entry for entry in store.iterdir() if entry.is_file()]
    assert "error" not in (tmp_path / "log").read_text()
