"""An SQLite database file of pcc: opening it, transactions, durability.

The file is in WAL mode: readers take no lock.  Writers queue for a lock on a
side file (`pcc.db.lock`) before they ask SQLite for its own, because SQLite's
waiting is polling, under which some wait for seconds; the kernel wakes those
who wait for a flock in order.

A commit is atomic at once, but on disk only after `sync()`: what decides a
verdict is synced before the reply, what merely counts is left to the next sync
or checkpoint.  Syncing happens after the locks are given back, so that others
do not wait for the disk.

Where the file can be read but not written it opens read-only; where SQLite
could not even make its side files (a read-only folder), as immutable.
"""

from __future__ import annotations

import posix  # what `os` adds to it would cost a tenth of the interpreter's start
import time
from fcntl import LOCK_EX, LOCK_UN, flock

from pcc.errors import StoreError
from pcc.store.quick_sqlite import Connection, Error, OperationalError, connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMA_VERSION = 1
APPLICATION_ID = 1886610273

BUSY_SECONDS = 0.5
"""How long SQLite waits for a lock of its own before it is asked again."""

CHECKPOINT_BYTES = 4_000_000
"""The write-ahead log's length from which on it is worth a checkpoint."""

PATIENCE_SECONDS = 7.0
"""How long a writer goes on asking; a decision's deadline is a little later."""


class Database:
    """One open database file.

    `read_only` tells that nothing can be written, and why that is in `reason`.
    All methods raise StoreError, naming the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.read_only = False
        self.reason = ""
        self._lock = -1
        self.connection = self._open()

    def close(self) -> None:
        """Close the file; SQLite tidies up its side files if this was the last user."""
        self.connection.close()
        if self._lock >= 0:
            posix.close(self._lock)
            self._lock = -1

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

    def insert(self, statement: str, values: tuple[Any, ...]) -> int:
        """Insert one row inside a transaction; return its id."""
        try:
            return self.connection.execute(statement, values).lastrowid or 0
        except Error as error:
            raise self._error(error) from None

    def __enter__(self) -> Database:
        """Begin a write transaction, after those who asked before."""
        if self.read_only:
            raise StoreError(f"{self.path}: can't be written: {self.reason}")
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
            elif self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except Error as failure:
            self._roll_back()
            raise self._error(failure) from None
        finally:
            self._give_turn_back()

    def sync(self) -> None:
        """Wait until all that was committed is on disk (fdatasync of the write-ahead log)."""
        try:
            descriptor = posix.open(self.path + "-wal", posix.O_RDONLY | posix.O_CLOEXEC)
            try:
                posix.fdatasync(descriptor)
            finally:
                posix.close(descriptor)
        except FileNotFoundError:
            return  # checkpointed and removed, which syncs the database itself
        except OSError as error:
            raise StoreError(f"{self.path}-wal: can't be synced: {error.strerror}") from None

    def checkpoint_if_due(self) -> None:
        """Move a long write-ahead log into the database; to be called outside transactions."""
        try:
            if posix.stat(self.path + "-wal").st_size > CHECKPOINT_BYTES:
                self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except FileNotFoundError:
            return
        except Error as error:
            raise self._error(error) from None

    def function(self, name: str, arguments: int, function: Any) -> None:
        """Make a Python function known to SQL."""
        self.connection.create_function(name, arguments, function)

    def _open(self) -> Connection:
        attempts = [("rw", ""), ("ro", ""), ("ro", "&immutable=1")]
        if posix.access(self.path, posix.R_OK) and not posix.access(self.path, posix.W_OK):
            attempts = attempts[1:]
        failure: Error | None = None
        for mode, more in attempts:
            try:
                connection = self._connect(mode, more)
            except OperationalError as error:
                failure = failure or error
                continue
            except Error as error:
                raise self._error(error) from None
            if mode != "rw":
                self.read_only = True
                self.reason = str(failure or "no permission")
            return connection
        raise self._error(failure)

    def _connect(self, mode: str, more: str) -> Connection:
        escaped = self.path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        connection = connect(
            f"file:{escaped}?mode={mode}{more}",
            timeout=BUSY_SECONDS,
            isolation_level=None,
            uri=True,
        )
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA_VERSION:
                raise StoreError(self._version_message(version))
            # A commit need not wait for the disk; sync() does where that matters.
            connection.execute("PRAGMA synchronous = NORMAL")
            # Nor for a checkpoint, which would keep the others waiting as well.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        except BaseException:
            connection.close()
            raise
        return connection

    def _version_message(self, version: int) -> str:
        if version == 0:
            return f"{self.path}: is not a database of pcc: run pcc_admin.py init"
        if version < SCHEMA_VERSION:
            return (
                f"{self.path}: has schema version {version}, this pcc needs {SCHEMA_VERSION}: "
                "run pcc_admin.py init"
            )
        return (
            f"{self.path}: has schema version {version}, this pcc knows only up to "
            f"{SCHEMA_VERSION}: use the newer pcc that wrote it"
        )

    def _wait_for_turn(self) -> None:
        try:
            if self._lock < 0:
                self._lock = self._open_lock()
            flock(self._lock, LOCK_EX)
        except OSError as error:
            raise StoreError(f"{self.path}.lock: {error.strerror}") from None

    def _open_lock(self) -> int:
        lock = posix.open(
            self.path + ".lock", posix.O_RDWR | posix.O_CREAT | posix.O_CLOEXEC, 0o640
        )
        if posix.geteuid() == 0:  # root leaves no file that the service user can't open
            owner = posix.stat(self.path)
            posix.fchown(lock, owner.st_uid, owner.st_gid)
        return lock

    def _give_turn_back(self) -> None:
        flock(self._lock, LOCK_UN)

    def _begin(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                return
            except OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise self._error(error) from None

    def _roll_back(self) -> None:
        try:
            self.connection.execute("ROLLBACK")
        except Error:
            pass  # SQLite has rolled back by itself: there is no transaction left

    def _error(self, error: Error | None) -> StoreError:
        if not posix.access(self.path, posix.F_OK):
            return StoreError(f"{self.path}: there is no database: run pcc_admin.py init")
        if not posix.access(self.path, posix.R_OK):
            return StoreError(f"{self.path}: can't be read: no permission")
        return StoreError(f"{self.path}: {error}")
