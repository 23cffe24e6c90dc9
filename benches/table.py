#!/usr/bin/env python3
"""The rows of the benchmarks: table.py run SECTION COMMAND... runs one and keeps its rows; table.py page
writes the page with all that were kept.

A benchmark prints a line `row`, WHAT, BESIDE, UNIT, OURS, THEIRS, AGAIN, GOAL, with tabs between them: the
figure of this library, that of what it is compared with (BESIDE), and that of BESIDE measured once more in
the same run, or 0 if it is exact. GOAL is the ratio that is wanted at most, or 0."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from html import escape
from math import log2
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "build/benches/rows.tsv"
PAGE = ROOT / "docs/benchmarks.md"
BARS = PAGE.with_suffix(".svg")
# What the page is made of.
RESULTS = ROOT / "benches/results.tsv"
HEAD = "| | here | beside | there | ratio | noise | goal |\n|---|---:|---|---:|---:|---:|---|\n"


@dataclass(frozen=True)
class Row:
    section: str
    what: str
    beside: str
    unit: str
    ours: float
    theirs: float
    again: float
    goal: float

    @classmethod
    def of(cls, words: list[str]) -> "Row":
        section, what, beside, unit, *figures = words
        return cls(section, what, beside, unit, *map(float, figures))

    def line(self) -> str:
        texts = (self.section, self.what, self.beside, self.unit)
        return "\t".join(
            (*texts, *(f"{figure:g}" for figure in (self.ours, self.theirs, self.again, self.goal)))
        )

    @property
    def ratio(self) -> float:
        """Less is better: of a rate it is the inverse."""
        return self.theirs / self.ours if self.unit == "/s" else self.ours / self.theirs

    @property
    def noise(self) -> float | None:
        return self.again / self.theirs if self.again else None

    @property
    def is_met(self) -> bool:
        return round(self.ratio, 2) <= self.goal

    def columns(self) -> list[str]:
        noise = "exact" if self.noise is None else f"{self.noise:.2f}"
        goal = f"{self.goal:.2f}, {'met' if self.is_met else 'missed'}" if self.goal else ""
        ours, theirs = (figure(number, self.unit) for number in (self.ours, self.theirs))
        return [self.what, ours, self.beside, theirs, f"{self.ratio:.2f}", noise, goal]


def print_row(
    what: str, beside: str, unit: str, ours: float, theirs: float, again: float, goal: float = 0
) -> None:
    """For the benchmarks in Python."""
    print("row", Row("", what, beside, unit, ours, theirs, again, goal).line().strip(), sep="\t", flush=True)


def no_more_than(theirs: float, more: float) -> float:
    """A goal that is a distance to the other program's figure, as a ratio, rounded as ratios are."""
    return round((theirs + more) / theirs, 2)


def figure(number: float, unit: str) -> str:
    digits = 0 if number >= 100 or number == int(number) else 1 if number >= 10 else 2
    return f"{number:,.{digits}f}{'' if unit == '/s' else ' '}{unit}".strip()


def run(section: str, command: list[str]) -> int:
    """Passes on what the command prints, and its rows as columns; keeps the rows."""
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    heads = ("", "here", "", "there", "ratio", "noise", "goal")
    show = "{:58} {:>12}  {:32} {:>12} {:>6} {:>6}  {}".format
    print(f"{section}\n{show(*heads)}", flush=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program, KEPT.open("a") as kept:
        for line in program.stdout or ():
            first, *words = line.rstrip("\n").split("\t")
            if first == "row":
                row = Row.of([section, *words])
                print(row.line(), file=kept, flush=True)
                line = show(*row.columns()) + "\n"
            print(line, end="", flush=True)
    return program.returncode


# ---- The page

MISSED = """
## Why goals are missed

- **Requests from several threads.** Each caller prepares its request and reads its answer itself, but one
  thread at a time drives all connections, and wakes the callers whose answers have come. libcurl has a
  connection for each thread, and the system wakes the thread itself; Go's callers are no threads. More
  reactors would hardly help: with the eight threads of each program in eight processes, where each thread of
  this library has its own reactor, libcurl had 1.10 to 1.20 times its rate, and 1.09 to 1.37 times in one
  process, in two runs each (`make bench-request PG_BENCH_PROCESSES=8` tells it on another machine). The
  library's thread as the driver as soon as a second caller waits was not faster either.
- **Requests from one thread over HTTP/1.1.** The library makes nine system calls, and libcurl seven: it looks
  at the connection before and after each request, and keeps SIGPIPE from the caller.
- **10,000 refreshes.** The instructions are fewer than libcurl's; a fifth of the time is malloc and free,
  of which libcurl keeps its buffers.
- **Memory of an idle session.** Of what remains, 611 bytes are the key, the account and the pair; the rest is
  the session's state in nine blocks, its places in two maps, and malloc's own.
- **The proxy's p50 with 64 connections**, whose goal is 100 us more than nginx's. Both proxies are saturated:
  64 callers share what two processors can do, so the p50 is about 64 divided by the rate. It tells the same
  as the rate, whose goal is half of nginx's.
- **A refresh on `file:`.** Each step is done by a thread of the folder, since a disk may hang, and takes
  the lock or reads the record besides.
"""


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next(line.split(": ", 1)[1] for line in lines if line.startswith("model name"))
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    release = platform.release().split("-")[0]
    # What else it did meanwhile.
    load = f"load average {os.getloadavg()[2]:.0f}"
    return f"{os.cpu_count()} processors ({processor}), {system}, Linux {release}, {load}"


def parse(text: str) -> tuple[str, str, list[Row]]:
    """The machine, the date and the rows of RESULTS. A row that was measured again counts as it was last."""
    where, when, *lines = text.splitlines()
    rows = [Row.of(line.split("\t")) for line in lines]
    return where, when, list({(row.section, row.what, row.beside): row for row in rows}.values())


def sections(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.section, []).append(row)
    return found


def page(where: str, when: str, rows: list[Row]) -> str:
    goals = [row for row in rows if row.goal]
    met = sum(row.is_met for row in goals)
    text = f"""# Benchmarks

Made from what the benchmarks measured on {when} (`make bench`); do not edit. The machine: {where}.
The benchmarks alone make a load of about 2. What else a machine does makes figures worse and noise larger,
and threads that would wait for each other meet less often.

Each row is this library beside another program that does the same, in turn, on the same machine and against
the emulator. `make help` lists the parts, for example `make bench-request`. The ratio is what the library
needs divided by what the other program needs: below 1, the library needs less. Of a rate it is the inverse.
The noise is the ratio of the other program to itself, measured twice in the same run: a ratio that is no
farther from 1 says nothing. The goal is the ratio that is wanted at most.

{met} of {len(goals)} goals are met.

![The ratios as bars, on a logarithmic scale]({BARS.name})
"""
    for section, members in sections(rows).items():
        text += f"\n## {section}\n\n{HEAD}"
        text += "".join(f"| {' | '.join(row.columns())} |\n" for row in members)
    return text + MISSED


# ---- The bars

WIDTH, LABELS, HEIGHT, RIGHT = 1100, 660, 20, 60
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .head { font-weight: 600 } .axis { fill: #59636e }
.ground { fill: #ffffff } .line { stroke: #59636e } .goal { stroke: #1f2328; stroke-width: 2 }
.less { fill: #2a7f62 } .more { fill: #c2571a } .noise { fill: #8c959f; opacity: .5 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .axis { fill: #9198a1 } .ground { fill: #0d1117 } .line { stroke: #9198a1 }
.goal { stroke: #e6edf3 } .less { fill: #3fb68b } .more { fill: #f0883e } .noise { fill: #9198a1 }
}
"""


def bars(rows: list[Row]) -> str:
    """A bar for each ratio, from 1 to it; the band at 1 is the noise, the stroke the goal."""
    least = min(-2.0, *(log2(row.ratio) for row in rows))
    most = max(1.0, *(log2(max(row.ratio, row.goal)) for row in rows))

    def at(ratio: float) -> float:
        place = (min(max(log2(ratio), least), most) - least) / (most - least)
        return LABELS + place * (WIDTH - LABELS - RIGHT)

    def span(kind: str, a: float, b: float, top: float, height: float) -> str:
        left, right = sorted((at(a), at(b)))
        place = f'x="{left:.1f}" y="{top}" width="{max(right - left, 0.5):.1f}" height="{height}"'
        return f'<rect class="{kind}" {place}/>'

    parts, y = [], 30
    for section, members in sections(rows).items():
        parts.append(f'<text class="head" x="8" y="{y + 14}">{escape(section)}</text>')
        y += HEIGHT
        for row in members:
            label = f"{row.what}, beside {row.beside}"
            parts.append(f'<text x="16" y="{y + 14}">{escape(label)}</text>')
            parts.append(span("less" if row.ratio <= 1 else "more", 1, row.ratio, y + 4, 12))
            if row.noise is not None:
                width = max(row.noise, 1 / row.noise)
                parts.append(span("noise", 1 / width, width, y + 8, 4))
            if row.goal:
                x = f"{at(row.goal):.1f}"
                parts.append(f'<line class="goal" x1="{x}" y1="{y + 2}" x2="{x}" y2="{y + 18}"/>')
            parts.append(f'<text x="{WIDTH - 8}" y="{y + 14}" text-anchor="end">{row.ratio:.2f}</text>')
            y += HEIGHT
        y += 8
    one = f"{at(1):.1f}"
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img">
<title>Ratios to other programs; below 1, to the left, the library needs less</title>
<style>{STYLE}</style>
<rect class="ground" width="{WIDTH}" height="{y}"/>
<text class="axis" x="{at(1) - 8:.1f}" y="16" text-anchor="end">needs less</text>
<text class="axis" x="{at(1) + 8:.1f}" y="16">needs more</text>
<line class="line" x1="{one}" y1="22" x2="{one}" y2="{y - 4}"/>
{chr(10).join(parts)}
</svg>
"""


def write_page() -> None:
    RESULTS.write_text(f"{machine()}\n{date.today():%Y-%m-%d}\n{KEPT.read_text()}")
    where, when, rows = parse(RESULTS.read_text())
    PAGE.write_text(page(where, when, rows))
    BARS.write_text(bars(rows))
    print(f"{PAGE.relative_to(ROOT)}: {len(rows)} rows")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", section, *command] if command:
            sys.exit(run(section, command))
        case ["page"]:
            write_page()
        case _:
            sys.exit(__doc__)
