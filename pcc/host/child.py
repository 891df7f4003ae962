"""Starts this program's children that go on without it, one of a kind at a time.

A child has a lock as its stdin until it ends, and nothing of the SMTP server's socket.  It must be
a new program: a mere fork would share SQLite's locks with its parent.
"""

from __future__ import annotations

import os
import signal
import sys
from fcntl import LOCK_EX, LOCK_NB, flock

FOLDER = os.path.abspath(__file__).rsplit("/", 3)[0]


def command(work: str, argument: str) -> list[str]:
    """Return the command for `work`: Python that finds `argument` in sys.argv[2]."""
    run = f"import sys; sys.path.insert(0, sys.argv[1]); {work}"
    return [sys.executable, "-I", "-S", "-c", run, FOLDER, argument]


def start(work: str, argument: str, lock: int) -> None:
    """Start a child, unless another one has the lock on this open file.  Raises OSError.

    The file is closed here.
    """
    try:
        flock(lock, LOCK_EX | LOCK_NB)
        os.posix_spawn(
            sys.executable,
            command(work, argument),
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, lock, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsid=True,
            setsigdef=[signal.SIGCHLD, signal.SIGPIPE, signal.SIGALRM],
        )
    except BlockingIOError:
        pass  # one is at it
    finally:
        os.close(lock)
