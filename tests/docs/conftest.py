"""The emulator that programs in the documents run against."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from sandbox import Sandbox, started


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with started() as sandbox:
        yield sandbox


@pytest.fixture
def environment(running: Sandbox) -> dict[str, str]:
    """The environment of a program, with the emulator and the authority that HTTP clients trust."""
    running.reset()
    address = running.address
    trust = dict.fromkeys(
        ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PAYMENTSGATE_TLS_CA_FILE"), address["ca_file"]
    )
    return {
        **os.environ,
        **trust,
        "NO_PROXY": "127.0.0.1",
        "PAYMENTSGATE_BASE_URL": address["https"],
        "PAYMENTSGATE_CREDENTIALS_FILE": address["credentials_file"],
    }
