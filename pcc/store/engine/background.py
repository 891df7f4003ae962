"""Tidies a database up in a process of its own: sorts the log of counts, moves the write-ahead log.

Sorting takes a while under load, and a checkpoint waits for the disk, for a second on a busy
one.  So that no mail waits meanwhile, a policy process starts a child, which has nothing of the
SMTP server's socket.  It must be a new program: in a mere fork SQLite would take its parent's
locks for its own.  Then a process that closes the database meanwhile would find no user, and
remove the log that is being moved.  One at a time: it has the lock on a side file
(`pcc.db.checkpoint`) as its stdin until it ends.
"""

from __future__ import annotations

import signal
import time

from pcc.errors import StoreError
from pcc.store import sums
from pcc.store.engine.sqlite import SQLiteDatabase

LONGEST_SECONDS = 8
"""Then the child is ended: all that it does can be broken off at any instant."""

PAUSE_SECONDS = 5
"""Until the next attempt where a reader that goes on keeps the log from being emptied."""


def tidy(path: str) -> None:
    """Sort the log, move the other one, and end without a word: others will try again."""
    signal.alarm(LONGEST_SECONDS)
    try:
        database = SQLiteDatabase(path)
        sums.sort(database, time.time())
        if database.is_long() and not database.checkpoint():
            signal.alarm(0)
            time.sleep(PAUSE_SECONDS)
    except (StoreError, OSError):
        pass
