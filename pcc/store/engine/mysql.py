"""The engine for MariaDB and MySQL, by the driver PyMySQL.

This module evens out the differences from the standard.  One statement is worded in another way.
Names and texts are compared byte by byte, and texts in a key have a longest length.  The session's
settings are set when it begins.  A proxy between us and the server has to keep them, as they all
do.
"""

from __future__ import annotations

import re
from itertools import chain

from pcc.errors import StoreError
from pcc.host.packages import reach_packages
from pcc.store.engine.definitions import Addition, Table, parts
from pcc.store.engine.server import (
    CONNECT_SECONDS,
    STATEMENT_SECONDS,
    DoneBeforeError,
    NoSchemaError,
    ServerDatabase,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pcc.store.engine.definitions import Column

reach_packages()
try:
    import pymysql
    from pymysql.constants import CLIENT
except ImportError as error:
    raise StoreError(
        f"a MySQL or MariaDB database needs Python's PyMySQL: pip install PyMySQL ({error})"
    ) from None

LOCK_DEADLOCK = 1213
CHECKREAD = 1020  # MariaDB: the record has changed since it was read
NO_SUCH_TABLE = 1146
DUPLICATE_COLUMN, DUPLICATE_INDEX, DUPLICATE_ENTRY = 1060, 1061, 1062

LONGEST_KEY = {"account": 500, "value": 500, "host": 255}
"""Characters of a text that is in a key; a key has room for 768 in all."""
OTHER_KEY = 100


class MySQLDatabase(ServerDatabase):
    """One connection to MariaDB or MySQL."""

    conflicts = frozenset((LOCK_DEADLOCK, CHECKREAD))
    no_table = NO_SUCH_TABLE
    done_before = frozenset((DUPLICATE_COLUMN, DUPLICATE_INDEX, DUPLICATE_ENTRY))
    version_query = "SELECT version, @@global.read_only FROM pcc_schema"
    beginning = "START TRANSACTION"
    error = pymysql.Error

    def connect(self, password: str) -> Any:
        """Return a new connection, each statement a transaction of its own."""
        address, parameters = self._address, self._address.parameters
        host, port = address.hosts[0]
        connection = pymysql.connect(
            host=host or "localhost",
            port=port,
            user=address.user or None,
            password=password,
            database=address.database,
            unix_socket=parameters.get("unix_socket"),
            read_default_file=parameters.get("read_default_file"),
            read_default_group=parameters.get("read_default_group"),
            charset="utf8mb4",
            sql_mode="TRADITIONAL",
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            client_flag=CLIENT.FOUND_ROWS,  # count rows found, changed or not, as others do
            program_name="pcc",
            **_encryption(parameters),
        )
        try:
            if _ssl_mode(parameters) not in ("", "DISABLED") and not getattr(
                connection, "_secure", True
            ):
                raise pymysql.OperationalError("the server does not encrypt")  # old drivers go on
            with connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {STATEMENT_SECONDS}")
        except BaseException:
            connection.close()
            raise
        return connection

    def is_lost(self, connection: Any) -> bool:
        """Whether the connection is closed."""
        return not connection.open

    def code(self, error: Exception) -> object:
        """Return the error's number."""
        return error.args[0] if error.args else None

    def text(self, error: Exception) -> str:
        """Return the server's or the driver's message."""
        return str(error.args[-1] if error.args else error) or "the connection was lost"

    def translated(self, statement: str) -> str:
        """Return a statement of ours as MySQL has it."""
        text = re.sub(r"ON CONFLICT \(.*?\) DO UPDATE SET", "ON DUPLICATE KEY UPDATE", statement)
        return super().translated(re.sub(r"\bexcluded\.(\w+)", r"VALUES(\1)", text))

    def insert(self, statement: str, values: tuple[Any, ...]) -> int:
        """Insert one row inside a transaction; return its id."""
        return int(self.run(statement, values).lastrowid)

    def definitions(self, sql: str) -> list[str]:
        """Return the statements of schema.sql, or of an upgrade, as this server has them."""
        is_mariadb = "mariadb" in self._connection.get_server_info().lower()
        collation = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
        found = []
        for part in parts(sql):
            if isinstance(part, Table):
                in_key = {*part.key, *chain.from_iterable(part.indexes.values())}
                lines = [_line(column, in_key) for column in part.columns]
                lines += [f"KEY {name} ({', '.join(keys)})" for name, keys in part.indexes.items()]
                text = part.with_lines(lines)
                text = text.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)
                end = f"ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE {collation}"
                found.append(f"{text} {end}")
            elif isinstance(part, Addition):
                line = _line(part.column, set())
                found.append(f"ALTER TABLE {part.table} ADD COLUMN {line}")
            else:
                found.append(part.replace("INDEX IF NOT EXISTS", "INDEX"))  # see define()
        return found

    def define(self, statement: str) -> None:
        """Carry out one of definitions(), unless an init did so that was interrupted then.

        MySQL commits after each statement that defines something.
        """
        try:
            self.run(statement)
        except (DoneBeforeError, NoSchemaError):  # the table to be renamed has its new name
            pass

    def follow_ids(self, table: str) -> None:
        """Do nothing: MySQL looks at the ids that rows were written with."""


def _encryption(parameters: dict[str, str]) -> dict[str, Any]:
    """Return the driver's options for the URL's; without any it encrypts if the server can."""
    mode = _ssl_mode(parameters)
    if not mode:
        return {}
    if mode == "DISABLED":
        return {"ssl_disabled": True}
    files = {
        name: parameters[f"ssl-{name}"]
        for name in ("ca", "cert", "key")
        if f"ssl-{name}" in parameters
    }
    checks = {"verify_mode": mode != "REQUIRED", "check_hostname": mode == "VERIFY_IDENTITY"}
    return {"ssl": {**files, **checks}}


def _ssl_mode(parameters: dict[str, str]) -> str:
    """Return the mode that the URL has, or that follows from its files."""
    ours = "VERIFY_CA" if "ssl-ca" in parameters else "REQUIRED" if "ssl-cert" in parameters else ""
    return parameters.get("ssl-mode", ours)


def _line(column: Column, in_key: set[str]) -> str:
    kind = _TYPES[column.kind]
    if kind == "varchar" and (column.name in in_key or "PRIMARY KEY" in column.more):
        kind = f"varchar({LONGEST_KEY.get(column.name, OTHER_KEY)})"
    elif kind == "varchar":
        kind = "mediumtext" if column.name.endswith("mails") else "text"  # a text has 64 KB
    # MySQL, not MariaDB, refuses a literal as default of a text, but not an expression.
    more = column.more.replace("DEFAULT ''", "DEFAULT ('')")
    return f"{column.name} {kind} {more}{' AUTO_INCREMENT' if column.is_id else ''}"


_TYPES = {"INTEGER": "bigint", "REAL": "double", "TEXT": "varchar"}
