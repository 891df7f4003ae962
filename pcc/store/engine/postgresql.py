"""The engine for servers that speak PostgreSQL's protocol, by the driver psycopg2.

CockroachDB and YugabyteDB do as well: nothing is used that they lack.  A statement that a process
sends a second time is prepared, because planning it takes longer than carrying it out.  Its name
follows from its text.  So a pooler that gives each transaction another session (PgBouncer's
transaction pooling) can't make a statement of it that says something else.  There a prepared
statement may be missing: then this process prepares no more.  With `prepare=no` in the URL none
does.

Only the driver's C module is imported, which needs a third of the time.  It waits for the server
by `_wait`: libpq by itself would not be interrupted by a deadline.
"""

from __future__ import annotations

import re
import sys
from _frozen_importlib_external import PathFinder
from binascii import crc32
from select import POLLIN, POLLOUT, poll
from time import monotonic

from pcc.errors import StoreError
from pcc.host.packages import Undisturbed, reach_packages
from pcc.store.engine.definitions import Addition, Rekeying, Table, parts
from pcc.store.engine.server import IDLE_SECONDS, STATEMENT_SECONDS, ServerDatabase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pcc.config.databaseurl import ServerAddress
    from pcc.store.engine.definitions import Column
    from pcc.store.engine.server import Statement


def _driver() -> Any:
    """Return psycopg2's C module; its package, and ssl, which that imports, are left out.

    ssl would set up locks that OpenSSL has not needed since 1.1.
    """
    package = "psycopg2"
    spec = PathFinder.find_spec(package)
    if spec is None or package in sys.modules:
        import psycopg2._psycopg as driver

        return driver
    without_init = type(sys)(package)
    without_init.__path__ = list(spec.submodule_search_locations or ())
    sys.modules[package] = without_init
    absent: Any = None
    has_ssl = "ssl" in sys.modules
    if not has_ssl:
        sys.modules["ssl"] = absent
    try:
        import psycopg2._psycopg as driver
    finally:
        del sys.modules[package]
        if not has_ssl:
            del sys.modules["ssl"]
    return driver


reach_packages()
try:
    with Undisturbed():
        psycopg2 = _driver()
except ImportError as error:
    raise StoreError(
        f"a PostgreSQL database needs Python's psycopg2: pip install psycopg2-binary ({error})"
    ) from None

SERIALIZATION_FAILURE = "40001"
DEADLOCK_DETECTED = "40P01"
READ_ONLY_TRANSACTION = "25006"
ADMIN_SHUTDOWN, CRASH_SHUTDOWN, CANNOT_CONNECT_NOW = "57P01", "57P02", "57P03"
NO_PREPARED_STATEMENT, DUPLICATE_PREPARED_STATEMENT = "26000", "42P05"

PREPARED = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""The first words of the statements that PostgreSQL prepares."""

_NEVER_PREPARED = re.compile(r"pcc_schema|\(VALUES")
"""A version is read when no lock is waited for; and a list of values would be one of texts."""


class PostgreSQLDatabase(ServerDatabase):
    """One connection to PostgreSQL."""

    conflicts = frozenset((SERIALIZATION_FAILURE, DEADLOCK_DETECTED))
    elsewhere = frozenset(
        (
            *(READ_ONLY_TRANSACTION, ADMIN_SHUTDOWN, CRASH_SHUTDOWN, CANNOT_CONNECT_NOW),
            *(NO_PREPARED_STATEMENT, DUPLICATE_PREPARED_STATEMENT),
        )
    )
    no_number = "22012"
    no_table = "42P01"
    version_query = "SELECT version, current_setting('transaction_read_only') FROM pcc_schema"
    beginning = (
        "BEGIN ISOLATION LEVEL READ COMMITTED;"
        f" SET LOCAL statement_timeout = {STATEMENT_SECONDS * 1000};"
        f" SET LOCAL idle_in_transaction_session_timeout = {IDLE_SECONDS * 1000}"
    )
    # A COMMIT that waits for a standby would end its waiting then, and say that all is well.
    commit = "SET LOCAL statement_timeout = 0; COMMIT"
    error = psycopg2.Error

    def __init__(self, address: ServerAddress) -> None:
        super().__init__(address)
        self._may_prepare = address.parameters.get("prepare") != "no"
        self._texts: dict[str, str] = {}
        self._used: set[str] = set()
        self._prepared: set[str] = set()  # of this connection

    def places(self) -> list[tuple[str, int]]:
        """Return name and port of each host, those of libpq's parameters where they are there."""
        names = [name for name, _ in self._address.hosts]
        ports = [str(port or "") for _, port in self._address.hosts]
        parameters = self._address.parameters
        if not any(names) and "host" in parameters:
            names = parameters["host"].split(",")
        if not any(ports):
            ports = parameters.get("port", "").split(",")
        if len(ports) == 1:
            ports *= len(names)
        return [(name, int(port or 0)) for name, port in zip(names, ports, strict=False)]

    def connect(self, place: tuple[str, int], password: str, seconds: float) -> Any:
        """Return a new connection, each statement a transaction of its own."""
        address = self._address
        host, port = place
        options: dict[str, Any] = {
            "application_name": "pcc",
            "dbname": address.database,
            "user": address.user,
            "client_encoding": "UTF8",
            **address.parameters,
        }
        for ours in ("password_file", "prepare", "target_session_attrs"):
            options.pop(ours, None)
        options |= {"host": host, "port": port or "", "password": password}
        quoted = {name: _quoted(value) for name, value in options.items() if value}
        self._prepared.clear()
        _wait.end = monotonic() + min(seconds, float(options.get("connect_timeout", seconds)))
        try:
            connection = psycopg2._connect(
                " ".join([f"{name}='{value}'" for name, value in quoted.items()]), None
            )
        finally:
            _wait.end = 0
        connection.autocommit = True
        return connection

    def timeline(self) -> int:
        """Return the server's timeline, which each promotion raises."""
        try:
            row = self.row("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)")
        except StoreError:  # another server that speaks the protocol
            return 0
        return int(row[0], 16) if row else 0

    def is_lost(self, connection: Any) -> bool:
        """Whether the connection is closed."""
        return bool(connection.closed)

    def code(self, error: Exception) -> object:
        """Return the SQLSTATE."""
        return getattr(error, "pgcode", None)

    def text(self, error: Exception) -> str:
        """Return the server's message."""
        return str(error)

    def execute(self, connection: Any, statements: list[Statement]) -> Any:
        """Carry out statements in one round trip, until one fails; return the last one's cursor."""
        cursor = connection.cursor()
        prepared = self._prepared.copy()
        texts = [self._text(statement, prepared) for statement, _ in statements]
        values = [value for _, bound in statements for value in bound]
        try:
            cursor.execute(";".join(texts), values or None)
        except psycopg2.Error as error:
            if error.pgcode in (NO_PREPARED_STATEMENT, DUPLICATE_PREPARED_STATEMENT):
                self._may_prepare = False  # a pooler has given us another session
            raise
        self._prepared = prepared
        return cursor

    def _text(self, statement: str, prepared: set[str]) -> str:
        """Return a statement as it is sent, prepared if it is used again."""
        text = self._texts.get(statement)
        if text is None:
            text = self._texts[statement] = statement.replace("?", "%s")
        if not (self.for_verdicts and self._may_prepare):
            return text
        if statement not in self._used:
            if statement.lstrip().startswith(PREPARED) and not _NEVER_PREPARED.search(statement):
                self._used.add(statement)
            return text
        name = f"pcc_{crc32(statement.encode()):x}_{len(statement)}"
        marks = ["%s"] * statement.count("?")
        execution = f"EXECUTE {name} ({', '.join(marks)})" if marks else f"EXECUTE {name}"
        if statement in prepared:
            return execution
        prepared.add(statement)
        first, *rest = statement.split("?")
        numbered = first + "".join([f"${number}{part}" for number, part in enumerate(rest, 1)])
        return f"PREPARE {name} AS {numbered};{execution}"

    def write_some(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """Carry out one statement for a few rows of values; an UPDATE is one for all of them."""
        if len(rows) == 1 or not statement.startswith("UPDATE "):
            super().write_some(statement, rows)
            return
        first, *rest = statement.split("?")
        text = first + "".join([f"given.c{number}{part}" for number, part in enumerate(rest, 1)])
        setting, _, where = text.partition(" WHERE ")
        marks = f"({', '.join('?' * len(rest))})"
        columns = ", ".join([f"c{number}" for number in range(1, len(rest) + 1)])
        self.write_later(
            f"{setting} FROM (VALUES {', '.join([marks] * len(rows))}) AS given ({columns})"
            f" WHERE {where}",
            tuple([value for values in rows for value in values]),
        )

    def definitions(self, sql: str) -> list[str]:
        """Return the statements of schema.sql, or of an upgrade, as this server has them."""
        found = ["SET LOCAL statement_timeout = 0"]
        for part in parts(sql):
            if isinstance(part, Table):
                found.append(part.with_lines([_line(column) for column in part.columns]))
                for name, columns in part.indexes.items():
                    found.append(f"CREATE INDEX {name} ON {part.name} ({', '.join(columns)})")
            elif isinstance(part, Addition):
                found.append(f"ALTER TABLE {part.table} ADD COLUMN {_line(part.column)}")
            elif isinstance(part, Rekeying):
                name, key = part.table.name, ", ".join(part.table.key)
                alter = f"ALTER TABLE {name}"
                found.append(f"{alter} DROP CONSTRAINT {name}_pkey, ADD PRIMARY KEY ({key})")
                if "id" in part.table.key:  # which the server gave
                    found.append(f"{alter} ALTER COLUMN id DROP IDENTITY IF EXISTS")
            else:
                found.append(part)
        return found


_TYPES = {"INTEGER": "bigint", "REAL": "double precision", "TEXT": "text"}


def _line(column: Column) -> str:
    return f"{column.name} {_TYPES[column.kind]} {column.more}"


def _quoted(value: object) -> str:
    """Return a value as it stands within quotes in a string of libpq's parameters."""
    return str(value).replace("\\", "\\\\").replace("'", "\\'")


class _Waiting:
    """Waits for the server, in such a way that an alarm is heard.

    `end`: when a server that is being connected to is given up, 0 while none is.
    """

    end: float = 0

    def __call__(self, connection: Any) -> None:
        """Wait until what the driver does is done."""
        while (state := connection.poll()) != POLL_OK:
            poller = poll()
            poller.register(connection.fileno(), POLLIN if state == POLL_READ else POLLOUT)
            milliseconds = max(0, self.end - monotonic()) * 1000 if self.end else None
            if not poller.poll(milliseconds):
                raise psycopg2.OperationalError("the server does not answer")


POLL_OK, POLL_READ = 0, 1

_wait = _Waiting()
psycopg2.set_wait_callback(_wait)
