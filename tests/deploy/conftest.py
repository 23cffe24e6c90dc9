"""The emulator, one for all tests, and a folder that other users can reach."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

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


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder like tmp_path, which is for its owner alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
