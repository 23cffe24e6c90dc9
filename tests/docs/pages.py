"""The pages, their blocks of code, and the targets of their links."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
COMMAND_LINE = ROOT / "build/paymentsgate-auth"
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "bindings/python/README.md",
    ROOT / "examples/monitoring/README.md",
    ROOT / "tests/README.md",
    ROOT / "tests/behaviours/README.md",
    ROOT / "tests/docs/README.md",
    ROOT / "sandbox/README.md",
]


@dataclass(frozen=True)
class Block:
    """A block of code. An indented one has no language."""

    page: Path
    language: str
    number: int
    """Its number among the blocks of its language on the page, from 1 on."""
    code: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)} {self.language or 'indented'} {self.number}"


def tokens_of(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def blocks() -> Iterator[Block]:
    for page in PAGES:
        seen: Counter[str] = Counter()
        for token in tokens_of(page):
            if token.type in ("fence", "code_block"):
                language = token.info.strip()
                seen[language] += 1
                yield Block(page, language, seen[language], token.content)


def links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for token in tokens_of(page):
            for child in token.children or []:
                if child.type == "link_open":
                    yield page, str(child.attrs["href"])


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and mdBook give to headings."""
    tokens = tokens_of(page)
    titles = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
