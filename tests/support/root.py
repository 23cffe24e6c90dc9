"""Tests that need root. Without it they are skipped, which is said; in CI, which runs as root, they fail."""

from __future__ import annotations

import os

import pytest


def needs_root(what: str) -> pytest.MarkDecorator:
    is_root = os.geteuid() == 0
    if not is_root and os.environ.get("CI"):
        raise RuntimeError(f"in CI each test runs as root, and this is not root: {what} needs it")
    return pytest.mark.skipif(not is_root, reason=f"NOT TESTED: {what} needs root")
