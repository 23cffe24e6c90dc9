"""Benchmarks in separate processes, this library and libcurl alternately: the first refresh of a process,
the instructions of a warm refresh, and concurrent refreshes with their memory. Ratios are of medians."""

import os
import re
import subprocess
import time
from pathlib import Path
from statistics import median

from table import print_row

HERE = Path("build/benches")
# libcurl twice: the difference is the noise.
WAYS = {"ours": "pg", "libcurl": "curl", "again": "curl"}
HTTP1 = {"PG_SANDBOX_FIXED": os.environ["PG_SANDBOX_FIXED_HTTP1"]}


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, check=True)


def first(way: str) -> float:
    return float(run(HERE / f"first_{WAYS[way]}", 1, time.clock_gettime_ns(time.CLOCK_MONOTONIC)).stdout)


# callgrind counts each round of `rep stosb` and `rep movsb`, by which glibc fills and copies long blocks; a
# processor counts one instruction.
WITHOUT_REP = ":".join(f"glibc.cpu.x86_rep_{what}b_threshold=100000000" for what in ("stos", "movs"))


def instructions(way: str, calls: int, environment: dict[str, str]) -> int:
    valgrind = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
    counted = run(*valgrind, HERE / f"first_{way}", calls, 0, GLIBC_TUNABLES=WITHOUT_REP, **environment)
    return int(re.search(r"Collected : (\d+)", counted.stderr)[1])


def main() -> None:
    times = {way: [] for way in WAYS}
    for _ in range(41):
        for way in WAYS:
            times[way].append(first(way))
    print_row(
        "the first refresh of a process", "libcurl", "us", *(median(each) for each in times.values()), 1
    )

    for protocol, environment, goal in (("HTTP/2", {}, 1), ("HTTP/1.1", HTTP1, 1.1)):
        each = [
            (instructions(way, 200, environment) - instructions(way, 100, environment)) / 100
            for way in WAYS.values()
        ]
        print_row(f"instructions of a warm refresh, {protocol}", "libcurl", "", *each, goal)

    crowds = {way: [] for way in WAYS}
    for _ in range(9):
        for way, name in WAYS.items():
            crowds[way].append([float(number) for number in run(HERE / f"crowd_{name}").stdout.split()])
    columns = (
        ("wall", "ms", 0.6),
        ("processor time", "ms", 0.6),
        ("most memory", "kB", 0),
        ("connections", "", 0),
    )
    for column, (figure, unit, goal) in enumerate(columns):
        figures = (median(row[column] for row in each) for each in crowds.values())
        print_row(f"10,000 refreshes, 256 at once: {figure}", "libcurl", unit, *figures, goal)


main()
