"""The pages, their blocks of code, and the targets of their links.

`pages.py FOLDER…` follows the links of all pages of each folder; none may lead out of it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
COMMAND_LINE = ROOT / "build/paymentsgate-auth"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
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


def links(page: Path) -> Iterator[str]:
    """The targets of its links and images."""
    for token in tokens_of(page):
        for child in token.children or []:
            if child.type in ("link_open", "image"):
                yield str(child.attrs["href" if child.type == "link_open" else "src"])


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and mdBook give to headings."""
    tokens = tokens_of(page)
    titles = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken_links(folder: Path, pages: Iterable[Path]) -> list[str]:
    """The links of pages in the folder that lead to no file in it, or to no heading of that file."""
    broken = []
    for page in pages:
        for link in links(page):
            target, _, heading = link.partition("#")
            if "://" in target:
                continue
            file = (page.parent / target).resolve() if target else page
            is_there = file.exists() and file.is_relative_to(folder)
            if not is_there or (heading and heading not in anchors(file)):
                broken.append(f"{page.relative_to(folder)}: {link}")
    return broken


if __name__ == "__main__":
    count, broken = 0, []
    for folder in (Path(word).resolve() for word in sys.argv[1:]):
        found = list(folder.rglob("*.md"))
        count += len(found)
        broken += broken_links(folder, found)
    print(f"{count} pages, {len(broken)} broken links", *broken, sep="\n")
    sys.exit(bool(broken) or not count)
