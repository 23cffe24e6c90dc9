"""A container without a runtime: a mount namespace with a read-only root and another user."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agents import COMMAND, DEPLOY, running
from root import needs_root

# No user of this machine has this number, and in the image no user has a name.
USER = 1_000_680_000
# Not in the PATH of every user.
CHROOT = shutil.which("chroot") or "/usr/sbin/chroot"
in_container = needs_root("a container")


def make_image(folder: Path) -> Path:
    """The root file system, as the Dockerfile makes it, with the names that a runtime adds."""
    image = folder / "image"
    subprocess.run([DEPLOY / "docker/rootfs", COMMAND, image], check=True)
    (image / "etc/hosts").write_text("127.0.0.1 localhost\n")
    return image


@dataclass(frozen=True)
class Container:
    image: Path
    user: int = USER
    group: int = USER
    groups: tuple[int, ...] = ()
    mounts: dict[str, Path] = field(default_factory=dict)
    """Folders of this machine by their paths in the container. Their modes say who can write."""
    read_only: frozenset[str] = frozenset()
    """The paths that cannot be written there, whatever their modes. Here they can."""

    @contextmanager
    def run(
        self, arguments: list[str], environment: dict[str, str], log: Path
    ) -> Iterator[subprocess.Popen[bytes]]:
        """The image's program."""
        with running(self._command(arguments, environment), {}, log) as process:
            yield process

    def output(self, arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """What a command of the image's program prints."""
        command = self._command(arguments, environment)
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def _command(self, arguments: list[str], environment: dict[str, str]) -> list[str | Path]:
        """The process that is started becomes the program: signals reach it."""
        root = shlex.quote(str(self.image))
        (self.image / "proc").mkdir(exist_ok=True)
        # A runtime mounts it, too.
        script = [f"mount --bind {root} {root}", f"mount -t proc proc {root}/proc"]
        for path, folder in self.mounts.items():
            (self.image / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
            script.append(f"mount --bind {shlex.quote(str(folder))} {root}{path}")
            if path in self.read_only:
                script.append(f"mount -o remount,bind,ro {root}{path}")
        script.append(f"mount -o remount,bind,ro {root}")
        variables = shlex.join(f"{name}={value}" for name, value in environment.items())
        groups = ",".join(map(str, self.groups or (self.group,)))
        script.append(
            "exec setpriv --no-new-privs --bounding-set=-all,+sys_chroot,+setuid,+setgid "
            f"env -i {variables} {CHROOT} --userspec={self.user}:{self.group} --groups={groups} {root} "
            f"/usr/bin/paymentsgate-auth {shlex.join(arguments)}"
        )
        return ["unshare", "--mount", "sh", "-ec", "\n".join(script)]


def make_volume(folder: Path, group: int) -> Path:
    """An emptyDir of a pod with fsGroup: new files in it belong to the group."""
    folder.mkdir()
    os.chown(folder, 0, group)
    folder.chmod(0o2777)
    return folder


class SecretMount:
    """A secret as Kubernetes mounts it for fsGroup: all files change at once, behind a link."""

    def __init__(self, folder: Path, group: int, files: dict[str, bytes], mode: int) -> None:
        self.folder = folder
        self._group = group
        self._mode = mode
        self._version = 0
        folder.mkdir()
        os.chown(folder, 0, group)
        folder.chmod(0o3777)
        self.replace(files)
        for name in files:
            (folder / name).symlink_to(f"..data/{name}")

    def replace(self, files: dict[str, bytes]) -> None:
        self._version += 1
        old = self.folder / f"..version_{self._version - 1}"
        new = self.folder / f"..version_{self._version}"
        new.mkdir()
        for name, content in files.items():
            (new / name).write_bytes(content)
            os.chown(new / name, 0, self._group)
            (new / name).chmod(self._mode)
        os.chown(new, 0, self._group)
        new.chmod(0o2755)
        link = self.folder / "..data_tmp"
        link.symlink_to(new.name)
        link.rename(self.folder / "..data")
        if old.exists():
            shutil.rmtree(old)
