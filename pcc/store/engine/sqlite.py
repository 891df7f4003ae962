"""An SQLite database file of pcc: opening it, transactions, durability.

The file is in WAL mode: readers take no lock.  Writers queue for a lock on a side file
(`pcc.db.lock`) before they ask SQLite for its own.  SQLite waits by polling, and then some writers
wait for seconds; the kernel wakes waiters for a flock in order.

A commit is atomic at once, but on disk only after `sync()`.  Rows that decide a verdict are synced
before the reply; mere counts are left to the next sync or checkpoint.  Syncing happens after the
locks are given back, so that others do not wait for the disk.

A file that can be read but not written opens read-only.  If SQLite could not even make its side
files (a read-only folder), it opens as immutable, without the rows that are only in the
write-ahead log.  Then it is stale, and good for nothing but the blocks that it has.  A file that
was removed, replaced or upgraded under a running process is an error: the next process opens the
new one.
"""

from __future__ import annotations

import posix  # what `os` adds to it would cost a tenth of the interpreter's start
import sys
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

from pcc.errors import DeadlineError, StoreError
from pcc.store import SCHEMA_VERSION, version_message
from pcc.store.engine import repeatcache
from pcc.store.engine.sidefile import open_side_file, rights_of_service_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from sqlite3 import Connection, Error, OperationalError, connect
    from typing import Any

    from pcc.store.engine.interface import Result
elif "functools" in sys.modules:
    from _sqlite3 import Connection, Error, OperationalError, connect
else:
    # `sqlite3` would add datetime and collections, which nothing here needs.  Its C module takes
    # lru_cache from functools, an import that costs three times as much as all the rest of it.  So
    # it is lent the C part of that: 2.3 of the 9 ms that an interpreter takes to start and import.
    from _functools import _lru_cache_wrapper

    _lender = type(sys)("functools")
    _lender.lru_cache = lambda size: lambda make: _lru_cache_wrapper(make, size, False, None)
    sys.modules["functools"] = _lender
    try:
        from _sqlite3 import Connection, Error, OperationalError, connect
    finally:
        del sys.modules["functools"]

APPLICATION_ID = 1886610273

BUSY_SECONDS = 0.5
"""How long SQLite waits for a lock of its own before it is asked again."""

CHECKPOINT_BYTES = 16_000_000
"""The write-ahead log's length from which on it is worth a checkpoint."""

READERS_SECONDS = 0.05
"""How long emptying the write-ahead log waits for its readers, and writers for that."""

TIDY = "from pcc.store.engine import background; background.tidy(sys.argv[2])"
"""The program of a child that tidies up in the background."""

REGULAR_FILE = 0o10
"""The type of a regular file in st_mode, as in stat(2); the module `stat` costs an import."""

PATIENCE_SECONDS = 7.0
"""How long a writer goes on asking; a decision's deadline is a little later."""


class SQLiteDatabase:
    """One open database file.

    With `read_only` nothing can be written; `reason` says why.  With `is_stale` the
    latest commits may be missing.  All methods raise
    StoreError, naming the file.
    """

    follows = False

    def __init__(self, path: str) -> None:
        self.path = self.name = path
        self.read_only = False
        self.is_stale = False
        self.reason = ""
        self._lock = -1
        self._repeats = repeatcache.RepeatCache(path)
        with rights_of_service_user(path):
            self._identity = self._look()
            if not posix.access(path, posix.W_OK):
                self.connection = self._open_read_only("no permission to write")
                return
            deadline = time.monotonic() + PATIENCE_SECONDS
            while True:
                try:
                    self.connection = self._connect("rw")
                    return
                except OperationalError as error:
                    if "locked" not in str(error):
                        self.connection = self._open_read_only(str(error))
                        return
                    if time.monotonic() > deadline:
                        raise self._error(error) from None
                except Error as error:
                    raise self._error(error) from None

    def close(self) -> None:
        """Close the file; SQLite tidies up its side files if this was the last user."""
        self.connection.close()
        self._repeats.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            posix.close(lock)

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        try:
            return self.connection.execute(statement, values).fetchall()
        except Error as error:
            raise self._error(error) from None

    def row(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None."""
        try:
            row: tuple[Any, ...] | None = self.connection.execute(statement, values).fetchone()
        except Error as error:
            raise self._error(error) from None
        return row

    def write(self, statement: str, values: tuple[Any, ...] = ()) -> int:
        """Carry out one statement inside a transaction; return how many rows it changed."""
        try:
            return self.connection.execute(statement, values).rowcount
        except Error as error:
            raise self._error(error) from None

    write_later = write

    def write_many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Carry out one statement for each row of values, inside a transaction."""
        try:
            self.connection.executemany(statement, rows)
        except Error as error:
            raise self._error(error) from None

    def cursor(self, statement: str, values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query one by one, for a reader that may stop early."""
        try:
            yield from self.connection.execute(statement, values)
        except Error as error:
            raise self._error(error) from None

    def check_in_place(self) -> None:
        """Raise StoreError if the file was removed, replaced or upgraded since it was opened."""
        if self._look() != self._identity:
            raise StoreError(f"{self.path}: was replaced; the next process opens the new one")
        try:
            _check_version(self.path, self.connection)
        except Error as error:
            raise self._error(error) from None

    def require_current(self) -> None:
        """Raise StoreError if the latest commits may be missing."""
        if self.is_stale:
            raise StoreError(f"{self.path}: its latest changes can't be read: {self.reason}")

    def turn(self, *accounts: str) -> SQLiteDatabase:
        """Return what a `with` enters: a writer is alone, whatever the accounts."""
        return self

    def again(self, work: Callable[[], Result]) -> Result:
        """Return work(): what fails in a file is not over soon."""
        return work()

    def in_turn(self, work: Callable[[], Result], *accounts: str) -> Result:
        """Return work(), done within a write transaction."""
        with self:
            if accounts and "" not in accounts:  # which is the turn of the log of counts
                self.end_repeats(*accounts)
            return work()

    def end_repeats(self, *accounts: str) -> None:
        """End what is kept of repeats of these accounts, or of all, as it was before COMMIT."""
        try:
            self._repeats.open()
            self._repeats.end(accounts or (repeatcache.EVERYBODY,))
        except OSError as error:
            raise StoreError(f"{self.path}{repeatcache.SUFFIX}: {error.strerror}") from None

    def __enter__(self) -> SQLiteDatabase:
        """Begin a write transaction, after those that asked before."""
        if self.read_only:
            raise StoreError(f"{self.path}: can't be written: {self.reason}")
        self.check_in_place()
        self._wait_for_turn()
        try:
            self._begin()
        except BaseException:
            self._give_turn_back()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Commit, or roll back if an error got here."""
        try:
            if kind is None:
                self.connection.execute("COMMIT")
        except Error as failure:
            raise self._error(failure) from None
        except DeadlineError:  # a signal that came during COMMIT is seen after it
            if self.connection.in_transaction:
                raise
        finally:
            try:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                self._repeats.resume()
            except Error as failure:
                raise self._error(failure) from None
            finally:
                self._give_turn_back()

    def sync(self) -> None:
        """Wait until all that was committed is on disk (fdatasync of the write-ahead log)."""
        self.check_in_place()
        try:
            descriptor = posix.open(self.path + "-wal", posix.O_RDONLY | posix.O_CLOEXEC)
            try:
                posix.fdatasync(descriptor)
            finally:
                posix.close(descriptor)
        except FileNotFoundError:
            return  # nothing was written through it since the database was synced
        except OSError as error:
            raise StoreError(f"{self.path}-wal: can't be synced: {error.strerror}") from None

    def checkpoint_if_due(self, *, in_background: bool = False) -> None:
        """Move a long write-ahead log into the database; to be called outside transactions.

        Where that is in the background, this returns at once.
        """
        if self.read_only or not self.is_long():
            return
        if not in_background:
            self.checkpoint()
            return
        self.tidy_in_background()

    def tidy_in_background(self) -> bool:
        """Start a process that sorts the log of counts, and moves a long write-ahead log."""
        from pcc.host import child  # which few processes need

        try:
            child.start(TIDY, self.path, open_side_file(self.path, ".checkpoint"))
        except OSError as error:
            raise StoreError(f"{self.path}: no checkpoint: {error.strerror}") from None
        return True

    def is_long(self) -> bool:
        """Whether the write-ahead log is long enough for a checkpoint."""
        return _size(self.path + "-wal") >= CHECKPOINT_BYTES

    def checkpoint(self) -> bool:
        """Move the write-ahead log into the database; return whether it is empty now.

        Nearly all of it keeps no process waiting.  The rest, which empties the log, takes the turn
        of a writer: not for long, because a reader that goes on keeps the log from being emptied.
        One process at a time.
        """
        is_busy = self.row("PRAGMA wal_checkpoint(PASSIVE)")
        if not is_busy or is_busy[0]:
            return False
        self.row(f"PRAGMA busy_timeout = {READERS_SECONDS * 1000:.0f}")
        self._wait_for_turn()
        try:
            is_busy = self.row("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._give_turn_back()
        self.row(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        return is_busy is not None and not is_busy[0]

    def _look(self) -> tuple[int, int]:
        try:
            found = posix.stat(self.path)
        except PermissionError:
            raise StoreError(f"{self.path}: can't be reached: no permission") from None
        except OSError:
            raise self._error(None) from None
        if found.st_mode >> 12 != REGULAR_FILE:  # SQLite would wait for ever to open a FIFO
            raise StoreError(f"{self.path}: is not a regular file")
        return found.st_dev, found.st_ino

    def _open_read_only(self, cause: str) -> Connection:
        """Open what can't be written because of `cause`."""
        self.read_only = True
        self.reason = _with_next_step(cause)
        # SQLite would make side files with the rights of the database, and leave them behind:
        # nobody could write them any more once the database can be written again.
        if posix.access(self.path + "-wal", posix.F_OK):
            try:
                return self._connect("ro")
            except Error:
                self.is_stale = _size(self.path + "-wal") > 0
        try:
            return self._connect("ro", "&immutable=1")
        except Error as error:
            raise self._error(error) from None

    def _connect(self, mode: str, more: str = "") -> Connection:
        connection = connect(
            file_uri(self.path, f"mode={mode}{more}"),
            timeout=BUSY_SECONDS,
            isolation_level=None,
            uri=True,
        )
        try:
            _check_version(self.path, connection)
            # A commit need not wait for the disk; sync() does where that matters.
            connection.execute("PRAGMA synchronous = NORMAL")
            # Nor for a checkpoint, which would keep the others waiting as well.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            connection.close()
            raise
        return connection

    def is_free(self) -> bool:
        """Whether nobody is writing, nor waiting to, at this moment."""
        try:
            self._wait_for_turn(LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        self._give_turn_back()
        return True

    def _wait_for_turn(self, how: int = LOCK_EX) -> None:
        try:
            if self._lock < 0:
                self._lock = open_side_file(self.path, ".lock")
            flock(self._lock, how)
        except BlockingIOError:
            raise
        except OSError as error:
            raise StoreError(f"{self.path}.lock: {error.strerror}") from None

    def _give_turn_back(self) -> None:
        flock(self._lock, LOCK_UN)

    def _begin(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                break
            except OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise self._error(error) from None
        try:  # what was upgraded while this waited; from here on nobody can
            _check_version(self.path, self.connection)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise

    def _error(self, error: Error | None) -> StoreError:
        if not posix.access(self.path, posix.F_OK):
            return StoreError(f"{self.path}: there is no database: run pcc_admin.py init")
        if not posix.access(self.path, posix.R_OK):
            return StoreError(f"{self.path}: can't be read: no permission")
        return StoreError(f"{self.path}: {_with_next_step(str(error))}")


def file_uri(path: str, parameters: str) -> str:
    """Return the URI of a file as SQLite takes it apart."""
    escaped = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{escaped}?{parameters}"


def _check_version(path: str, connection: Connection) -> None:
    """Raise StoreError if the schema is another pcc's; this takes under 2 microseconds."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != SCHEMA_VERSION:
        raise StoreError(version_message(path, version))


def _with_next_step(cause: str) -> str:
    """Return the cause, with the command that says more about it where SQLite says little."""
    for words in ("not a database", "disk I/O error", "unable to open"):
        if words in cause:
            return f"{cause}: run pcc_admin.py doctor"
    return cause


def _size(path: str) -> int:
    try:
        return posix.stat(path).st_size
    except OSError:
        return 0
