"""Forty processes on one store, with incidents: one call for each due refresh, every other has a reason."""

from __future__ import annotations

import os
import random

import pytest
from forty_processes import Fleet


@pytest.mark.parametrize("store", ["file", "redis"])
def test_forty_processes(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("PG_SEED") or random.randrange(1 << 32))
    seconds = float(os.environ.get("PG_SOAK") or 0)
    with Fleet(store, seed) as fleet:
        try:
            fleet.brave_the_weather(seconds)
            accounts = fleet.accounts()
            with capsys.disabled():
                print(f"\n{fleet.report(accounts)}")
            assert not accounts.objections, "\n".join(accounts.objections)
        except BaseException:
            print(fleet.timeline())
            raise
