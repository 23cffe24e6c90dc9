"""Fixtures: the emulator, and settings for a client of it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from sandbox import Sandbox, started

# A program's tests get the plugin from the installed package.
pytest_plugins = ["paymentsgate_auth.testing"]


def pytest_configure() -> None:
    for variable, what in (
        ("PAYMENTSGATE_AUTH_LIB", "the shared library"),
        ("PG_SANDBOX", "the emulator, pg-sandbox"),
    ):
        if not os.path.isfile(os.environ.get(variable, "")):
            raise pytest.UsageError(f"set {variable} to the path of {what}; make build makes both")


@pytest.fixture(scope="session")
def running() -> Iterator[Sandbox]:
    with started() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


@pytest.fixture
def settings(sandbox: Sandbox) -> dict[str, str]:
    """A client's settings for the emulator."""
    return {
        "base_url": sandbox.address["https"],
        "credentials_file": sandbox.address["credentials_file"],
        "tls.ca_file": sandbox.address["ca_file"],
    }
