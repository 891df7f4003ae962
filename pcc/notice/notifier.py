"""Starts the sending of notices in a process of its own, one such process at a time.

No reply waits for a notice.  Under spawn(8) the descriptors 0, 1 and 2 are the SMTP
server's socket.  A child that had one would keep the connection open after the policy
process has gone, and could write to it.

The process that sends has the turn: a flock on a file beside the database
(`pcc.db.notify`).  A policy process that finds it taken starts nothing, because its
owner looks at the outbox once more after giving it back.  One that finds it free
starts a notifier and hands it the turn as stdin, so that it is never free meanwhile,
however many accounts are blocked at once.
"""

from __future__ import annotations

import os
import signal
import sys
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

from pcc.store.engine.sidefile import open_side_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROGRAM = os.path.abspath(__file__).rsplit("/", 3)[0] + "/pcc_admin.py"

SUFFIX = ".notify"


class Turn:
    """The turn of the one process that sends notices of a database at that path.

    All methods raise OSError.
    """

    def __init__(self, database_path: str) -> None:
        self._path = database_path + SUFFIX
        self.descriptor = open_side_file(database_path, SUFFIX)

    def take(self) -> bool:
        """Take the turn; return False if another process has it."""
        try:
            flock(self.descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def inherit(self) -> None:
        """Go on with the turn of the policy process that has started this one, if it did."""
        given, ours = os.fstat(0), os.fstat(self.descriptor)
        if (given.st_dev, given.st_ino) == (ours.st_dev, ours.st_ino):
            os.dup2(0, self.descriptor, inheritable=False)

    def give_back(self) -> None:
        """Give the turn back, also for children that had it from us."""
        flock(self.descriptor, LOCK_UN)

    def close(self) -> None:
        """Close the file, and with it give the turn back unless a child has it."""
        os.close(self.descriptor)


def last_mail(database_path: str) -> float:
    """Return when this host last sent a mail of incidents, UTC seconds, 0 for never.

    The file of the turn has it.  Raises OSError.
    """
    descriptor = open_side_file(database_path, SUFFIX)
    try:
        written = os.pread(descriptor, 100, 0)
    finally:
        os.close(descriptor)
    try:
        return float(written)
    except ValueError:
        return 0


def note_mail(database_path: str, now: float) -> None:
    """Note that a mail of incidents was sent.  Raises OSError."""
    descriptor = open_side_file(database_path, SUFFIX)
    try:
        os.pwrite(descriptor, f"{now:020.3f}\n".encode(), 0)
    finally:
        os.close(descriptor)


def start(config_path: str, database_path: str) -> None:
    """Send what is due in the outbox, detached from this process.  Raises OSError.

    Nothing is started while another process does so.
    """
    try:
        turn = Turn(database_path)
    except OSError:
        _spawn(config_path, (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
        return
    try:
        if turn.take():
            _spawn(config_path, (os.POSIX_SPAWN_DUP2, turn.descriptor, 0))
    finally:
        turn.close()


def _spawn(config_path: str, stdin: tuple[Any, ...]) -> None:
    os.posix_spawn(
        sys.executable,
        [sys.executable, PROGRAM, "--config", config_path, "notify", "--due"],
        os.environ,
        file_actions=[
            stdin,
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
        setsigdef=[signal.SIGCHLD, signal.SIGPIPE],  # which the policy process ignores
    )
