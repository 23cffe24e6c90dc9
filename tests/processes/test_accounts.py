"""The accounts object to every history that breaks a rule."""

from __future__ import annotations

from typing import Any

import pytest
from accounts import Accounts, Deeds, Terms

Line = dict[str, Any]
TERMS = Terms(life=12, margin=5, slack=25)


def call(at_s: float, route: str, made: str | None, agent: str = "w1", **more: object) -> Line:
    presented = f"for {made}" if route == "refresh" else None
    about = {"at_ms": int(at_s * 1000), "route": route, "agent": agent, "made": made}
    return {**about, "presented": presented, "outcome": "200", **more}


def used(generation: int, fingerprint: str, status: int = 200, held: float = 0.1) -> Line:
    about = {"generation": generation, "fingerprint": fingerprint}
    return {"at": 0.0, "what": "used", **about, "asked": 0.0, "status": status, "held": held}


def own(fingerprint: str) -> Line:
    text = f"token {fingerprint} is private to this process: the store is down"
    return {"at": 0.0, "what": "news", "text": text}


def waited(seconds: float) -> Line:
    about = {"generation": 1, "fingerprint": A}
    return {"at": 100.0, "what": "token", **about, "took": seconds}


A, B, C = "a" * 16, "b" * 16, "c" * 16
# Two correct lives of one process.
GOOD = [call(0, "issue", A), call(6, "refresh", B)]
SAID = [used(1, A), used(2, B)]
LOST = call(6, "refresh", None, outcome="reset")
REFUSED = call(6, "refresh", None, outcome="401")


def objections(journal: list[Line], said: list[Line], deeds: Deeds | None = None) -> list[str]:
    return Accounts(journal, {"w1": said}, deeds or Deeds(), TERMS).objections


@pytest.mark.parametrize(
    ("journal", "said", "deeds"),
    [
        (GOOD, SAID, Deeds()),
        ([GOOD[0], LOST, call(6, "issue", B)], SAID, Deeds()),
        ([GOOD[0], call(6, "refresh", None, outcome="429", presented=f"for {B}"), GOOD[1]], SAID, Deeds()),
        ([*GOOD, call(12, "refresh", C, "w9")], SAID, Deeds(killed={"w9"})),
        ([*GOOD, call(12, "refresh", C)], SAID, Deeds(freed=1)),
        ([*GOOD, call(7, "issue", C)], [*SAID, used(2, B, 401), used(3, C)], Deeds(revoked_ms=[6500])),
        ([GOOD[0], REFUSED, call(6, "issue", B)], SAID, Deeds(revoked_ms=[5000])),
        ([*GOOD, call(7, "issue", C)], [*SAID, own(C), used(2, C)], Deeds()),
        (GOOD, [*SAID, used(1, A, 401, held=5.5)], Deeds()),
        (GOOD, [*SAID, waited(30)], Deeds(troubles=[(80, 90)])),
    ],
)
def test_an_explainable_history_raises_no_objection(
    journal: list[Line], said: list[Line], deeds: Deeds
) -> None:
    assert objections(journal, said, deeds) == []


@pytest.mark.parametrize(
    ("journal", "said", "deeds", "objection"),
    [
        ([*GOOD, call(12, "refresh", C)], [*SAID, used(2, C)], Deeds(), "two pairs of one generation"),
        ([*GOOD, call(8, "refresh", C)], [*SAID, used(3, C)], Deeds(), "not due"),
        ([*GOOD, call(12, "issue", C)], [*SAID, used(3, C)], Deeds(), "there was a good refresh token"),
        ([*GOOD, call(12, "refresh", C)], SAID, Deeds(), "pairs that nobody was given"),
        ([*GOOD, *[call(12, "issue", C, "w9")] * 2], SAID, Deeds(killed={"w9"}), "more than one call"),
        ([GOOD[0], REFUSED, call(6, "issue", B)], SAID, Deeds(), "was refused"),
        ([GOOD[0], {**LOST, "presented": f"for {B}"}, GOOD[1]], SAID, Deeds(), "presented again"),
        ([*GOOD, *[call(7, "issue", C)] * 2], [*SAID, own(C)], Deeds(), "two private pairs"),
        (GOOD, [*SAID, used(2, B, 401)], Deeds(), "that the service refuses"),
        (GOOD, [*SAID, used(2, B, 401)], Deeds(revoked_ms=[5000]), "that the service refuses"),
        (GOOD, [*SAID, *[used(2, B, 401)] * 2], Deeds(revoked_ms=[7000]), "given a token again"),
        (GOOD, [*SAID, {"at": 1.0, "what": "error", "took": 0}], Deeds(), "had no token"),
        (GOOD, [*SAID, waited(26)], Deeds(), "waited"),
    ],
)
def test_every_other_history_raises_an_objection(
    journal: list[Line], said: list[Line], deeds: Deeds, objection: str
) -> None:
    assert any(objection in text for text in objections(journal, said, deeds))
