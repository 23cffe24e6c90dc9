"""The Dockerfile is without findings, and what it puts into the image is enough for the agent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from agents import COMMAND, DEPLOY, PATIENCE_S, ROOT, answers, eventually, free_port, get, settings, stop
from containers import Container, in_container, make_image
from sandbox import Sandbox

DOCKERFILE = DEPLOY / "docker/Dockerfile"


def test_the_dockerfile_has_no_findings() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def instruction(name: str) -> str:
    """The last one of this name, in one line."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    found: list[str] = re.findall(rf"^{name} +(.*)$", text, re.MULTILINE)
    return found[-1]


def test_the_image_is_built_with_the_oldest_rust_that_works() -> None:
    """With that of the image, and not the one that the sources name for rustup."""
    manifest = (ROOT / "Cargo.toml").read_text()
    [oldest] = re.findall(r'^rust-version = "(.+)"$', manifest, re.MULTILINE)
    build, _ = DOCKERFILE.read_text().split("\nFROM scratch\n")
    assert re.findall(r"^FROM rust:([0-9.]+)-", build, re.MULTILINE) == [oldest]
    lines = build.splitlines()
    # RUST_VERSION is the image's. rustup heeds the variable before rust-toolchain.toml.
    assert lines.index("ENV RUSTUP_TOOLCHAIN=$RUST_VERSION") < next(
        number for number, line in enumerate(lines) if line.startswith("RUN ")
    )


def test_the_image_is_the_folder_that_rootfs_makes_and_nothing_else() -> None:
    final = DOCKERFILE.read_text().split("\nFROM ")[-1]
    assert final.startswith("scratch\n")
    assert re.findall("^(?:COPY|ADD|RUN).*", final, re.MULTILINE) == ["COPY --from=build /rootfs /"]
    assert int(instruction("USER").split(":")[0]) > 0


@in_container
@pytest.mark.parametrize("home", ["/", None])
def test_the_image_serves_with_a_read_only_root(sandbox: Sandbox, tmp_path: Path, home: str | None) -> None:
    """The command of the image on ports of the test's own. The service is called by a name.

    A container runtime sets HOME to `/` for a user without a name, or leaves it out.
    """
    image = make_image(tmp_path)
    proxy, health = free_port(), free_port()
    command = json.loads(instruction("CMD"))
    for flag, place in (("--proxy", f"127.0.0.1:{proxy}"), ("--health", f"127.0.0.1:{health}")):
        command[command.index(flag) + 1] = place
    etc, run = tmp_path / "etc", tmp_path / "run"
    etc.mkdir()
    given = settings(sandbox)
    for name, variable in (("credentials.json", "CREDENTIALS_FILE"), ("ca.pem", "TLS_CA_FILE")):
        (etc / name).write_bytes(Path(given[f"PAYMENTSGATE_{variable}"]).read_bytes())
        (etc / name).chmod(0o444)
    user, group = map(int, instruction("USER").split(":"))
    run.mkdir()
    os.chown(run, user, group)
    environment = dict(assignment.split("=", 1) for assignment in instruction("ENV").split())
    assert environment["PAYMENTSGATE_CREDENTIALS_FILE"] == "/etc/paymentsgate-auth/credentials.json"
    environment |= {
        "PAYMENTSGATE_BASE_URL": given["PAYMENTSGATE_BASE_URL"].replace("127.0.0.1", "localhost"),
        "PAYMENTSGATE_TLS_CA_FILE": "/etc/paymentsgate-auth/ca.pem",
    }
    if home:
        environment["HOME"] = home
    mounts = {"/etc/paymentsgate-auth": etc, "/run/paymentsgate-auth": run}
    container = Container(image, user, group, (), mounts, frozenset({"/etc/paymentsgate-auth"}))
    with container.run(command, environment, tmp_path / "log") as agent:
        eventually(answers(health, "/readyz", 200))
        assert "assets" in get(proxy, "/wallet").text
        assert json.loads(get(run / "agent.sock", "/v1/token").text)["seconds_left"] > 0
        assert Path(f"/proc/{agent.pid}/root").readlink() == image
        assert f"Uid:\t{user}" in Path(f"/proc/{agent.pid}/status").read_text()
        stop(agent, PATIENCE_S)


def test_the_image_trusts_the_authorities_of_the_system(tmp_path: Path) -> None:
    image = make_image(tmp_path)
    authorities = (image / "etc/ssl/certs/ca-certificates.crt").read_text()
    assert authorities.count("BEGIN CERTIFICATE") > 50
    assert os.access(image / "usr/bin/paymentsgate-auth", os.X_OK)
    assert COMMAND.stat().st_size == (image / "usr/bin/paymentsgate-auth").stat().st_size
