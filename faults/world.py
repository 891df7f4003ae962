"""An installation to be broken: policy processes that run as the service user, as in the field.

Each process has a /dev of its own, whose /dev/log is a socket of the world's.  So its log can be
read, and held up, without touching the system's.  Needs root, for users, mounts and mount
namespaces; `missing()` says what is not there.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from checkout import NETWORKS, NO_NETWORKS, PolicyProcess, address, first_limit, is_refusal
from deployment import Deployment, deploy, public_folder, run_as, service_user
from mmdb import write_country_database

from faults.preload import ENVIRONMENT

THIEF = "thief@example.org"
OWNER = "owner@example.org"

# A /dev with what an interpreter needs, and with the world's socket as its log.
_OWN_DEV = """\
mount -t tmpfs -o mode=755 pcc /dev
for node in null:3 zero:5 random:8 urandom:9; do
    mknod -m 666 /dev/${node%:*} c 1 ${node#*:}
done
ln -s "$1" /dev/log
shift
exec "$@"
"""


@functools.cache
def missing() -> str:
    """Return why this machine can have no world, "" where it can."""
    if os.geteuid() != 0:
        return "not root"
    for command in ("unshare", "setpriv", "prlimit", "mount"):
        if not shutil.which(command):
            return f"no {command} command"
    try:
        service_user()
    except LookupError as error:
        return str(error)
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", _OWN_DEV, "sh", "/", "test", "-w", "/dev/null"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no private /dev: {tried.stderr.strip()}" if tried.returncode else ""


@functools.cache
def product() -> Deployment:
    """The code, where the service user can run it."""
    return deploy()


class World:
    """A configuration, a state folder, a log; THIEF is blocked, OWNER known from ES.

    `tmpfs`: the size of a file system for the state folder alone, as mount(8) wants it.  `toml`
    goes into [policy].
    """

    def __init__(self, toml: str = "", *, tmpfs: str = "", more: str = "") -> None:
        self.user = service_user()
        self.folder = public_folder("world")
        self.state = self.folder / "state"
        self.state.mkdir()
        self._is_mounted = bool(tmpfs)
        if tmpfs:
            _run("mount", "-t", "tmpfs", "-o", f"size={tmpfs}", "pcc", self.state)
        self.state.chmod(0o750)
        shutil.chown(self.state, self.user, self.user)
        self.database = self.state / "pcc.db"
        self.countries = self.folder / "country.mmdb"
        self.config = self.folder / "pcc.toml"
        write_country_database(self.countries, NETWORKS)
        self.countries.chmod(0o644)
        notify = "" if "[notify]" in more else "[notify]\nto = []\n"
        policy = f"familiar_after = 0\n{toml}"
        self.config.write_text(
            f"[policy]\n{first_limit(policy)}{policy}\n"
            f'[country]\ndatabase = "{self.countries}"\n{NO_NETWORKS}'
            f'[store]\ndatabase = "{self.database}"\n{notify}{more}'
        )
        self.log = Log(self.folder / "log")
        self._processes: list[PolicyProcess] = []
        if not toml and not more:
            shutil.copy(_plain_database(), self.database)
            self.database.chmod(0o640)
            shutil.chown(self.database, self.user, self.user)
            return
        done = self.admin("init")
        assert done.returncode == 0, done.stderr
        process = self.policy()
        actions = [process.ask(THIEF, address(country)) for country in ("ES", "FR", "BR", "VN")]
        assert is_refusal(actions[-1]), (actions, self.log.lines())
        assert process.ask(OWNER, address("ES")) == "DUNNO"
        assert process.end() == 0
        self.log.lines()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End what was started, and unmount."""
        for process in self._processes:
            if process.process.poll() is None:
                process.process.send_signal(signal.SIGCONT)
                process.kill()
            process.socket.close()
            for name in ("faketime_shm_", "sem.faketime_sem_"):  # libfaketime leaves them there
                Path(f"/dev/shm/{name}{process.process.pid}").unlink(missing_ok=True)
        self.log.close()
        if self._is_mounted:
            _run("umount", "--lazy", self.state)
        shutil.rmtree(self.folder, ignore_errors=True)

    def policy(
        self,
        *limits: str,
        environment: Mapping[str, str] | None = None,
        user: str = "",
    ) -> PolicyProcess:
        """Start a policy process as the service user; `limits` are options of prlimit(1)."""
        user = user or self.user
        identity = [f"--reuid={user}", f"--regid={self.user}", "--clear-groups"]
        variables = [f"{name}={value}" for name, value in (environment or {}).items()]
        command = [
            *("unshare", "--mount", "sh", "-ec", _OWN_DEV, "sh", str(self.log.path)),
            *("setpriv", *identity, "sh", "-c", 'umask 077; exec "$@"', "sh"),
            *(["prlimit", *limits] if limits else []),
            *(["env", *variables] if variables else []),
            *self.command(),
        ]
        process = PolicyProcess(command, ENVIRONMENT | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        self._processes.append(process)
        return process

    def command(self) -> list[str]:
        """The command line for spawn(8)."""
        code = product()
        script = str(code.folder / "pcc_policy.py")
        return [str(code.python), script, "--config", str(self.config)]

    def ask(self, *arguments: str, **attributes: Any) -> str | None:
        """Ask a process of its own, which has ended when this returns."""
        process = self.policy()
        action = process.ask(*arguments, **attributes)
        process.end()
        return action

    def admin(self, *arguments: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run pcc_admin.py as root, or as another user."""
        code = product()
        script = str(code.folder / "pcc_admin.py")
        return run_as([code.python, script, "--config", self.config, *arguments], user)

    # Facts that must be true in trouble, and after it.

    def block_holds(self) -> bool:
        """Whether a fresh process refuses the thief's mail."""
        return is_refusal(self.ask(THIEF, address("ES")))

    def works(self) -> bool:
        """Whether a new account's mail passes in a fresh process, and is recorded."""
        account = f"new{time.monotonic_ns()}@example.org"
        return self.ask(account, address("ES")) == "DUNNO" and self.knows(account)

    def knows(self, account: str) -> bool:
        """Whether anything is recorded about an account."""
        return self.admin("show", account).returncode == 0

    def is_in_trouble(self, cause: str, *, status: Iterable[int] = (74,)) -> bool:
        """Whether a new account's mail gets no reply, one line of the log saying the `cause`."""
        self.log.lines()
        process = self.policy()
        action = process.ask("other@example.org", address("ES"))
        ended = process.end()
        lines = [line for line in self.log.lines() if f"[{process.process.pid}]" in line]
        assert action is None, (action, lines)
        assert ended in status, (ended, lines)
        assert len(lines) == 1, lines
        assert re.search(cause, lines[0]), lines
        return True


@functools.cache
def _plain_database() -> Path:
    """The database of a world with nothing special about it, made once."""
    copy = public_folder("plain") / "pcc.db"
    with World("# as it is") as world:
        shutil.copy(world.database, copy)
    return copy


class Log:
    """The lines that are logged to /dev/log, as long as it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        path.chmod(0o666)

    def lines(self) -> list[str]:
        """Take out what has come so far: without priority and time."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(65536).decode().rstrip("\0\n"))
            except BlockingIOError:
                return [re.sub(r"^<\d+>\w+ +\d+ [\d:]+ ", "", line) for line in found]

    def fill(self) -> None:
        """Fill the queue, so that a process that logs has to wait until it is read."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.sendto(b"<22>full", str(self.path))

    def close(self) -> None:
        """Nobody listens any more."""
        self._socket.close()


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True)
