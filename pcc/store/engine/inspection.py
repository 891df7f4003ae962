"""A look at a database that leaves no trace: no side file, no lock file, no change of owner.

SQLite makes side files even for a reader, and as root gives those that are there
to the owner of the database.  So the caller should be its owner, not root.  A database without a
write-ahead log is opened as immutable; one with a log is opened with its shared memory as
read-only (`readonly_shm`).
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from pcc.errors import StoreError
from pcc.store import SCHEMA_VERSION, open_database
from pcc.store.engine.sqlite import APPLICATION_ID, file_uri

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Rows = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]

STUCK_SECONDS = 900
"""A notice that is older than this should have been sent."""


class Trouble:
    """The faults that keep a database from being used, by their remedy."""

    NONE = ""
    RUBBISH = "rubbish"  # no database, or a damaged one
    FOREIGN = "foreign"  # another program's
    OLDER = "older"
    NEWER = "newer"
    UNTIDY = "untidy"  # a user who may write puts it in order by opening it


class Inspection(NamedTuple):
    """The fault of a database, and its figures about the rest of pcc.

    `trouble`, one of those above, and `problem`, in words: why it can't be used; the other figures
    are known where it can.  `stuck`, `last_error`: notices that should have been sent, and why the
    oldest was not.  `oldest`, `newest`: UTC seconds when the sighting that was left alone for
    longest, and the latest, was last seen; 0 without any.  `exempt_clients`: the exemptions in
    force that are clients'.  `hosts`: name, configuration and time of each that shares it.
    `networks`: those of most accounts, each with their number; `accounts`: of all.
    """

    trouble: str = Trouble.NONE
    problem: str = ""
    stuck: int = 0
    last_error: str = ""
    oldest: float = 0
    newest: float = 0
    exempt_clients: Sequence[str] = ()
    hosts: Sequence[tuple[str, str, float]] = ()
    networks: Sequence[tuple[str, int]] = ()
    accounts: int = 0


MAGIC = b"SQLite format 3\0"
"""The first bytes of every SQLite file."""


def inspect(path: str, now: float, host_file: str = "") -> Inspection:
    """Look at the database file at `path`, a regular one, or at one on a server by its URL.

    `host_file`: as open_database() takes it.

    Raises StoreError if it can't be opened.
    """
    if "://" in path:
        with closing(open_database(path, host_file=host_file)) as database:
            return _look(database.rows, now)
    try:
        # Not to wait for what has taken the place of a file: O_NONBLOCK.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            head = file.read(len(MAGIC))
        if head != MAGIC:
            problem = "it is not an SQLite database" if head else "it is empty"
            return Inspection(Trouble.RUBBISH, problem)
        has_log = os.path.exists(path + "-wal") and os.path.getsize(path + "-wal") > 0
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
    if has_log and not (os.path.isfile(path + "-shm") and os.path.getsize(path + "-shm")):
        return Inspection(Trouble.UNTIDY, "a crash has left a log without its index")
    try:
        uri = file_uri(path, f"mode=ro&{'readonly_shm' if has_log else 'immutable'}=1")
        with closing(sqlite3.connect(uri, timeout=5, uri=True)) as connection:
            trouble, problem = _trouble(connection)
            if trouble:
                return Inspection(trouble, problem)
            return _look(lambda query, values: connection.execute(query, values).fetchall(), now)
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path}: {error}") from None
    except sqlite3.Error as error:
        return Inspection(Trouble.RUBBISH, f"it is damaged: {error}")


def _trouble(connection: sqlite3.Connection) -> tuple[str, str]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        return Trouble.FOREIGN, "it is another program's database"
    if version != SCHEMA_VERSION:
        trouble = Trouble.OLDER if version < SCHEMA_VERSION else Trouble.NEWER
        return trouble, f"it has schema version {version}, this pcc needs {SCHEMA_VERSION}"
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return (Trouble.NONE, "") if found == "ok" else (Trouble.RUBBISH, f"it is damaged: {found}")


def _look(rows: Rows, now: float) -> Inspection:
    before = (now - STUCK_SECONDS,)
    ((stuck,),) = rows("SELECT count(*) FROM outbox WHERE created < ?", before)
    errors = rows(
        "SELECT last_error FROM outbox WHERE created < ? ORDER BY created, id LIMIT 1", before
    )
    times = "SELECT coalesce(min(last_seen), 0), coalesce(max(last_seen), 0) FROM sighting"
    ((oldest, newest),) = rows(times, ())
    clients = rows(
        "SELECT value FROM exemption WHERE kind = 'client' AND (until = 0 OR until > ?)", (now,)
    )
    hosts = rows("SELECT host, limits, at FROM host ORDER BY host", ())
    networks = rows(
        "SELECT name, count(*) FROM place WHERE kind = 'network'"
        " GROUP BY name ORDER BY count(*) DESC, name LIMIT 10",
        (),
    )
    ((accounts,),) = rows("SELECT count(DISTINCT account) FROM place", ())
    return Inspection(
        Trouble.NONE,
        "",
        stuck,
        errors[0][0] if errors else "",
        oldest,
        newest,
        [client for (client,) in clients],
        [(host, settings, at) for host, settings, at in hosts],
        [(name, count) for name, count in networks],
        accounts,
    )
