"""`make audit` with a database of invented vulnerabilities instead of RustSec's."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUSTSEC = "https://github.com/RustSec/advisory-db"

Audit = Callable[[str, str], subprocess.CompletedProcess[str]]


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    subprocess.run(("git", "-C", str(folder), *who, *words), check=True, capture_output=True)


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    def audit(crate: str, patched: str) -> subprocess.CompletedProcess[str]:
        database = tmp_path / "database"
        advisory = database / "crates" / crate / "RUSTSEC-2026-9999.md"
        advisory.parent.mkdir(parents=True)
        advisory.write_text(
            f'```toml\n[advisory]\nid = "RUSTSEC-2026-9999"\npackage = "{crate}"\ndate = "2026-01-01"\n'
            f'[versions]\npatched = ["{patched}"]\n```\n\n# A weakness made up for this test\n\nNone.\n'
        )
        git(tmp_path, "init", "--quiet", "--initial-branch", "main", str(database))
        git(database, "add", ".")
        git(database, "commit", "--quiet", "--message", "one weakness")
        # The rules of the project, with another folder for the database.
        rules = tmp_path / "deny.toml"
        kept = f'[advisories]\ndb-path = "{tmp_path}/kept"\n'
        rules.write_text((ROOT / "deny.toml").read_text().replace("[advisories]\n", kept))
        instead = {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.file://{database}.insteadOf",
            "GIT_CONFIG_VALUE_0": RUSTSEC,
        }
        command = (
            "make",
            "--no-print-directory",
            "audit",
            f"DENY_FLAGS=--config {rules}",
        )
        return subprocess.run(command, cwd=ROOT, env=os.environ | instead, capture_output=True, text=True)

    return audit


def test_a_vulnerability_in_a_shipped_dependency_fails_and_is_named(audit: Audit) -> None:
    done = audit("ring", ">= 99.0.0")
    assert done.returncode != 0
    assert "RUSTSEC-2026-9999" in done.stderr
    assert "advisories FAILED" in done.stderr + done.stdout


def test_a_fixed_vulnerability_passes(audit: Audit) -> None:
    done = audit("ring", ">= 0.1.0")
    assert done.returncode == 0, done.stderr
    assert "advisories ok" in done.stdout + done.stderr


def test_a_dependency_of_the_tests_is_not_checked_as_shipped(audit: Audit) -> None:
    assert '\nname = "rcgen"\n' in (ROOT / "Cargo.lock").read_text()
    assert audit("rcgen", ">= 99.0.0").returncode == 0
