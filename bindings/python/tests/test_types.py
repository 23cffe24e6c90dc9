"""The annotations can be evaluated, as frameworks do that inject or document what they are given."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_type_hints

import pytest

import paymentsgate_auth
from paymentsgate_auth import AsyncSession, Session, Settings, _typing, aiohttp, httpx, requests, testing

MODULES: list[ModuleType] = [paymentsgate_auth, aiohttp, httpx, requests, testing]


def functions() -> Iterator[tuple[str, Any]]:
    """Every public class and function, and the methods of each class."""
    for module in MODULES:
        for name in module.__all__:
            item = getattr(module, name)
            if not (inspect.isclass(item) or inspect.isroutine(item)):
                continue
            yield f"{module.__name__}.{name}", item
            for method, function in inspect.getmembers(item, inspect.isroutine):
                if str(getattr(function, "__module__", "")).startswith("paymentsgate_auth"):
                    yield f"{module.__name__}.{name}.{method}", function


FUNCTIONS = dict(functions())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_annotations_can_be_evaluated(name: str) -> None:
    get_type_hints(FUNCTIONS[name])
    if FUNCTIONS[name] is not Settings:  # a dict has no signature
        inspect.signature(FUNCTIONS[name], eval_str=True)


def test_the_search_finds_methods() -> None:
    assert "paymentsgate_auth.Session.token" in FUNCTIONS
    assert len(FUNCTIONS) > 100


@pytest.mark.parametrize("kind", [Session, AsyncSession])
def test_the_signature_of_a_session_has_its_settings(kind: type) -> None:
    keywords = inspect.signature(kind, eval_str=True).parameters["keywords"]
    assert Settings.__name__ in str(keywords.annotation)


def test_python_3_10_has_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 12))
    try:
        old = importlib.reload(_typing)
        assert get_type_hints(old.Unpack[Settings]) == get_type_hints(Settings)
        assert old.Self.__name__ == "Self"
    finally:
        monkeypatch.undo()
        importlib.reload(_typing)
