"""Requests with a token from 1, 8 and 64 threads, a process for each run: this library, libcurl (an easy
handle for each thread) and Go's net/http (goroutines) in turn, on one server. Figures are those of the
round with the highest rate, since what else the machine does only makes them worse. The others run twice in
each round, which shows the noise."""

import os
import subprocess
from pathlib import Path

from table import print_row

ROUNDS = int(os.environ.get("PG_BENCH_ROUNDS", "9"))
SECONDS = os.environ.get("PG_BENCH_SECONDS", "0.5")
# The threads of each program are in this many processes: each of ours has its own reactor, and all
# programs pay for the split alike.
PROCESSES = int(os.environ.get("PG_BENCH_PROCESSES", "1"))
HERE = Path("build/benches")
OURS = HERE / "request_pg"
SERVERS = {"HTTP/2": os.environ["PG_SANDBOX_FIXED"], "HTTP/1.1": os.environ["PG_SANDBOX_FIXED_HTTP1"]}
OTHERS = {"libcurl": HERE / "request_curl", "Go net/http": HERE / "go_request"}
# What a program prints, in this order, with the unit and the goal.
COLUMNS = (("rate", "/s", 1), ("p50", "us", 1.1), ("p99", "us", 0), ("processor time", "us", 0))


def run(program: Path, url: str, threads: int) -> list[float]:
    """The figures of one run. Of several processes: the rate of all together, and the worst of the rest."""
    count = min(PROCESSES, threads)
    words = [str(program), url, str(threads // count), SECONDS]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    each = [[float(word) for word in process.communicate()[0].split()] for process in running]
    rates, *others = zip(*each, strict=True)
    return [sum(rates), *map(max, others)]


def compare(protocol: str, url: str, threads: int) -> None:
    programs = {"ours": OURS, **OTHERS}
    rows: dict[str, list[list[float]]] = {}
    for _ in range(ROUNDS):
        for again in ("", " again"):
            for name, program in programs.items():
                if not (again and name == "ours"):
                    rows.setdefault(name + again, []).append(run(program, url, threads))
    best = {name: max(each) for name, each in rows.items()}
    for other in OTHERS:
        for column, (figure, unit, goal) in enumerate(COLUMNS):
            figures = (best[name][column] for name in ("ours", other, f"{other} again"))
            what = f"{protocol}, {threads} thread{'s' if threads > 1 else ''}: {figure}"
            print_row(what, other, unit, *figures, goal)


def main() -> None:
    for protocol, url in SERVERS.items():
        for threads in (1, 8, 64):
            compare(protocol, url, threads)


main()
