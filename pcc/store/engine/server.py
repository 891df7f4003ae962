"""A database on a server, PostgreSQL's or MySQL's, that several hosts share.

Decisions are exact, however many hosts decide at once.  A process that decides about an account,
or folds counts of its mails, begins by writing the account's row (`turns`).  So it has that row's
lock until COMMIT.  Statements are READ COMMITTED: each sees all that was committed before it
began.  So a process with that lock reads the state that the last owner of the lock left.  Because
the row really changes, two nodes of a cluster that certifies at COMMIT (Galera) collide as well;
the second is rolled back.  Several accounts are locked in the order of their names, so that nobody
waits in a circle, and different accounts don't wait for each other.  Decisions that were rolled
back because of others are made again (`in_turn`).

COMMIT is durable as far as the server's own settings say.  The server ends a statement in a
transaction that takes longer than a decision may: otherwise it would go on when no process waits
for it any more.  A connection that was lost, or on which anything was interrupted, is closed.  The
next statement outside a transaction opens another one: after a restart of the server all goes on.

A server that takes no writes, such as a standby, may lag behind the other one.  It is stale, and
good for nothing but the blocks that it has.
"""

from __future__ import annotations

import random
import time

from pcc.errors import StoreError
from pcc.store import SCHEMA_VERSION, version_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pcc.config.databaseurl import ServerAddress
    from pcc.store.engine.interface import Result

CONNECT_SECONDS = 5
"""How long to wait for the server to answer at all."""

STATEMENT_SECONDS = 7
"""How long one statement of a transaction may take; less than a decision's deadline."""

ATTEMPTS = 10
"""How often a decision is made again; the deadline is over before, if each one waits."""

FIRST_PAGE = 64
"""Rows that a reader gets at first that may stop early."""

VERSION_SECONDS = 1
"""Between looks whether the schema was upgraded, for a reader; a writer always looks."""

# Writes nothing where the schema is not ours any more.  Hosts that follow look at `changed` (see
# pcc/store/following.py); folding, which has 0 for it, changes nothing for them.
_TAKE_TURN = (
    "INSERT INTO account (account, generation, turns, changed)"
    f" SELECT ?, 0, 1, ? FROM pcc_schema WHERE version = {SCHEMA_VERSION}"
    " ON CONFLICT (account) DO UPDATE SET turns = account.turns + 1, changed ="
    " CASE WHEN excluded.changed > account.changed THEN excluded.changed ELSE account.changed END"
)


STANDBY = "the server takes no writes: is it a standby?"


class ConflictError(StoreError):
    """Another transaction was in the way of this one: doing it again may succeed."""


class NoSchemaError(StoreError):
    """The database has not the tables that a database of pcc has."""


class Turn:
    """A transaction with the locks of some accounts, to be entered."""

    def __init__(self, database: ServerDatabase, accounts: tuple[str, ...]) -> None:
        self._database = database
        self._accounts = accounts

    def __enter__(self) -> None:
        """Begin it."""
        self._database.begin(self._accounts)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Commit, or roll back if an error got here."""
        self._database.__exit__(kind, error, trace)


class DoneBeforeError(StoreError):
    """The object of a definition is there already."""


class ServerDatabase:
    """One connection to a server, opened when it is needed.

    Its children say how a driver connects, and what its errors mean.
    """

    follows = False
    conflicts: frozenset[object]
    """The codes of errors after which a transaction may be tried again."""
    no_table: object
    """The code of the error that there is no such table."""
    done_before: frozenset[object] = frozenset()
    """The codes of errors of a definition that was carried out before."""
    version_query: str
    """Returns the schema's version, and whether the server takes no writes."""
    beginning: str
    """Begins a transaction."""
    error: type[Exception]
    """The base of the driver's errors."""

    def __init__(self, address: ServerAddress) -> None:
        self.name = address.shown
        self.read_only = False
        self.is_stale = False
        self.reason = ""
        self._address = address
        self._password = ""
        self._next_look = 0.0
        self._connection: Any = None
        self._is_busy = False  # within a transaction
        self._statements: dict[str, str] = {}

    # The part that differs between drivers.

    def connect(self, password: str) -> Any:
        """Return a new connection of the driver, without a transaction."""
        raise NotImplementedError

    def is_lost(self, connection: Any) -> bool:
        """Whether a connection can't be used any more."""
        raise NotImplementedError

    def code(self, error: Exception) -> object:
        """Return the code that the server gave an error."""
        raise NotImplementedError

    def text(self, error: Exception) -> str:
        """Return what an error says."""
        raise NotImplementedError

    def translated(self, statement: str) -> str:
        """Return a statement of ours, none of which has a `%`, as the driver wants it."""
        return statement.replace("?", "%s")

    def insert(self, statement: str, values: tuple[Any, ...]) -> int:
        """Insert one row inside a transaction; return its id."""
        raise NotImplementedError

    def definitions(self, sql: str) -> list[str]:
        """Return the statements of schema.sql, or of an upgrade, as this server has them."""
        raise NotImplementedError

    def define(self, statement: str) -> None:
        """Carry out one of definitions()."""
        self.run(statement)

    def follow_ids(self, table: str) -> None:
        """Give new rows ids above those that rows were written with, in a transaction."""
        raise NotImplementedError

    # The interface of all engines, see pcc/store/engine/interface.py.

    def open(self) -> None:
        """Connect, and check that the database is one of this pcc."""
        self._require_our_version(self.open_any())

    def _open_again(self) -> None:
        """Connect again; what was current must not turn stale under a caller."""
        was_stale = self.is_stale
        self.open()
        self._require_as_current(was_stale=was_stale, is_stale=self.is_stale)

    def _require_as_current(self, *, was_stale: bool, is_stale: bool) -> None:
        """Raise StoreError where a server has turned stale under a caller."""
        if is_stale and not was_stale:
            self._abandon()
            raise StoreError(f"{self.name}: {STANDBY}")

    def open_any(self) -> int:
        """Connect; return the version of the schema, 0 where there is none."""
        try:
            self._password = self._address.find_password()
        except OSError as error:
            path = self._address.parameters["password_file"]
            raise StoreError(f"{self.name}: {path}: {error.strerror}") from None
        try:
            self._connection = self.connect(self._password)
        except (self.error, OSError, RuntimeError, ValueError) as error:
            raise self._failure(error) from None  # drivers raise these also for options and files
        version, is_closed = self._look()
        self.read_only = self.is_stale = is_closed
        self.reason = STANDBY if is_closed else ""
        return version

    def _look(self) -> tuple[int, bool]:
        """Return the version of the schema, and whether the server takes no writes."""
        self._next_look = time.monotonic() + VERSION_SECONDS
        try:
            version, is_closed = self.rows(self.version_query)[0]
        except NoSchemaError:
            return 0, False
        return int(version), str(is_closed).lower() in ("1", "on", "true")

    def _require_our_version(self, version: int) -> None:
        if version != SCHEMA_VERSION:
            self._abandon()
            raise StoreError(version_message(self.name, version))

    def close(self) -> None:
        """Close the connection if there is one."""
        connection, self._connection = self._connection, None
        self._is_busy = False
        if connection is not None:
            try:
                connection.close()
            except self.error:
                pass  # it was lost

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return list(self.run(statement, values).fetchall())

    def row(self, statement: str, values: tuple[Any, ...] = ()) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None."""
        row: tuple[Any, ...] | None = self.run(statement, values).fetchone()
        return row

    def cursor(self, statement: str, values: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query in pages that grow, for a reader that may stop early."""
        start, size = 0, FIRST_PAGE
        while True:
            page = self.rows(f"{statement} LIMIT {size} OFFSET {start}", values)
            yield from page
            if len(page) < size:
                return
            start, size = start + size, size * 4

    def write(self, statement: str, values: tuple[Any, ...] = ()) -> int:
        """Carry out one statement inside a transaction; return how many rows it changed."""
        rowcount: int = self.run(statement, values).rowcount
        return rowcount

    def write_many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Carry out one statement for each row of values, inside a transaction."""
        self._carry_out(statement, lambda cursor, text: cursor.executemany(text, list(rows)))

    def turn(self, *accounts: str) -> Turn:
        """Return what a `with` enters that locks these accounts."""
        return Turn(self, accounts)

    def in_turn(self, work: Callable[[], Result], *accounts: str) -> Result:
        """Return work(), done within `with turn(*accounts)`, and again after a conflict."""
        for attempt in range(1, ATTEMPTS):
            try:
                with self.turn(*accounts):
                    return work()
            except ConflictError:
                time.sleep(random.uniform(0, 0.01 * attempt))
        with self.turn(*accounts):
            return work()

    def __enter__(self) -> ServerDatabase:
        """Begin a transaction without any account's lock."""
        self.begin(())
        return self

    def begin(self, accounts: tuple[str, ...]) -> None:
        """Begin a transaction, with the locks of these accounts."""
        if self._connection is None:
            self._open_again()
        if self.read_only:
            raise StoreError(f"{self.name}: can't be written: {self.reason}")
        self.run(self.beginning)
        self._is_busy = True
        try:
            if accounts:
                at = 0 if "" in accounts else time.time()  # the turn of no account is that to fold
                turns = [(account, at) for account in sorted(set(accounts))]
                taken = self._carry_out(
                    _TAKE_TURN, lambda cursor, text: cursor.executemany(text, turns)
                )
                if taken.rowcount < len(turns):
                    self._require_our_version(self._look()[0])
            else:
                self.check_in_place()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Commit, or roll back if an error got here."""
        if self._connection is None:  # closed because of that error
            self._is_busy = False
            if kind is None:
                raise StoreError(f"{self.name}: the connection was lost")
            return
        try:
            self.run("COMMIT" if kind is None else "ROLLBACK")
        except StoreError:
            if kind is None:
                raise
            self.close()  # the first error says more
        finally:
            self._is_busy = False

    def sync(self) -> None:
        """Do nothing: COMMIT has waited for the disk as the server has it."""

    def is_free(self) -> bool:
        """Return True: writers to other accounts are not in the way."""
        return True

    def check_in_place(self) -> None:
        """Raise StoreError if the schema was upgraded, or the server has become a standby."""
        if time.monotonic() < self._next_look:
            return
        version, is_closed = self._look()
        self._require_our_version(version)
        self._require_as_current(was_stale=self.is_stale, is_stale=is_closed)

    def checkpoint_if_due(self, *, in_background: bool = False) -> None:
        """Do nothing: servers tidy up by themselves."""

    def fold_in_background(self) -> bool:
        """Return False: a new process would need longer to connect than the caller to fold."""
        return False

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """Carry out a statement; return the driver's cursor."""
        return self._carry_out(statement, lambda cursor, text: cursor.execute(text, values or None))

    def _carry_out(self, statement: str, execute: Callable[[Any, str], object]) -> Any:
        if self._connection is None:
            if self._is_busy:
                raise StoreError(f"{self.name}: the connection was lost")
            self._open_again()
        text = self._statements.get(statement)
        if text is None:
            text = self._statements[statement] = self.translated(statement)
        try:
            cursor = self._connection.cursor()
            execute(cursor, text)
        except self.error as error:
            raise self._failure(error) from None
        except BaseException:  # the deadline's: what the server answers then is for nobody
            self._abandon()
            raise
        return cursor

    def _abandon(self) -> None:
        """Close the connection but stay in the transaction, which is lost with it."""
        is_busy = self._is_busy
        self.close()
        self._is_busy = is_busy

    def _failure(self, error: Exception) -> StoreError:
        """Return the error to be raised for one of the driver's."""
        if self._connection is not None and self.is_lost(self._connection):
            self._abandon()
        code = self.code(error)
        if code == self.no_table:
            return NoSchemaError(version_message(self.name, 0))
        lines = [line.strip() for line in self.text(error).splitlines()]
        text = " ".join([line for line in lines if line])
        if self._password:
            text = text.replace(self._password, "***")
        kind = StoreError
        if code in self.conflicts:
            kind = ConflictError
        elif code in self.done_before:
            kind = DoneBeforeError
        return kind(f"{self.name}: {text}")
