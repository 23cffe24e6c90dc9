"""Accounts for every call to the auth routes: its process and its reason.

Pure functions: from the journal of the service, the output of the workers and the incidents they
compute numbers and objections.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Line = dict[str, Any]
OWN = re.compile(r"token ([0-9a-f]{16}) is private to this process")


@dataclass
class Deeds:
    """The incidents of the fleet."""

    killed: set[str] = field(default_factory=set)
    """The workers that were killed."""
    freed: int = 0
    """How often a lease was ended early."""
    revoked_ms: list[int] = field(default_factory=list)
    """When all tokens were revoked, by the clock of the service."""
    troubles: list[tuple[float, float]] = field(default_factory=list)
    """Times on the boot clock during which no process is expected to get a new token."""


@dataclass
class Terms:
    """The rules of a token's life, in seconds."""

    life: float
    margin: float
    """The minimum remaining life of a token that is handed out."""
    slack: float
    """The longest wait after the trouble is over; generous, since the machine can be busy."""

    @property
    def floor(self) -> float:
        """The minimum time between two successful refreshes."""
        return (self.life - self.margin) / 2


class Accounts:
    """The accounts of one run."""

    def __init__(self, journal: list[Line], said: dict[str, list[Line]], deeds: Deeds, terms: Terms) -> None:
        self.journal, self.said, self.deeds, self.terms = journal, said, deeds, terms
        self.objections: list[str] = []
        self.purposes: Counter[str] = Counter()
        self.longest_wait = 0.0
        self.revoked_uses = 0
        self._seen: dict[str, int] = {}
        self._own: set[str] = set()
        for line in (line for lines in said.values() for line in lines):
            if line["what"] in ("token", "used"):
                self._seen[line["fingerprint"]] = line["generation"]
            elif line["what"] == "news" and (own := OWN.search(line["text"])):
                self._own.add(own[1])
        self._audit_calls()
        self._audit_presentations()
        self._audit_uses()
        self._audit_waits()

    @property
    def generations(self) -> int:
        return len({self._seen[entry["made"]] for entry in self.journal if self._purpose(entry) == "due"})

    def _purpose(self, entry: Line) -> str:
        """The result of a call."""
        if entry["outcome"] == "429":
            return "not consumed"
        if entry["outcome"] == "401" and entry["route"] == "refresh":
            return "refused"
        if entry["outcome"] != "200":
            return "lost" if entry["route"] == "refresh" else "failed"
        if entry["made"] in self._own:
            return "private"
        return "due" if entry["made"] in self._seen else "unseen"

    def _audit_calls(self) -> None:
        made: dict[int, Line] = {}
        last: Line | None = None
        # Whether the refresh token of the last pair may be lost.
        is_lost, causeless = True, 0
        unseen: Counter[str] = Counter()
        lived_alone: dict[str, Line] = {}
        for entry in self.journal:
            purpose = self._purpose(entry)
            self.purposes[purpose] += 1
            if purpose == "unseen":
                unseen[entry["agent"]] += 1
            if purpose == "private":
                earlier = lived_alone.get(entry["agent"])
                if earlier and entry["at_ms"] - earlier["at_ms"] < self.terms.life / 4 * 1000:
                    self._object("two private pairs of one process in a short time", earlier, entry)
                lived_alone[entry["agent"]] = entry
            if purpose == "due":
                generation = self._seen[entry["made"]]
                if earlier := made.get(generation):
                    self._object("two pairs of one generation", earlier, entry)
                made[generation] = entry
                was_revoked = last is not None and self._is_revoked(last, entry["at_ms"])
                age = (entry["at_ms"] - last["at_ms"]) / 1000 if last else self.terms.life
                if age < self.terms.floor and not was_revoked:
                    self._object(f"not due: its predecessor was {age:.1f} s old", entry)
                causeless += entry["route"] == "issue" and not is_lost and not was_revoked
                last, is_lost = entry, False
            elif purpose != "not consumed":
                is_lost = True
        of_the_living = sum(unseen[name] for name in unseen.keys() - self.deeds.killed)
        if of_the_living > self.deeds.freed:
            self._object(f"{of_the_living} pairs that nobody was given", dict(unseen))
        if many := [name for name in unseen.keys() & self.deeds.killed if unseen[name] > 1]:
            self._object("a process that was killed had more than one call under way", many)
        if self.purposes["refused"] > len(self.deeds.revoked_ms):
            self._object("a refresh token that was not revoked was refused")
        # A process that was killed between its intent and its call has made no call.
        if causeless > len(self.deeds.killed) + self.deeds.freed:
            self._object(f"{causeless} pairs were issued though there was a good refresh token")

    def _is_revoked(self, entry: Line, by_ms: int) -> bool:
        return any(entry["at_ms"] <= at <= by_ms for at in self.deeds.revoked_ms)

    def _audit_presentations(self) -> None:
        times: Counter[str] = Counter()
        for entry in self.journal:
            if entry["presented"] and self._purpose(entry) != "not consumed":
                times[entry["presented"]] += 1
        if again := [token for token, number in times.items() if number > 1]:
            self._object("refresh tokens that were presented again", again)

    def _audit_uses(self) -> None:
        made_at = {entry["made"]: entry for entry in self.journal if entry["made"]}
        for name, lines in self.said.items():
            told: set[str] = set()
            for line in lines:
                if line["what"] != "used" or line["status"] != 401 or line["held"] >= self.terms.margin:
                    continue
                token = line["fingerprint"]
                entry = made_at[token]
                if not any(entry["at_ms"] <= at for at in self.deeds.revoked_ms):
                    self._object(f"{name} was given a token that the service refuses", line, entry)
                if token in told:
                    self._object(f"{name} was given a token again that it had said was refused", line)
                told.add(token)
                self.revoked_uses += 1

    def _audit_waits(self) -> None:
        for name, lines in self.said.items():
            for line in lines:
                if line["what"] == "error":
                    self._object(f"{name} had no token", line)
                if line["what"] != "token":
                    continue
                until, since = line["at"], line["at"] - line["took"]
                self.longest_wait = max(self.longest_wait, line["took"])
                overlaps = (min(until, end) - max(since, start) for start, end in self.deeds.troubles)
                trouble = sum(overlap for overlap in overlaps if overlap > 0)
                if line["took"] > trouble + self.terms.slack:
                    self._object(f"{name} waited, {trouble:.1f} s of it in trouble", line)

    def _object(self, *about: object) -> None:
        self.objections.append(": ".join(map(str, about)))


def table(rows: dict[str, object]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"    {name:<{width}}  {value}" for name, value in rows.items())


def timeline(said: dict[str, list[Line]], told: Iterable[tuple[float, str]]) -> str:
    """The events in order: the incidents, and the new lines of the workers."""
    lines = list(told)
    for name, of_one in said.items():
        known: dict[str, Any] = defaultdict(lambda: None)
        for line in of_one:
            about = line.get("fingerprint"), line.get("status")
            if line["what"] != "used" or known["used"] != about:
                rest = {key: value for key, value in line.items() if key not in ("at", "what")}
                lines.append((line["at"], f"{name} {line['what']} {rest}"))
            known[line["what"]] = about
    return "\n".join(f"{at:12.3f} {text}" for at, text in sorted(lines))
