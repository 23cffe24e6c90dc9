"""Forty processes on one store, with incidents drawn from a seed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from accounts import Accounts, Deeds, Terms, table, timeline
from fleet import MARGIN_S, Redis, Service, Worker, boot, eventually, scratch, service, task

PROCESSES = 40
TERMS = Terms(life=12, margin=MARGIN_S, slack=25)
# A flight ends sooner than this; if not, a lease is ended early, which can cost one call.
LONGEST_FLIGHT_S = 6
BETWEEN_REVOCATIONS_S = 40
# Root can read any folder, so a test of an unreadable folder must not run as root.
UNPRIVILEGED = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search") if os.geteuid() == 0 else ()

FAULTS: dict[str, dict[str, Any]] = {
    "a lost answer": {"point": "after", "action": {"kind": "reset"}},
    "a call that is cut off": {"point": "before", "action": {"kind": "reset"}},
    "half an answer": {"action": {"kind": "cut", "bytes": 250}},
    "an answer that is no JSON": {"action": {"kind": "body", "form": "html"}},
    "503": {"point": "before", "action": {"kind": "status", "status": 503}},
    "500 after the act": {"point": "after", "action": {"kind": "status", "status": 500}},
    "429": {"point": "before", "action": {"kind": "status", "status": 429, "headers": {"retry-after": "1"}}},
    "a slow answer": {"point": "after", "action": {"kind": "delay", "ms": 1000}},
}


class Folder:
    """The file store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "store"
        self._folder.mkdir(mode=0o700)
        self.url = f"file:{self._folder}"

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.chmod(0o700)

    def hiccups(self) -> dict[str, Callable[[], None]]:
        return {"the folder cannot be entered for 2 s": self._shut}

    def _shut(self) -> None:
        self._folder.chmod(0)
        time.sleep(2)
        self._folder.chmod(0o700)

    def orphan(self) -> str | None:
        """The kernel frees the locks of the dead."""
        return None

    def free(self, lock: str) -> None:
        raise AssertionError(lock)


class Server(Redis):
    """The Redis store."""

    _since: tuple[str, float] = ("", 0.0)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def hiccups(self) -> dict[str, Callable[[], None]]:
        return {"Redis says nothing for 2 s": self._pause, "Redis dies and comes back": self._restart}

    def _pause(self) -> None:
        self.cli("CLIENT", "PAUSE", "2000", "ALL")
        time.sleep(2)

    def _restart(self) -> None:
        self.kill()
        time.sleep(0.5)
        self.start()

    def orphan(self) -> str | None:
        """A lease that a process has held for longer than any flight."""
        held = self.locks()
        lock, owner = next(iter(held.items()), ("", ""))
        if owner != self._since[0]:
            self._since = owner, boot()
        return lock if owner and boot() - self._since[1] > LONGEST_FLIGHT_S else None


class Fleet(AbstractContextManager["Fleet"]):
    """Forty processes, each replaced when it is killed."""

    def __init__(self, store: str, seed: int) -> None:
        self.chance = random.Random(seed)
        self.store_name, self.seed = store, seed
        self.deeds = Deeds()
        self.told: list[tuple[float, str]] = []
        self.workers: list[Worker] = []
        self.dead: list[Worker] = []
        self._revoked_at = -float(BETWEEN_REVOCATIONS_S)
        self._stack = ExitStack()

    def __enter__(self) -> Fleet:
        self.folder = self._stack.enter_context(scratch())
        life = f"access_lifetime_s={TERMS.life:.0f}"
        self.service: Service = self._stack.enter_context(service("--switch", life))
        is_file = self.store_name == "file"
        self.store: Folder | Server = Folder(self.folder) if is_file else Server(self.folder)
        self._stack.enter_context(self.store)
        self._stack.callback(self._dismiss)
        for _ in range(PROCESSES):
            self._hire()
        self._all_well()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _hire(self) -> None:
        name = f"w{len(self.workers) + len(self.dead):03}"
        what = task(self.service, self.store.url, pause_s=0.1, use_s=1)
        self.workers.append(Worker(name, self.folder, UNPRIVILEGED, what))

    def _dismiss(self) -> None:
        for worker in self.workers:
            worker.end()

    def _kill(self, worker: Worker) -> None:
        worker.kill()
        self._tell(f"kill {worker.name}")
        self.deeds.killed.add(worker.name)
        self.workers.remove(worker)
        self.dead.append(worker)

    def _tell(self, text: str) -> None:
        self.told.append((boot(), text))

    def brave_the_weather(self, seconds: float) -> None:
        """Everything there is, in any order, once and then until the time is over."""
        end = boot() + seconds
        while True:
            weather = self._weather()
            self.chance.shuffle(weather)
            for deed in weather:
                deed()
                self._wait(self.chance.uniform(0.2, 0.8))
            self.service.ask("DELETE", "/faults")
            self._tell("the weather is fair")
            self._all_well()
            if boot() >= end:
                return

    def _weather(self) -> list[Callable[[], None]]:
        faults = [(lambda name=name: self._fault("refresh", name)) for name in FAULTS]
        hiccups = [
            (lambda name=name, deed=deed: self._hiccup(name, deed))
            for name, deed in self.store.hiccups().items()
        ]
        issue = [lambda: self._fault("issue", "503"), lambda: self._fault("issue", "a lost answer")]
        return [*faults, *hiccups, *issue, self._some_die, self._some_die, self._holder_dies, self._revoke]

    def _fault(self, route: str, name: str) -> None:
        self.service.fault(route=route, **FAULTS[name])
        self._tell(f"{name} is next at {route}")

    def _hiccup(self, name: str, deed: Callable[[], None]) -> None:
        self._tell(name)
        self._in_trouble(deed)

    def _in_trouble(self, deed: Callable[[], object]) -> None:
        start = boot()
        deed()
        self.deeds.troubles.append((start, boot()))

    def _some_die(self) -> None:
        for worker in self.chance.sample(self.workers, 3):
            self._kill(worker)
            self._hire()

    def _holder_dies(self) -> None:
        """Kills the process that makes the next refresh, before the answer comes."""
        self.service.ask("DELETE", "/faults")
        refreshes = self.service.calls()[1]
        self.service.hold_next_refresh(3)

        def begins() -> bool:
            # An abandoned lease would block all processes for six seconds.
            self._free_orphan()
            return self.service.calls()[1] > refreshes

        eventually(begins, "a refresh begins")
        holder = self.service.holder(refreshes)
        self._tell(f"{holder} refreshes")
        victims = [worker for worker in self.workers if worker.name == holder]
        for worker in victims:
            self._kill(worker)
            self._hire()

    def _revoke(self) -> None:
        # If a token and its successor were both refused young, the cause would be the account's rights.
        if boot() - self._revoked_at < BETWEEN_REVOCATIONS_S:
            return
        self._revoked_at = boot()
        self.deeds.revoked_ms.append(self.service.ask("POST", "/revoke", {"all": True})["now_ms"])
        self._tell("all tokens are revoked")

    def _wait(self, seconds: float) -> None:
        end = boot() + seconds
        while boot() < end:
            self._free_orphan()
            time.sleep(0.1)

    def _free_orphan(self) -> None:
        """The lease of a dead holder ends early, not after its six seconds."""
        if lock := self.store.orphan():
            self.store.free(lock)
            self.deeds.freed += 1
            self.deeds.troubles.append((boot() - LONGEST_FLIGHT_S - 1, boot()))
            self._tell("a lease is ended")

    def _all_well(self) -> None:
        """Waits until all processes have one working token that is newer than this moment."""
        now = boot()

        def is_well() -> bool:
            self._free_orphan()
            for worker in self.workers:
                if not worker.is_running():
                    raise AssertionError(f"{worker.name} has ended")
            uses = [worker.last("used") for worker in self.workers]
            good = [use for use in uses if use and use["status"] == 200 and use["asked"] > now]
            return len(good) == PROCESSES and len({use["fingerprint"] for use in good}) == 1

        eventually(is_well, f"all {PROCESSES} have one token that works")

    def said(self) -> dict[str, list[dict[str, Any]]]:
        return {worker.name: worker.lines() for worker in self.dead + self.workers}

    def accounts(self) -> Accounts:
        """The accounts, after the last possible call."""
        for worker in list(self.workers):
            self._kill(worker)
        return Accounts(self.service.journal(), self.said(), self.deeds, TERMS)

    def report(self, accounts: Accounts) -> str:
        purposes = accounts.purposes
        rows: dict[str, object] = {
            "store": self.store_name,
            "seed": self.seed,
            "processes": f"{PROCESSES}, {len(self.dead) - PROCESSES} killed and replaced",
            "generations": accounts.generations,
            "calls": len(accounts.journal),
            "  of a due refresh": purposes["due"],
            "  answer lost or spoilt": purposes["lost"],
            "  failed issues": purposes["failed"],
            "  told to wait (429)": purposes["not consumed"],
            "  refused after a revocation": purposes["refused"],
            "  caller killed": purposes["unseen"],
            "  private, store down": purposes["private"],
            "leases ended early": self.deeds.freed,
            "uses of a revoked token": accounts.revoked_uses,
            "longest wait": f"{accounts.longest_wait:.1f} s",
        }
        return table(rows)

    def timeline(self) -> str:
        calls = "\n".join(map(str, self.service.journal()))
        return f"seed {self.seed}\n{timeline(self.said(), self.told)}\n{calls}"
