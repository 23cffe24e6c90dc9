"""Benchmarks in separate processes, this library and libcurl alternately: the first refresh of a process,
the instructions of a warm refresh, and concurrent refreshes with their memory. Ratios are of medians."""

import os
import re
import subprocess
import time
from pathlib import Path
from statistics import median

HERE = Path("build/benches")
WAYS = ("pg", "curl")
HTTP1 = {"PG_SANDBOX_FIXED": os.environ["PG_SANDBOX_FIXED_HTTP1"]}


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, env=os.environ | environment, capture_output=True, text=True, check=True)


def first(way: str) -> float:
    return float(run(HERE / f"first_{way}", 1, time.clock_gettime_ns(time.CLOCK_MONOTONIC)).stdout)


def instructions(way: str, calls: int, environment: dict[str, str]) -> int:
    valgrind = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
    counted = run(*valgrind, HERE / f"first_{way}", calls, 0, **environment).stderr
    return int(re.search(r"Collected : (\d+)", counted)[1])


def compare(what: str, unit: str, ours: float, theirs: float) -> None:
    print(f"{what:36} {ours:12,.1f} {theirs:12,.1f} {unit:4} {ours / theirs:6.2f}x", flush=True)


def main() -> None:
    print(f"{'':36} {'ours':>12} {'libcurl':>12}       ratio")
    times = {way: [] for way in WAYS}
    for _ in range(41):
        for way in WAYS:
            times[way].append(first(way))
    compare("first refresh of a process", "us", *(median(times[way]) for way in WAYS))

    for protocol, environment in (("HTTP/2", {}), ("HTTP/1.1", HTTP1)):
        each = [
            (instructions(way, 200, environment) - instructions(way, 100, environment)) / 100 for way in WAYS
        ]
        compare(f"instructions, warm, {protocol}", "", *each)

    crowds = {way: [] for way in WAYS}
    for _ in range(9):
        for way in WAYS:
            crowds[way].append([float(number) for number in run(HERE / f"crowd_{way}").stdout.split()])
    columns = (
        ("10,000 refreshes, 256 at once: wall", "ms"),
        ("  most memory", "kB"),
        ("  sockets at the end", ""),
    )
    for column, (what, unit) in enumerate(columns):
        compare(what, unit, *(median(row[column] for row in crowds[way]) for way in WAYS))


main()
