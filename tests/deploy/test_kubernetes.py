"""The manifests fit Kubernetes' schemas and the agent, which works with the mounts and users of a pod."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from agents import COMMAND, DEPLOY, PATIENCE_S, ROOT, answers, eventually, free_port, get, settings
from containers import USER, Container, SecretMount, in_container, make_image, make_volume
from sandbox import Sandbox

MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
# The oldest one with sidecars on by default, and the newest one whose schemas the package has.
VERSIONS = ("1.29", "1.37")
GROUP = 2000

each_manifest = pytest.mark.parametrize("path", MANIFESTS, ids=[path.name for path in MANIFESTS])


def pod_of(path: Path) -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load(path.read_text())["spec"]["template"]["spec"]
    return spec


def agent_of(path: Path) -> dict[str, Any]:
    [agent] = pod_of(path)["initContainers"]
    found: dict[str, Any] = agent
    return found


def flag(arguments: list[str], name: str) -> str:
    [value] = [word.split("=", 1)[1] for word in arguments if word.startswith(f"{name}=")]
    return value


def test_there_are_two_manifests() -> None:
    assert [path.name for path in MANIFESTS] == ["replicas.yaml", "sidecar.yaml"]


@each_manifest
@pytest.mark.parametrize("version", VERSIONS)
def test_a_manifest_fits_the_schema(path: Path, version: str) -> None:
    kubernetes_validate.validate(yaml.safe_load(path.read_text()), version, strict=True)


def test_the_schema_refuses_a_wrong_manifest() -> None:
    manifest = yaml.safe_load(MANIFESTS[0].read_text())
    manifest["spec"]["template"]["spec"]["initContainers"][0]["restartPolicies"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


@each_manifest
def test_a_manifest_fits_the_agent(path: Path) -> None:
    agent, pod = agent_of(path), pod_of(path)
    subprocess.run([COMMAND, *agent["args"], "--help"], check=True, stdout=subprocess.DEVNULL)
    known = (ROOT / "docs/settings.md").read_text()
    assert [entry["name"] for entry in agent["env"] if f"`{entry['name']}`" not in known] == []
    # The program's own time comes first.
    assert pod["terminationGracePeriodSeconds"] >= int(flag(agent["args"], "--drain-seconds")) + 30
    [port] = agent["ports"]
    assert flag(agent["args"], "--health") == f"0.0.0.0:{port['containerPort']}"
    probes = {name: agent[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    # What restarts the agent must not depend on the service.
    assert probes["livenessProbe"]["path"] == probes["startupProbe"]["path"] == "/healthz"
    assert probes["readinessProbe"]["path"] == "/readyz"
    assert flag(agent["args"], "--socket").rpartition("/")[0] in {
        mount["mountPath"] for mount in agent["volumeMounts"]
    }


@each_manifest
def test_a_manifest_gives_no_right_that_is_not_needed(path: Path) -> None:
    pod = pod_of(path)
    assert agent_of(path)["restartPolicy"] == "Always"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["initContainers"] + pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    named = {volume["name"] for volume in pod["volumes"]}
    mounted = {
        mount["name"]
        for container in (agent_of(path), *pod["containers"])
        for mount in container["volumeMounts"]
    }
    assert named == mounted
    secrets = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert {secret["defaultMode"] for secret in secrets} == {0o440}


class Pod:
    """The agent of sidecar.yaml in its container, with ports of the test's own."""

    def __init__(self, folder: Path, sandbox: Sandbox, credentials: bytes, mode: int = 0o440) -> None:
        given = settings(sandbox)
        authority = folder / "authority"
        authority.mkdir()
        (authority / "ca.pem").write_bytes(Path(given["PAYMENTSGATE_TLS_CA_FILE"]).read_bytes())
        self.log = folder / "log"
        self.volume = make_volume(folder / "run", GROUP)
        self.secret = SecretMount(folder / "secret", GROUP, {"credentials.json": credentials}, mode)
        self.proxy, self.health = free_port(), free_port()
        agent = agent_of(DEPLOY / "kubernetes/sidecar.yaml")
        self.grace_s = pod_of(DEPLOY / "kubernetes/sidecar.yaml")["terminationGracePeriodSeconds"]
        places = {"--proxy": self.proxy, "--health": self.health}
        self.arguments = [
            f"{word.split('=')[0]}=127.0.0.1:{places[word.split('=')[0]]}"
            if word.split("=")[0] in places
            else word
            for word in agent["args"]
        ]
        self.environment = {entry["name"]: entry["value"] for entry in agent["env"]}
        self.environment |= {
            # What a container runtime gives to a user without a name.
            "HOME": "/",
            "PAYMENTSGATE_BASE_URL": given["PAYMENTSGATE_BASE_URL"],
            "PAYMENTSGATE_TLS_CA_FILE": "/authority/ca.pem",
        }
        paths = {mount["name"]: mount["mountPath"] for mount in agent["volumeMounts"]}
        mounts = {
            paths["run"]: self.volume,
            paths["credentials"]: self.secret.folder,
            "/authority": authority,
        }
        read_only = frozenset(mount["mountPath"] for mount in agent["volumeMounts"] if mount.get("readOnly"))
        assert read_only == {paths["credentials"]}
        self.container = Container(make_image(folder), USER, 0, (GROUP,), mounts, read_only)

    def doctor(self) -> tuple[int, dict[str, tuple[str, str]]]:
        """The exit code of the advised command, and of each check the result and the text."""
        done = self.container.output(["doctor", "--issue", "--json"], self.environment)
        checks = json.loads(done.stdout)["checks"]
        return done.returncode, {check["name"]: (check["result"], check["text"]) for check in checks}


@pytest.fixture
def good(sandbox: Sandbox) -> bytes:
    return Path(sandbox.address["credentials_file"]).read_bytes()


def as_user(groups: int, socket: Path) -> int:
    """The exit code of curl, as a program of another user asks for a token."""
    who = ["setpriv", "--reuid=12345", "--regid=12345", f"--groups={groups}"]
    ask = ["curl", "-sSf", "-o", "/dev/null", "--unix-socket", str(socket), "http://localhost/v1/token"]
    return subprocess.run([*who, *ask], capture_output=True, check=False).returncode


@in_container
def test_the_agent_serves_the_containers_of_its_pod(sandbox: Sandbox, open_folder: Path, good: bytes) -> None:
    pod = Pod(open_folder, sandbox, good)
    with pod.container.run(pod.arguments, pod.environment, pod.log) as agent:
        eventually(answers(pod.health, "/readyz", 200))
        assert "assets" in get(pod.proxy, "/wallet").text
        socket = pod.volume / "agent.sock"
        assert json.loads(get(socket, "/v1/token").text)["seconds_left"] > 0
        assert socket.stat().st_gid == GROUP
        assert as_user(GROUP, socket) == 0
        assert as_user(12345, socket) != 0
        agent.terminate()
        assert agent.wait(pod.grace_s) == 0
    assert not (pod.volume / "agent.sock").exists()


@in_container
def test_the_agent_uses_new_credentials_of_a_secret(sandbox: Sandbox, open_folder: Path, good: bytes) -> None:
    """The pod starts with a key that the service refuses. It is ready once the secret is right."""
    credentials = json.loads(good)
    key = base64.b64encode(b"-----BEGIN PUBLIC KEY-----\nc3RhbGU=\n-----END PUBLIC KEY-----\n").decode()
    stale = json.dumps({"account_id": credentials["account_id"], "public_key": key}).encode()
    pod = Pod(open_folder, sandbox, stale)
    with pod.container.run(pod.arguments, pod.environment, pod.log):
        eventually(lambda: "issue" in sandbox.counters()["routes"])
        refused = eventually(answers(pod.health, "/readyz", 503))
        assert refused.text.startswith("not ready")
        assert get(pod.health, "/healthz").status == 200, "a restart would not help"
        pod.secret.replace({"credentials.json": good})
        eventually(answers(pod.health, "/readyz", 200))
        assert "assets" in get(pod.proxy, "/wallet").text


@in_container
def test_the_agent_ends_in_time_with_a_request_under_way(
    sandbox: Sandbox, open_folder: Path, good: bytes
) -> None:
    """SIGTERM during a request: the request is answered, and the agent ends within its grace time."""
    pod = Pod(open_folder, sandbox, good)
    with pod.container.run(pod.arguments, pod.environment, pod.log) as agent:
        eventually(answers(pod.health, "/readyz", 200))
        sandbox.fault(route="wallet", action={"kind": "delay", "ms": 1500})
        ask = ["curl", "-sS", f"http://127.0.0.1:{pod.proxy}/wallet"]
        with subprocess.Popen(ask, stdout=subprocess.PIPE, text=True) as request:
            eventually(lambda: not sandbox.ask("GET", "/faults") or None)
            agent.terminate()
            output, _ = request.communicate(timeout=PATIENCE_S)
        assert "assets" in output
        assert agent.wait(pod.grace_s) == 0


@in_container
def test_doctor_finds_nothing_wrong_in_the_pod(sandbox: Sandbox, open_folder: Path, good: bytes) -> None:
    """The command of docs/deploy.md. That memory: keeps nothing is the only warning."""
    code, found = Pod(open_folder, sandbox, good).doctor()
    assert code == 0, found
    assert [name for name, (result, _) in found.items() if result == "failed"] == []
    assert [name for name, (result, _) in found.items() if result == "warning"] == ["store"]
    for name in ("credentials_file", "service", "issue", "lifetime"):
        assert found[name][0] == "ok", found[name]


@in_container
def test_doctor_says_where_the_mode_of_a_mounted_secret_is_set(
    sandbox: Sandbox, open_folder: Path, good: bytes
) -> None:
    code, found = Pod(open_folder, sandbox, good, 0o444).doctor()
    result, text = found["credentials_file"]
    assert (code, result) == (0, "warning"), found
    assert "the mount is read-only, so set the mode where it is defined" in text
    assert "defaultMode: 0440" in text
    assert "chmod" not in text
