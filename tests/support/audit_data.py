#!/usr/bin/env python3
"""audit_data.py FILE BILL: checks that a library or program says in itself what is compiled into it, as
scanners read it, and that this is what its bill of materials says."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any


def check(file: Path, bill: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        command = ["objcopy", f"--dump-section=.dep-v0={data}", str(file), f"{folder}/copy"]
        subprocess.run(command, check=True)
        packages = json.loads(zlib.decompress(data.read_bytes()))["packages"]
    [root] = [package["name"] for package in packages if package.get("root")]
    assert root == bill["metadata"]["component"]["name"]
    components = [bill["metadata"]["component"], *bill["components"]]
    assert [(package["name"], package["version"]) for package in packages] == [
        (component["name"], component["version"]) for component in components
    ]
    needs = {f"pkg:cargo/{package['name']}@{package['version']}": package for package in packages}
    for entry in bill["dependencies"]:
        places = needs[entry["ref"]].get("dependencies", [])
        named = [f"pkg:cargo/{packages[place]['name']}@{packages[place]['version']}" for place in places]
        assert sorted(named) == entry["dependsOn"], entry["ref"]


if __name__ == "__main__":
    check(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
