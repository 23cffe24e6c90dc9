"""The protocol of Sharing.tla in every order of its steps, with faults, and without each of its rules."""

import os

import pytest
from tlc import FAULTS, SAFETY, Model, Result, check

LONG = bool(os.environ.get("PG_SOAK"))
ACKNOWLEDGED = ("failover", "crash", "sleep", "lost write answer")
# What lets processes go on alone, or wait at any step, multiplies the states.
WITHOUT_OUTAGES = tuple(kind for kind in FAULTS if kind not in ("disconnect", "sleep"))
UNLESS_REVERTED = ("NoTokenTwiceUnlessReverted", *SAFETY[1:])

HOLDS = {
    "no fault": Model(faults=0),
    # With three processes that may be cut off, one end of the tokens is two hundred thousand states.
    **{kind: Model(kinds=(kind,), dues=1 if kind == "disconnect" else 2, properties=()) for kind in FAULTS},
    "two faults of all kinds, two processes": Model(processes=2, faults=2, dues=1, properties=()),
    "generations": Model(processes=2, kinds=tuple(kind for kind in FAULTS if kind != "disconnect")),
    "failover that loses nothing that was acknowledged": Model(
        processes=2, faults=2, dues=1, kinds=ACKNOWLEDGED, replicas=True, properties=()
    ),
    "failover, apart from its known risk": Model(
        kinds=("failover",), dues=1, invariants=UNLESS_REVERTED, properties=()
    ),
    "recovery": Model(processes=2, dues=1, invariants=(), properties=("Recovers",), is_fair=True),
}
if LONG:
    HOLDS |= {"two faults, three processes": Model(faults=2, kinds=WITHOUT_OUTAGES, properties=())}

# A rule that is left out, the fault that shows it, and what fails then.
BROKEN = {
    "no intent": (("crash",), "NoTokenTwice"),
    "late intent": (("crash",), "NoTokenTwice"),
    "no re-read": ((), "NoTokenTwice"),
    "no compare-and-set": (("sleep",), "GenerationsGrow"),
    "offered twice": (("lost write answer",), "NoTokenTwice"),
    "no obstacle": (("limit",), "OneProbe"),
    "endless lease": (("crash",), "NoDeadEnd"),
    "no pause": (("limit", "late write"), "NobodyDefies"),
}


def report(name: str, result: Result) -> None:
    found = f"{result.states} states" if result.violated is None else f"{result.violated} fails, as expected"
    print(f"model: {name}: {found}, {result.seconds} s")


@pytest.mark.parametrize("name", HOLDS)
def test_the_invariants_hold(name: str) -> None:
    result = check(HOLDS[name])
    assert result.violated is None, f"{result.violated}: {' '.join(result.actions)}\n{result.output}"
    report(name, result)


@pytest.mark.parametrize("rule", BROKEN)
def test_without_a_rule_an_invariant_fails(rule: str) -> None:
    kinds, expected = BROKEN[rule]
    invariants = (expected,) if expected in SAFETY else ()
    properties = () if invariants else (expected,)
    model = Model(faults=len(kinds), kinds=kinds, broken=rule, invariants=invariants, properties=properties)
    result = check(model)
    assert result.violated == expected, result.output
    report(f"with {rule}", result)


def test_a_failover_that_loses_an_intent_presents_a_refresh_token_twice() -> None:
    """The first of the remaining risks in docs/redis.md. Of a failover it is the only one, as shown above."""
    model = Model(processes=2, dues=1, kinds=("failover",), invariants=("NoTokenTwice",), properties=())
    result = check(model)
    assert result.violated == "NoTokenTwice", result.output
    steps = [action for action in result.actions if action in ("WriteIntent", "Post", "Failover")]
    # Before or after the first of them presents it: both ways are as short.
    assert steps in (
        ["WriteIntent", "Post", "Failover", "WriteIntent", "Post"],
        ["WriteIntent", "Failover", "WriteIntent", "Post", "Post"],
    )
    report("failover", result)
