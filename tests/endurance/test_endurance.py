"""Processes with many threads, for an hour, through incidents: what they occupy stays flat."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fleet import Redis, Service, scratch, service

SECONDS = float(os.environ.get("PG_ENDURANCE_SECONDS") or 3600)
PROCESSES_PER_STORE = 4
LIFETIME_S = 30
BETWEEN_INCIDENTS_S = 4.0
# Caches and pools fill first. What is read after this part of the run is judged.
WARM_UP = 0.5

# What glibc keeps for the next allocations of each thread counts as in use. A thread meets some sizes only in
# rare incidents, so the caches of 64 threads still grow after an hour.
WITHOUT_CACHES = "glibc.malloc.tcache_count=0"

Sample = dict[str, float]


@dataclass
class Limit:
    """How much a quantity may grow over the judged part: a share of its mean, and a fixed amount."""

    share: float
    amount: float


# The heap has as many connections and answers in it as there are calls at that moment. The system's allocator
# keeps freed pages, so the resident memory varies more.
LIMITS = {
    "heap": Limit(0.05, 400_000),
    "resident": Limit(0.05, 1_000_000),
    "descriptors": Limit(0.0, 4),
    "threads": Limit(0.0, 4),
}


def slope(points: list[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs (Theil and Sen), which single peaks do not move."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for index, earlier in enumerate(points)
        for later in points[index + 1 :]
        if later[0] > earlier[0]
    ]
    return statistics.median(slopes)


def test_the_slope_of_a_line_with_peaks() -> None:
    points = [(float(second), 100 + 2.0 * second) for second in range(50)]
    points[10], points[40] = (10.0, 9000.0), (40.0, 0.0)
    assert slope(points) == pytest.approx(2.0)


class Process:
    """A process of ``process.c``."""

    def __init__(self, name: str, folder: Path, store: str, address: dict[str, Any]) -> None:
        self.name = name
        self._output = folder / f"{name}.jsonl"
        self._errors = folder / f"{name}.err"
        environment = {
            **os.environ,
            "PAYMENTSGATE_BASE_URL": address["https"],
            "PAYMENTSGATE_CREDENTIALS_FILE": address["credentials_file"],
            "PAYMENTSGATE_TLS_CA_FILE": address["ca_file"],
            "PAYMENTSGATE_STORE": store,
            "PAYMENTSGATE_USER_AGENT": name,
            "GLIBC_TUNABLES": WITHOUT_CACHES,
        }
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [os.environ["PG_ENDURANCE"]],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
            )

    def samples(self) -> list[Sample]:
        text = self._output.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def check(self) -> None:
        assert self._process.poll() is None, f"{self.name} has ended: {self._errors.read_text()}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Ends as a program does."""
        self.check()
        assert self._process.stdin
        self._process.stdin.close()
        assert self._process.wait(60) == 0, self._errors.read_text()


class Run:
    """The stores and processes of one run. The last process of each store is killed and started again."""

    def __init__(self, emulator: Service, folder: Path, redis: Redis) -> None:
        self.emulator, self.folder, self.redis = emulator, folder, redis
        self.chance = random.Random(int(os.environ.get("PG_SEED") or 1))
        (folder / "store").mkdir(mode=0o700)
        self.stores = {"file": f"file:{folder}/store", "redis": redis.url}
        self.processes = {
            store: [self._start(store) for _ in range(PROCESSES_PER_STORE)] for store in self.stores
        }
        self.ended: list[Process] = []

    def _start(self, store: str) -> Process:
        number = next(_numbers)
        return Process(f"{store}-{number}", self.folder, self.stores[store], self.emulator.address)

    def live(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            incidents = self._incidents()
            self.chance.shuffle(incidents)
            for incident in incidents:
                incident()
                time.sleep(BETWEEN_INCIDENTS_S)
                for process in self.all():
                    process.check()
                if time.monotonic() >= end:
                    break
        self.emulator.ask("DELETE", "/faults")

    def _incidents(self) -> list[Callable[[], object]]:
        def fault(route: str, **fault: object) -> Callable[[], object]:
            return lambda: self.emulator.fault(route=route, **fault)

        lost = {"point": "after", "action": {"kind": "reset"}}
        slow = {"point": "after", "action": {"kind": "delay", "ms": 1500}, "times": 20}
        down = {"point": "before", "action": {"kind": "status", "status": 503}, "times": 3}
        return [
            lambda: self.emulator.ask("POST", "/revoke", {"all": True}),
            fault("refresh", **lost),
            fault("issue", **lost),
            fault("refresh", **down),
            fault("wallet", **lost),
            fault("wallet", **slow),
            self._restart_redis,
            self._pause_redis,
            lambda: self._replace("file"),
            lambda: self._replace("redis"),
        ]

    def _restart_redis(self) -> None:
        self.redis.kill()
        time.sleep(0.5)
        self.redis.start()

    def _pause_redis(self) -> None:
        self.redis.cli("CLIENT", "PAUSE", "2000", "ALL")

    def _replace(self, store: str) -> None:
        process = self.processes[store].pop()
        process.kill()
        self.ended.append(process)
        self.processes[store].append(self._start(store))

    def all(self) -> list[Process]:
        return [process for processes in self.processes.values() for process in processes]

    def lasting(self) -> list[Process]:
        return [process for processes in self.processes.values() for process in processes[:-1]]

    def end(self) -> None:
        for process in self.all():
            process.end()

    def total(self, what: str) -> int:
        every = [process.samples() for process in [*self.all(), *self.ended]]
        return sum(int(samples[-1][what]) for samples in every if samples)


_numbers: Iterator[int] = iter(range(1_000_000))


@contextmanager
def running() -> Iterator[Run]:
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        emulator = stack.enter_context(service("--switch", f"access_lifetime_s={LIFETIME_S}"))
        redis = Redis(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        redis.start()
        stack.callback(redis.stop)
        run = Run(emulator, folder, redis)
        try:
            yield run
        finally:
            for process in run.all():
                process.kill()


def judged(samples: list[Sample]) -> list[Sample]:
    """The samples after the warm-up, at most 200 of them."""
    after = samples[int(len(samples) * WARM_UP) :]
    return after[:: max(1, len(after) // 200)]


def test_what_processes_occupy_stays_flat(capsys: pytest.CaptureFixture[str]) -> None:
    with running() as run:
        run.live(SECONDS)
        run.end()
        lines, objections = [f"{'process':12} {'quantity':12} {'mean':>14} {'per hour':>14}"], []
        for process in run.lasting():
            samples = judged(process.samples())
            for name, limit in LIMITS.items():
                points = [(sample["at"], sample[name]) for sample in samples]
                mean = statistics.fmean(value for _, value in points)
                per_second = slope(points)
                grown = per_second * (points[-1][0] - points[0][0])
                line = f"{process.name:12} {name:12} {mean:14,.0f} {per_second * 3600:+14,.1f}"
                lines.append(line)
                if grown > limit.share * mean + limit.amount:
                    objections.append(f"grew by {grown:,.0f}: {line}")
        names = ["reads", "requests", "sessions", "operations", "failures"]
        lines.append(", ".join(f"{run.total(name):,} {name}" for name in names))
        lines.append(f"{len(run.ended)} processes killed and replaced, {SECONDS:.0f} s")
        with capsys.disabled():
            print("\n" + "\n".join(lines))
        assert not objections, "\n".join(objections)
        assert run.total("reads") >= min(10_000_000, SECONDS * 10_000), "too few tokens were read"
