"""Two hosts on one Redis, with wires that are cut, a store that dies, and processes that are stopped.

Every case has its own world, and all run at once: most of their time is the wait for a token to age.
Numbers of calls are exact; events have a timeout of a minute.
"""

from __future__ import annotations

import os
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from accounts import Accounts, Deeds, Terms
from fleet import MARGIN_S, PATIENCE_S, Worker, boot, eventually
from hosts import World, world

# The lifetime of access tokens.
LIFE_S = 20
# The lease of a holder that has died or is stopped.
LEASE_S = 6
IS_LONG = "PG_SOAK" in os.environ


def pairs(world: World) -> dict[int, set[str]]:
    """The tokens that were handed out, by generation."""
    found = defaultdict(set)
    for worker in world.workers:
        for line in worker.lines("used"):
            found[line["generation"]].add(line["fingerprint"])
    return found


def check(world: World, *routes: str) -> None:
    """The service got exactly these calls, one for each pair; all processes had the same good pairs."""
    journal = world.service.journal()
    assert [entry["route"] for entry in journal[: len(routes)]] == list(routes)
    for generation, route in enumerate(routes, 1):
        assert pairs(world)[generation] == {journal[generation - 1]["made"]}, f"{route} {generation}"
    check_tokens(world)


def check_tokens(world: World) -> None:
    """Every call was due, no refresh token was presented twice, and all tokens were good."""
    for worker in world.workers:
        worker.kill()
    said = {worker.name: worker.lines() for worker in world.workers}
    # A process that was killed during a flight has a pair that was handed out to no caller.
    deeds = Deeds(killed=set(said))
    terms = Terms(LIFE_S, MARGIN_S, slack=LEASE_S + PATIENCE_S)
    objections = Accounts(world.service.journal(), said, deeds, terms).objections
    assert not objections, "\n".join(objections)


def first_after(worker: Worker, moment: float) -> dict[str, Any]:
    """The first use of a token that was requested after this time."""

    def found() -> dict[str, Any] | None:
        uses = (line for line in worker.lines("used") if line["asked"] > moment)
        return next(uses, None)

    use: dict[str, Any] = eventually(found, f"{worker.name} uses a token")
    return use


def makers(world: World) -> dict[str, str]:
    """The process whose call made each pair."""
    return {entry["made"]: entry["agent"] for entry in world.service.journal() if entry["made"]}


def both_well() -> None:
    lives = 12 if IS_LONG else 3
    with world(LIFE_S) as w:
        w.begin()
        for generation in range(2, lives + 2):
            w.agree(generation)
        check(w, "issue", *["refresh"] * lives)


def cut_off() -> None:
    with world(LIFE_S) as w:
        # With a private pair it would make a call when the wire is back.
        w.begin(on_store_down="fail")
        w.a.cut("service", "store")
        w.agree(3, w.b)
        made = min(line["at"] for worker in w.workers for line in worker.lines("token"))
        for worker in w.a.workers:
            uses = worker.lines("used")
            assert {line["generation"] for line in uses} == {1}
            theirs = [line for other in w.b.workers for line in other.lines("used")]
            others_went_on = min(line["at"] for line in theirs if line["generation"] == 2)
            assert uses[-1]["asked"] > others_went_on, "it is served after the others had a newer one"
            assert uses[-1]["asked"] < made + LIFE_S - MARGIN_S, "and no longer than it is good"
        w.a.mend("service", "store")
        w.agree(2, w.a)
        for worker in w.a.workers:
            adopted = next(line for line in worker.lines("used") if line["generation"] > 1)
            assert makers(w)[adopted["fingerprint"]] in ("b1", "b2")
        last = max(pairs(w))
        check(w, "issue", *["refresh"] * (last - 1))


def store_cut_off() -> None:
    with world(LIFE_S) as w:
        w.begin()
        w.a.cut("store")

        def private(name: str) -> list[dict[str, Any]]:
            return [entry for entry in w.service.journal()[1:] if entry["agent"] == name]

        def lives_alone(worker: Worker) -> bool:
            own = {entry["made"] for entry in private(worker.name)}
            return any(line["fingerprint"] in own for line in worker.lines("used"))

        eventually(lambda: all(map(lives_alone, w.a.workers)), "both processes of A have a pair of their own")
        w.a.mend("store")
        for worker in w.a.workers:
            routes = {entry["route"] for entry in private(worker.name)}
            assert routes == {"issue"}, "the shared refresh token is left alone"

        def is_one() -> bool:
            last = [worker.lines("used")[-1]["fingerprint"] for worker in w.workers]
            return len(set(last)) == 1

        eventually(is_one, "all four have one token again")
        issues = [entry for entry in w.service.journal()[1:] if entry["route"] == "issue"]
        for worker in w.a.workers:
            at = [entry["at_ms"] for entry in issues if entry["agent"] == worker.name]
            assert all(later - earlier > LIFE_S / 4 * 1000 for earlier, later in pairwise(at))
        own = {entry["made"] for entry in issues if entry["agent"] in ("a1", "a2")}
        journal = [entry for entry in w.service.journal() if entry["made"] not in own]
        shared = ["issue", *["refresh"] * (len(journal) - 1)]
        assert [entry["route"] for entry in journal] == shared, "nothing but one refresh for each life"
        for worker in w.b.workers:
            assert not own & {line["fingerprint"] for line in worker.lines("used")}
        check_tokens(w)


def frozen_holder() -> None:
    with world(LIFE_S) as w:
        w.begin()
        w.service.hold_next_refresh(6)
        holder = w.service.holder(0)
        frozen = w.a if holder in ("a1", "a2") else w.b
        others = w.b if frozen is w.a else w.a
        frozen.freeze()
        assert len(w.service.journal()) == 1, "it was frozen before the answer came"
        w.agree(2, others, patience=LEASE_S + PATIENCE_S)

        def late() -> list[str]:
            refreshes = [entry for entry in w.service.journal() if entry["route"] == "refresh"]
            return [entry["made"] for entry in refreshes if entry["agent"] == holder]

        (late_pair,) = eventually(late, "the answer is on its way")
        frozen.thaw()
        thawed = boot()
        for worker in frozen.workers:
            assert first_after(worker, thawed)["status"] == 200
        w.agree(2)
        two = pairs(w)[2]
        assert len(two) == 1
        said = [str(line) for worker in w.workers for line in worker.lines()]
        assert not any(late_pair in line for line in said), "the late pair is dropped"
        issues = [entry["agent"] for entry in w.service.journal() if entry["route"] == "issue"]
        assert len(issues) == 2
        assert issues[1] in [worker.name for worker in others.workers]
        assert makers(w)[min(two)] == issues[1]
        w.agree(3)
        assert all(len(found) == 1 for found in pairs(w).values())
        assert [entry["route"] for entry in w.service.journal()].count("issue") == 2
        check_tokens(w)


def store_restarted() -> None:
    with world(LIFE_S) as w:
        w.begin()
        # Shorter than the time that callers without a token wait for one call.
        w.service.hold_next_refresh(4)
        w.service.holder(0)
        w.redis.kill()
        w.redis.start()
        assert len(w.service.journal()) == 1, "it was back before the answer came"
        w.agree(3)
        check(w, "issue", "refresh", "refresh")


def store_emptied() -> None:
    with world(LIFE_S, keeps=False) as w:
        w.begin()
        w.redis.kill()
        w.redis.start()
        assert w.redis.cli("DBSIZE") == "0"
        w.agree(3)
        check(w, "issue", "issue", "refresh")


def suspended() -> None:
    with world(LIFE_S) as w:
        w.begin()
        w.a.freeze()
        frozen = boot()
        eventually(lambda: boot() > frozen + LIFE_S + 1, "a whole life has passed")
        w.agree(3, w.b)
        w.a.thaw()
        thawed = boot()
        for worker in w.a.workers:
            first = first_after(worker, thawed)
            assert first["status"] == 200
            assert makers(w)[first["fingerprint"]] in ("b1", "b2"), "it cost no call"
        check(w, "issue", "refresh", "refresh")


PLAYS: list[Callable[[], None]] = [
    both_well,
    cut_off,
    store_cut_off,
    frozen_holder,
    store_restarted,
    store_emptied,
    suspended,
]


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[None]]]:
    """The selected cases, all running."""
    probe = f"pg{os.getpid()}probe"
    can = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if can.returncode:
        text = f"these tests make network namespaces, and may not: {can.stderr.strip()}; run them as root"
        if os.environ.get("PG_TEST_WITHOUT_MACHINES") == "1" and not os.environ.get("CI"):
            pytest.skip(f"NOT TESTED: two machines: {text}")
        pytest.fail(f"{text}, or set PG_TEST_WITHOUT_MACHINES=1 to go without them")
    subprocess.run(["ip", "netns", "del", probe], check=True)
    names = {item.callspec.id for item in request.session.items if hasattr(item, "callspec")}
    with ThreadPoolExecutor(len(PLAYS)) as pool:
        yield {play.__name__: pool.submit(play) for play in PLAYS if play.__name__ in names}


@pytest.mark.parametrize("name", [play.__name__ for play in PLAYS])
def test_two_hosts(stage: dict[str, Future[None]], name: str) -> None:
    stage[name].result()
