"""A look at a database that leaves no trace: no side file, no lock file, no change of owner.

SQLite makes side files even for who only reads, and as root gives those that
are there to the owner of the database.  So the caller should be its owner, not
root; and a database without a write-ahead log is opened as immutable, one with
it with its shared memory as read-only, too (`readonly_shm`).
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import NamedTuple

from pcc.errors import StoreError
from pcc.store.sqlite import APPLICATION_ID, SCHEMA_VERSION

STUCK_SECONDS = 900
"""A notice that is older than this should have been sent."""


class Inspection(NamedTuple):
    """What is wrong with a database, and what it tells about the rest of pcc.

    `problem`: why it can't be used, "" where it can; then all else is known.
    `stuck`, `last_error`: notices that should have been sent, and why the
    oldest was not.  `oldest`, `newest`: UTC seconds when the sighting that was
    left alone for longest, and the latest, was last seen; 0 without any.
    """

    problem: str
    stuck: int = 0
    last_error: str = ""
    oldest: float = 0
    newest: float = 0


def inspect(path: str, now: float) -> Inspection:
    """Look at the database file at `path`.  Raises StoreError if it can't be opened."""
    try:
        with closing(_open(path)) as connection:
            problem = _problem(connection)
            return Inspection(problem) if problem else _look(connection, now)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from None


def _open(path: str) -> sqlite3.Connection:
    try:
        open(path, "rb").close()
        has_log = os.path.exists(path + "-wal") and os.path.getsize(path + "-wal") > 0
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
    if has_log and not os.path.exists(path + "-shm"):
        raise StoreError(f"{path}: has a log that was left by a crash; any mail puts it in order")
    escaped = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    how = "readonly_shm=1" if has_log else "immutable=1"
    return sqlite3.connect(f"file:{escaped}?mode=ro&{how}", timeout=5, uri=True)


def _problem(connection: sqlite3.Connection) -> str:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        return "it is not a database of pcc"
    if version != SCHEMA_VERSION:
        return f"it has schema version {version}, this pcc needs {SCHEMA_VERSION}"
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return "" if found == "ok" else f"it is damaged: {found}"


def _look(connection: sqlite3.Connection, now: float) -> Inspection:
    before = now - STUCK_SECONDS
    (stuck,) = connection.execute(
        "SELECT count(*) FROM outbox WHERE created < ?", (before,)
    ).fetchone()
    error = connection.execute(
        "SELECT last_error FROM outbox WHERE created < ? ORDER BY created LIMIT 1", (before,)
    ).fetchone()
    oldest, newest = connection.execute(
        "SELECT ifnull(min(last_seen), 0), ifnull(max(last_seen), 0) FROM sighting"
    ).fetchone()
    return Inspection("", stuck, error[0] if error else "", oldest, newest)
