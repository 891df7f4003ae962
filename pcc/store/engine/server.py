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

import posix
import random
import re
import time
from abc import ABC, abstractmethod

from pcc.errors import AgainError, StoreError
from pcc.store import SCHEMA_VERSION, version_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pcc.config.databaseurl import ServerAddress
    from pcc.store.engine.interface import Result

    Statement = tuple[str, tuple[Any, ...]]

CONNECT_SECONDS = 5
"""How long to wait for the server to answer at all: for all its hosts together."""

STATEMENT_SECONDS = 7
"""How long one statement of a transaction may take; less than a decision's deadline."""

IDLE_SECONDS = 20
"""How long a server keeps the locks of a process that says nothing, on a host that is gone, say."""

RETRY_SECONDS = 7
"""How long a transaction that failed because of others, or of the server, is done again."""

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
"""Seconds between attempts: each pause is up to twice as long as the one before."""

FIRST_PAGE = 64
"""Rows that a reader gets at first that may stop early."""

MESSAGE_STATEMENTS = 100
"""Statements that are sent together at most."""

MESSAGE_CHARACTERS = 1_000_000
"""After which many rows are sent: MariaDB takes no message of more than 16 MB."""

ROWS = 50
"""Rows that one statement writes at most."""

VERSION_SECONDS = 1
"""Between looks whether the schema was upgraded, for a reader; a writer always looks."""

# Fails where the schema is not ours any more: there is no number then.  Hosts that follow look at
# `changed` (see pcc/store/following.py); folding, which has 0 for it, changes nothing for them.
_SEEN_BY_FOLLOWERS = (
    " ON CONFLICT (account) DO UPDATE SET turns = account.turns + 1, changed ="
    " CASE WHEN excluded.changed > account.changed THEN excluded.changed ELSE account.changed END"
)
_TAKE_TURN = (
    "INSERT INTO account (account, generation, turns, changed)"
    f" SELECT ?, 0, 1 / (CASE WHEN version = {SCHEMA_VERSION} THEN 1 ELSE 0 END), ?"
    f" FROM pcc_schema WHERE id = 1{_SEEN_BY_FOLLOWERS}"
)
_TAKE_FURTHER_TURN = (
    "INSERT INTO account (account, generation, turns, changed)"
    f" VALUES (?, 0, 1, ?){_SEEN_BY_FOLLOWERS}"
)

_VALUES = re.compile(r" VALUES (\([^()]*\))")

STANDBY = "the server takes no writes: is it a standby?"


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


class ServerDatabase(ABC):
    """One connection to a server, opened when it is needed.

    `for_verdicts`: a deadline holds for all, and what fails is done again where that may help.

    Its children say how a driver connects, and what its errors mean.
    """

    follows = False
    conflicts: frozenset[object]
    """The codes of errors after which a transaction may be tried again."""
    elsewhere: frozenset[object]
    """The codes of errors after which another connection, or another host, may do better."""
    no_number: object
    """The code of a division by zero."""
    no_table: object
    """The code of the error that there is no such table."""
    done_before: frozenset[object] = frozenset()
    """The codes of errors of a definition that was carried out before."""
    version_query: str
    """Returns the schema's version, and whether the server takes no writes."""
    beginning: str
    """Begins a transaction."""
    commit = "COMMIT"
    error: type[Exception]
    """The base of the driver's errors."""

    def __init__(self, address: ServerAddress) -> None:
        self.name = address.shown
        self.read_only = False
        self.is_stale = False
        self.reason = ""
        self.for_verdicts = False
        self.timeline_file = ""
        self._address = address
        self._places = self.places()
        self._password = ""
        self._next_look = 0.0
        self._connection: Any = None
        self._is_busy = False  # within a transaction
        self._has_begun = False  # and the server knows of it
        self._waiting: list[Statement] = []  # of the transaction, not sent yet

    # The part that differs between drivers.

    def places(self) -> list[tuple[str, int]]:
        """Return name and port of each host, "" and 0 where the driver knows."""
        return list(self._address.hosts)

    @abstractmethod
    def connect(self, place: tuple[str, int], password: str, seconds: float) -> Any:
        """Return a new connection of the driver to a host, without a transaction.

        A host that is silent is given up after so many seconds.
        """

    @abstractmethod
    def is_lost(self, connection: Any) -> bool:
        """Whether a connection can't be used any more."""

    @abstractmethod
    def code(self, error: Exception) -> object:
        """Return the code that the server gave an error."""

    @abstractmethod
    def text(self, error: Exception) -> str:
        """Return what an error says."""

    @abstractmethod
    def execute(self, connection: Any, statements: list[Statement]) -> Any:
        """Carry out statements in one round trip, until one fails; return the last one's cursor."""

    @abstractmethod
    def definitions(self, sql: str) -> list[str]:
        """Return the statements of schema.sql, or of an upgrade, as this server has them."""

    def define(self, statement: str) -> None:
        """Carry out one of definitions()."""
        self.run(statement)

    # The interface of all engines, see pcc/store/engine/interface.py.

    def open(self) -> None:
        """Connect, and check that the database is one of this pcc."""
        self._require_our_version(self.open_any())

    def _open_again(self) -> None:
        """Connect again; what was current must not turn stale under a caller."""
        was_stale = self.is_stale
        self.open()
        if self.is_stale and not was_stale:
            self._abandon()
            raise AgainError(f"{self.name}: {STANDBY}")

    def open_any(self) -> int:
        """Connect; return the version of the schema, 0 where there is none.

        The first host that takes writes is taken, otherwise the first one that can be read.
        """
        try:
            self._password = self._address.find_password()
        except OSError as error:
            path = self._address.parameters["password_file"]
            raise StoreError(f"{self.name}: {path}: {error.strerror}") from None
        begin = time.monotonic()
        failures: list[str] = []
        standby: tuple[Any, int] | None = None
        for place in self._places:
            try:
                version, is_closed = self._open_at(place)
            except StoreError as error:
                failures.append(str(error).removeprefix(f"{self.name}: "))
                self._abandon()
                continue
            if not is_closed:
                if standby:
                    self._drop(standby[0])
                self.read_only = self.is_stale = False
                self.reason = ""
                self._places = [place, *[other for other in self._places if other != place]]
                return version
            if standby is None:
                standby = self._connection, version
            else:
                self._drop(self._connection)
            self._connection = None
        if standby is None:
            # No decision has the time for another attempt where the servers are silent.
            is_silent = time.monotonic() - begin > CONNECT_SECONDS / 2
            kind = StoreError if is_silent else AgainError
            raise kind(f"{self.name}: {'; '.join(dict.fromkeys(failures))}")
        self._connection, version = standby
        self.read_only = self.is_stale = True
        self.reason = STANDBY
        return version

    def _open_at(self, place: tuple[str, int]) -> tuple[int, bool]:
        """Connect to a host, and look at its database."""
        try:
            self._connection = self.connect(
                place, self._password, CONNECT_SECONDS / len(self._places)
            )
        except (self.error, OSError, RuntimeError, ValueError) as error:
            raise self._failure(error) from None  # drivers raise these also for options and files
        version, is_closed = self._look()
        return version, is_closed or self._is_overtaken()

    def _is_overtaken(self) -> bool:
        """Whether this host has seen another primary that took this one's place.

        `timeline_file` remembers the highest timeline for all processes of the host.
        """
        timeline = self.timeline() if self.timeline_file else 0
        if not timeline:
            return False
        try:
            with open(self.timeline_file, encoding="ascii") as file:
                highest = int(file.read())
        except (OSError, ValueError):
            highest = 0
        if timeline > highest:
            new = f"{self.timeline_file}.{posix.getpid()}"
            from pcc.store.engine.sidefile import rights_of_service_user  # once for a promotion

            try:
                with rights_of_service_user(new):
                    with open(new, "w", encoding="ascii") as file:
                        file.write(f"{timeline}\n")
                    posix.rename(new, self.timeline_file)
            except (OSError, StoreError):
                pass  # a full disk, say: this process knows no less than before
        return timeline < highest

    def timeline(self) -> int:
        """Return how often another server took the place of this one's primary, 0 for unknown."""
        return 0

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
        self._is_busy = self._has_begun = False
        self._waiting = []
        if connection is not None:
            self._drop(connection)

    def _drop(self, connection: Any) -> None:
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

    def write_later(self, statement: str, values: tuple[Any, ...] = ()) -> None:
        """Carry out one statement inside a transaction, with the next one that is sent."""
        self._waiting.append((statement, values))
        if len(self._waiting) >= MESSAGE_STATEMENTS:
            self._send()

    def write_many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Carry out one statement for each row of values, inside a transaction."""
        some: list[tuple[Any, ...]] = []
        length = 0
        for values in rows:
            some.append(values)
            length += sum([len(value) for value in values if isinstance(value, str)])
            if len(some) >= ROWS or length >= MESSAGE_CHARACTERS:
                self.write_some(statement, some)
                some = []
            if length >= MESSAGE_CHARACTERS:
                length = 0
                if self._waiting:
                    self._send()
        if some:
            self.write_some(statement, some)

    def write_some(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Carry out one statement for a few rows of values; an INSERT is one for all of them."""
        marks = _VALUES.search(statement)
        if marks is None:
            for values in rows:
                self.write_later(statement, values)
        else:
            start, end = marks.span(1)
            lists = ", ".join([marks[1]] * len(rows))
            values = tuple([value for row in rows for value in row])
            self.write_later(f"{statement[:start]}{lists}{statement[end:]}", values)

    def turn(self, *accounts: str) -> Turn:
        """Return what a `with` enters that locks these accounts."""
        return Turn(self, accounts)

    def in_turn(self, work: Callable[[], Result], *accounts: str) -> Result:
        """Return work(), done within `with turn(*accounts)`, and again after a conflict.

        So it is where the connection was lost; for verdicts even where the answer to COMMIT was.
        """

        def attempt() -> Result:
            with self.turn(*accounts):
                return work()

        return self.again(attempt)

    def again(self, work: Callable[[], Result]) -> Result:
        """Return work(), done again where it failed in a way that may be over soon."""
        end, pause = time.monotonic() + RETRY_SECONDS, FIRST_PAUSE
        while True:
            try:
                return work()
            except AgainError:
                if time.monotonic() + pause > end:
                    raise
            time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, LONGEST_PAUSE)

    def end_repeats(self, *accounts: str) -> None:  # noqa: B027, for every server
        """Do nothing: there is no cache of repeats."""

    def __enter__(self) -> ServerDatabase:
        """Begin a transaction without any account's lock."""
        self.begin(())
        return self

    def begin(self, accounts: tuple[str, ...]) -> None:
        """Begin a transaction, with the locks of these accounts; all of it with what is next."""
        if self._connection is None:
            self._open_again()
        elif self.read_only or not accounts:
            self.check_in_place()
        if self.read_only:
            raise AgainError(f"{self.name}: can't be written: {self.reason}")
        self._is_busy = True
        self._waiting = [(self.beginning, ())]
        if accounts:
            at = 0 if "" in accounts else time.time()  # the turn of no account is that to fold
            first, *others = [(account, at) for account in sorted(set(accounts))]
            self._waiting.append((_TAKE_TURN, first))
            self.write_many(_TAKE_FURTHER_TURN, others)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Commit, or roll back if an error got here.

        Verdicts are given again where the answer to COMMIT is lost.  An administrator's command
        would find what it has done itself.
        """
        try:
            if kind is None:
                self.run(self.commit)
        except StoreError as failure:
            if self._connection is None and not self.for_verdicts:
                raise StoreError(f"{failure}: look whether it was done") from None
            self._roll_back()
            raise
        else:
            if kind is not None:
                self._roll_back()
        finally:
            self._is_busy = self._has_begun = False

    def _roll_back(self) -> None:
        self._waiting = []
        if self._has_begun and self._connection is not None:
            try:
                self.run("ROLLBACK")
            except StoreError:
                self.close()  # the first error says more

    def sync(self) -> None:  # noqa: B027, nothing is what it does
        """Do nothing: COMMIT has waited for the disk as the server has it."""

    def is_free(self) -> bool:
        """Return True: writers to other accounts are not in the way."""
        return True

    def check_in_place(self) -> None:
        """Look whether the schema was upgraded, and for a server that takes writes.

        Outside transactions; afterwards the database may be stale, or not any more.
        """
        if self._connection is None:
            self.open()
        elif time.monotonic() >= self._next_look:
            version, is_closed = (0, True) if self.is_stale else self._look()
            if is_closed:
                self.close()
                self.open()
            else:
                self._require_our_version(version)

    def require_current(self) -> None:
        """Raise AgainError if the latest commits may be missing."""
        if self.is_stale:
            raise AgainError(f"{self.name}: its latest changes can't be read: {self.reason}")

    def checkpoint_if_due(self, *, in_background: bool = False) -> None:  # noqa: B027, as well
        """Do nothing: servers tidy up by themselves."""

    def tidy_in_background(self) -> bool:
        """Return False: a new process would need longer to connect than the caller to sort."""
        return False

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """Carry out a statement, after those that wait; return the driver's cursor."""
        self._waiting.append((statement, values))
        return self._send()

    def _send(self) -> Any:
        """Carry out the statements that wait in one round trip; return the last one's cursor."""
        statements, self._waiting = self._waiting, []
        if self._connection is None:
            if self._is_busy:
                raise AgainError(f"{self.name}: the connection was lost")
            self._open_again()
        self._has_begun = self._is_busy
        try:
            return self.execute(self._connection, statements)
        except (self.error, ValueError) as error:  # the latter: text that no server takes
            raise self._failure(error) from None
        except BaseException:  # the deadline's: what the server answers then is for nobody
            self._abandon()
            raise

    def _abandon(self) -> None:
        """Close the connection but stay in the transaction, which is lost with it."""
        is_busy = self._is_busy
        self.close()
        self._is_busy = is_busy

    def _failure(self, error: Exception) -> StoreError:
        """Return the error to be raised for one of the driver's."""
        code = self.code(error)
        is_lost = self._connection is not None and self.is_lost(self._connection)
        if is_lost or code in self.elsewhere:
            self._abandon()
        elif code == self.no_number:
            self._abandon()
            return self._other_version()
        if code == self.no_table:
            return NoSchemaError(version_message(self.name, 0))
        lines = [line.strip() for line in self.text(error).splitlines()]
        text = " ".join([line for line in lines if line])
        if self._password:
            text = text.replace(self._password, "***")
        kind = StoreError
        if is_lost or code in self.conflicts or code in self.elsewhere:
            kind = AgainError
        elif code in self.done_before:
            kind = DoneBeforeError
        return kind(f"{self.name}: {text}")

    def _other_version(self) -> StoreError:
        """Return what is wrong with the schema, which has another version by now."""
        other = type(self)(self._address)
        try:
            return StoreError(version_message(self.name, other.open_any()))
        except StoreError as error:
            return error
        finally:
            other.close()
