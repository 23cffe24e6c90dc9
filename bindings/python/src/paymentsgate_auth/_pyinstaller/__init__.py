"""Tells PyInstaller where the hook of this package is. It asks through the entry point ``pyinstaller40``."""

from __future__ import annotations

from pathlib import Path


def hook_directories() -> list[str]:
    return [str(Path(__file__).parent)]
