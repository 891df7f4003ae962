"""Boots a clean system's own systemd, as process 1 of namespaces of its own.

The interface is that of https://systemd.io/CONTAINER_INTERFACE.  It is a cgroup of its own, /sys
and /proc/sys read-only so that nothing of this machine changes, the /dev that debootstrap made,
and `container` in the environment.  All of it ends with process 1.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from clean_system import CannotRun, System

STARTING_SECONDS = 60

NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")

ENTER_GROUP = 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"'

BECOME_INIT = """
cd "$1"
mount --bind dev dev
rm -f dev/console dev/log
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
pivot_root . .
umount -l .
exec env -i container=pcc PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    chroot . /lib/systemd/systemd --log-target=journal --show-status=0
"""


class Booted(System):
    """A system whose services run: commands join them."""

    def __init__(self, root: Path, init: int) -> None:
        super().__init__(root)
        self.init = init

    def entrance(self, alone: bool) -> list[str]:
        """Alone it is anyway."""
        return ["nsenter", "--target", str(self.init), *NAMESPACES, "--root", "--wd"]

    def send(self, mails: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Through the Postfix that runs already."""
        return self.inside("clean_session.py", json.dumps(list(mails)), "booted")

    def unit(self, name: str) -> dict[str, str]:
        """The properties that systemd shows of a unit."""
        lines = self.run("systemctl", "show", name).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def journal(self, *matches: str) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", *matches)

    def wait_until(self, script: str, seconds: float = 20) -> None:
        """Wait until a shell script ends well."""
        deadline = time.monotonic() + seconds
        while (done := self.try_run("sh", "-c", script)).returncode:
            said = f"{script}: {done.stdout}{done.stderr}\n{self.journal('-n', '40')}"
            assert time.monotonic() < deadline, said
            time.sleep(0.2)


@contextlib.contextmanager
def boot(system: System) -> Iterator[Booted]:
    """The system, with systemd running in it.  Raises CannotRun if that is not allowed here."""
    with control_group() as group:
        namespaces = ["unshare", *NAMESPACES, "--fork", "--kill-child"]
        enter = ["sh", "-ec", ENTER_GROUP, "sh", str(group), *namespaces]
        become = ["sh", "-ec", BECOME_INIT, "sh", str(system.root)]
        process = subprocess.Popen([*enter, *become], stdin=subprocess.DEVNULL)
        try:
            booted = Booted(system.root, child_of(process))
            # Also when a service that has nothing to do with us, and little to do here, failed.
            booted.wait_until(
                "systemctl is-system-running | grep -qE 'running|degraded'", STARTING_SECONDS
            )
            yield booted
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def control_group() -> Iterator[Path]:
    """A new cgroup at the top of this machine's; systemd wants one that is its own."""
    with tempfile.TemporaryDirectory() as folder:
        mount = subprocess.run(["mount", "-t", "cgroup2", "cgroup2", folder], capture_output=True)
        if mount.returncode:
            raise CannotRun("there is no cgroup2 here, which systemd needs")
        group = Path(folder, f"pcc-clean-{os.getpid()}")
        try:
            group.mkdir()
            yield group
        finally:
            remove_group(group)
            subprocess.run(["umount", folder], check=True)


def remove_group(group: Path) -> None:
    """Remove a cgroup and those below it, once the processes in them have ended."""
    deadline = time.monotonic() + 10
    while "populated 1" in (group / "cgroup.events").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    for place, folders, _ in os.walk(group, topdown=False):
        for name in folders:
            os.rmdir(os.path.join(place, name))
    group.rmdir()


def child_of(process: subprocess.Popen[bytes]) -> int:
    """The process that unshare(1) forked, once it is there."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.05)
    raise CannotRun("namespaces for a systemd are not allowed here")
