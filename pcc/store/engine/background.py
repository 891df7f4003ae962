"""Tidies a database up in a process of its own: sorts the log of counts, moves the write-ahead log.

    python -c RUN FOLDER DATABASE

Sorting takes a while under load, and a checkpoint waits for the disk, for a second on a busy
one.  So that no mail waits meanwhile, a policy process starts a child, which has nothing of the
SMTP server's socket.  It must be a new program: in a mere fork SQLite would take its parent's
locks for its own.  Then a process that closes the database meanwhile would find no user, and
remove the log that is being moved.  One at a time: it has the lock on a side file
(`pcc.db.checkpoint`) as its stdin until it ends.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from fcntl import LOCK_EX, LOCK_NB, flock

from pcc.errors import StoreError
from pcc.store import sums

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.store.engine.sqlite import SQLiteDatabase

LONGEST_SECONDS = 8
"""Then the child is ended: all that it does can be broken off at any instant."""

PAUSE_SECONDS = 5
"""Until the next attempt where a reader that goes on keeps the log from being emptied."""

FOLDER = os.path.abspath(__file__).rsplit("/", 4)[0]

RUN = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    " from pcc.store.engine import background, sqlite;"
    " background.tidy(lambda: sqlite.SQLiteDatabase(sys.argv[2]))"
)


def start(path: str, lock: int) -> None:
    """Start a child that tidies up the database at `path`, if none is at it.  Raises OSError.

    `lock`: the side file, open; it is closed here.
    """
    try:
        flock(lock, LOCK_EX | LOCK_NB)
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", RUN, FOLDER, path],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, lock, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
    except BlockingIOError:
        pass  # one is at it
    finally:
        os.close(lock)


def tidy(opened: Callable[[], SQLiteDatabase]) -> None:
    """Sort the log, move the other one, and end without a word: others will try again."""
    signal.alarm(LONGEST_SECONDS)
    try:
        database = opened()
        sums.sort(database, time.time())
        if database.is_long() and not database.checkpoint():
            signal.alarm(0)
            time.sleep(PAUSE_SECONDS)
    except (StoreError, OSError):
        pass
