"""The emulator, one for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox import Sandbox, started


@pytest.fixture(scope="session")
def _emulator() -> Iterator[Sandbox]:
    with started() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_emulator: Sandbox) -> Sandbox:
    _emulator.reset()
    return _emulator
