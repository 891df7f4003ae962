"""Moves a long write-ahead log into its database, in a process of its own.

A checkpoint waits for the disk, for a second on a busy one.  So that no mail
waits meanwhile, a policy process has a child do it: a fork, because a program
of its own would cost more than the checkpoint.  The child has its own
connection to the database, and nothing of the SMTP server's socket.  One at a
time: it holds a lock on a side file (`pcc.db.checkpoint`) until it ends.
"""

from __future__ import annotations

import posix  # what `os` adds to it would cost a tenth of the interpreter's start
from fcntl import LOCK_EX, LOCK_NB, flock

from pcc.errors import StoreError
from pcc.store.sqlite import SQLiteDatabase, open_side_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from signal import SIG_DFL, SIGALRM, SIGTERM, alarm
    from signal import signal as on_signal
else:
    from _signal import SIG_DFL, SIGALRM, SIGTERM, alarm
    from _signal import signal as on_signal

LONGEST_SECONDS = 8
"""Then the child is ended: a checkpoint can be broken off at any instant."""


def start(path: str, unwanted: int) -> None:
    """Have a child move the log of the database at `path`, if none is at it.

    `unwanted` is a descriptor that it must not have.  Raises OSError.
    """
    lock = open_side_file(path, ".checkpoint")
    try:
        flock(lock, LOCK_EX | LOCK_NB)
        if posix.fork() == 0:
            _be_the_child(path, unwanted)
    except BlockingIOError:
        pass  # another process is at it
    finally:
        posix.close(lock)


def _be_the_child(path: str, unwanted: int) -> None:
    """Move the log, and end without a word, whatever happens: others will try again."""
    try:
        nothing = posix.open("/dev/null", posix.O_RDWR)
        for descriptor in (0, 1, 2):
            posix.dup2(nothing, descriptor)
        posix.close(unwanted)  # of the parent's lock we would hold a part
        on_signal(SIGTERM, SIG_DFL)
        on_signal(SIGALRM, SIG_DFL)
        alarm(LONGEST_SECONDS)
        SQLiteDatabase(path).checkpoint()
    except (StoreError, OSError):
        pass
    finally:
        posix._exit(0)
