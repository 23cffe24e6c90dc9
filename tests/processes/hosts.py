"""Hosts as network namespaces: each has one wire to the service and another one to the store."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from accounts import timeline
from fleet import PATIENCE_S, Redis, Service, Worker, eventually, scratch, service, task

# Addresses inside the namespace of the test, so they do not collide with other networks of this machine.
SERVICE, STORE = "10.0.0.1", "10.0.0.2"
CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Machine:
    """A namespace with two wires, and the workers in it."""

    def __init__(self, name: str, number: int, world: str) -> None:
        self.name = name
        self.space = f"{world}-{name}"
        self.workers: list[Worker] = []
        ip("netns", "add", self.space)
        for wire, far, net in (("service", SERVICE, 1), ("store", STORE, 2)):
            here, there = f"10.{net}.{number}.2", f"10.{net}.{number}.1"
            near_end = ("peer", "name", wire, "netns", self.space)
            ip("link", "add", f"{wire}-{name}", "netns", world, "type", "veth", *near_end)
            ip("-n", world, "address", "add", f"{there}/24", "dev", f"{wire}-{name}")
            ip("-n", self.space, "address", "add", f"{here}/24", "dev", wire)
            ip("-n", world, "link", "set", f"{wire}-{name}", "up")
            ip("-n", self.space, "link", "set", wire, "up")
            ip("-n", self.space, "route", "add", far, "via", there, "dev", wire)
        self._world = world

    def cut(self, *wires: str) -> None:
        """Drops all packets from now on, without any error."""
        self._set(wires, "down")

    def mend(self, *wires: str) -> None:
        self._set(wires, "up")

    def _set(self, wires: tuple[str, ...], state: str) -> None:
        for wire in wires:
            ip("-n", self._world, "link", "set", f"{wire}-{self.name}", state)

    def freeze(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)


@dataclass
class World:
    """Two hosts with two workers each, one store, one service."""

    service: Service
    redis: Redis
    a: Machine
    b: Machine
    folder: Path

    @property
    def machines(self) -> tuple[Machine, Machine]:
        return self.a, self.b

    @property
    def workers(self) -> list[Worker]:
        return self.a.workers + self.b.workers

    def begin(self, **settings: str) -> None:
        """Starts the workers, and waits until all have the first pair."""
        for machine in self.machines:
            for number in (1, 2):
                name, enter = f"{machine.name}{number}", ("ip", "netns", "exec", machine.space)
                what = task(self.service, self.redis.url, pause_s=0.05, use_s=0.5, **settings)
                machine.workers.append(Worker(name, self.folder, enter, what))
        self.agree(1)

    def end(self) -> None:
        for worker in self.workers:
            worker.end()

    def agree(self, generation: int, *machines: Machine, patience: float = PATIENCE_S) -> None:
        """Waits until the workers, or those of some hosts, have used this generation."""
        workers = [worker for machine in machines or self.machines for worker in machine.workers]
        eventually(
            lambda: all(worker.generation() >= generation for worker in workers),
            f"{', '.join(worker.name for worker in workers)} have generation {generation}",
            patience,
        )


@contextmanager
def world(life_s: int, keeps: bool = True) -> Iterator[World]:
    """A world with this lifetime of access tokens. The calling thread is in its namespace from then on."""
    name = f"pg{os.getpid()}x{next(_numbers)}"
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        for space in (name, f"{name}-a", f"{name}-b"):
            stack.callback(subprocess.run, ["ip", "netns", "del", space], capture_output=True)
        ip("netns", "add", name)
        _enter(name)
        ip("link", "set", "lo", "up")
        for address in (SERVICE, STORE):
            ip("address", "add", f"{address}/32", "dev", "lo")
        machines = [Machine(letter, number, name) for number, letter in enumerate("ab")]
        emulator = stack.enter_context(
            service("--address", SERVICE, "--switch", f"access_lifetime_s={life_s}")
        )
        redis = Redis(folder, keeps, STORE)
        stack.callback(redis.stop)
        redis.start()
        made = World(emulator, redis, machines[0], machines[1], folder)
        stack.callback(made.end)
        try:
            yield made
        except BaseException as error:
            raise AssertionError(f"{error}\n{story(made)}") from error


def _enter(space: str) -> None:
    """Moves only this thread and the processes that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{space}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), space)


def story(world: World) -> str:
    """The events of a failed case."""
    said = {worker.name: worker.lines() for worker in world.workers}
    return "\n".join([timeline(said, []), *map(str, world.service.journal())])
