"""The file that the shim and its test share: slots, one for each call (see shim.c)."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable
from pathlib import Path

_HEAD = struct.Struct("<8Q")
_STRANGER = struct.Struct("<40s")
_STRANGERS = 64
_SLOT = struct.Struct("<40siiqq128sQQ")
_LEFT = struct.Struct("<q")
_LEFT_AT = 48


class World:
    """The calls that are refused now, and how often each was made."""

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self.path = path
        self._places: dict[str, int] = {}
        place = _HEAD.size + _STRANGERS * _STRANGER.size
        for name in names:
            self._places[name] = place
            place += _SLOT.size
        with path.open("w+b") as file:
            file.truncate(place)
            self._bytes = mmap.mmap(file.fileno(), place)
        for name, place in self._places.items():
            _SLOT.pack_into(self._bytes, place, name.encode(), 0, 0, 0, 0, b"", 0, 0)
        # Last: the number of slots.
        _HEAD.pack_into(self._bytes, 0, len(self._places), *[0] * 7)

    def refuse(self, name: str, error: int, times: int, about: str = "") -> None:
        """Refuses this many calls from now on, or all for -1, whose path contains `about`."""
        place = self._places[name]
        _, _, _, _, _, _, calls, refused = _SLOT.unpack_from(self._bytes, place)
        _SLOT.pack_into(self._bytes, place, name.encode(), error, 0, 0, 0, about.encode(), calls, refused)
        # The shim can read meanwhile, so the count comes last.
        _LEFT.pack_into(self._bytes, place + _LEFT_AT, times)

    def lift(self) -> None:
        """Ends all refusals."""
        for place in self._places.values():
            _LEFT.pack_into(self._bytes, place + _LEFT_AT, 0)

    def counts(self, name: str) -> tuple[int, int]:
        """How often it was made, and refused."""
        *_, calls, refused = _SLOT.unpack_from(self._bytes, self._places[name])
        return calls, refused

    def strangers(self) -> list[str]:
        """Calls that were made and have no slot."""
        places = range(_HEAD.size, _HEAD.size + _STRANGERS * _STRANGER.size, _STRANGER.size)
        names = [self._bytes[place : place + _STRANGER.size].split(b"\0")[0] for place in places]
        return [name.decode() for name in names if name]

    def close(self) -> None:
        self._bytes.close()
