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
from pcc.host.packages import Undisturbed, reach_packages
from pcc.store.engine.definitions import Addition, Rekeying, Table, parts
from pcc.store.engine.server import (
    IDLE_SECONDS,
    STATEMENT_SECONDS,
    DoneBeforeError,
    NoSchemaError,
    ServerDatabase,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pcc.config.databaseurl import ServerAddress
    from pcc.store.engine.definitions import Column
    from pcc.store.engine.server import Statement

reach_packages()
try:
    with Undisturbed():
        import pymysql
        from pymysql.constants import CLIENT
except ImportError as error:
    raise StoreError(
        f"a MySQL or MariaDB database needs Python's PyMySQL: pip install PyMySQL ({error})"
    ) from None

LOCK_WAIT_TIMEOUT, LOCK_DEADLOCK = 1205, 1213
CHECKREAD = 1020  # MariaDB: the record has changed since it was read
ROLLED_BACK_BY_PLUGIN = 3101  # MySQL's Group Replication: another member was first
READ_ONLY_OPTION, READ_ONLY_TRANSACTION, READ_ONLY_MODE = 1290, 1792, 1836
NOT_READY, SHUTDOWN = 1047, 1053  # 1047: a node of Galera outside of its cluster
DIVISION_BY_ZERO = 1365
UNKNOWN_VARIABLE = 1193
NO_SUCH_TABLE = 1146
DUPLICATE_COLUMN, DUPLICATE_INDEX, DUPLICATE_ENTRY, NO_SUCH_INDEX = 1060, 1061, 1062, 1091

LONGEST_SECONDS = STATEMENT_SECONDS + 1
"""How long a process that gives verdicts waits for an answer; no server ends a COMMIT."""

LONGEST_KEY = {"account": 500, "value": 500, "host": 255}
"""Characters of a text that is in a key; a key has room for 768 in all."""
OTHER_KEY = 100


class MySQLDatabase(ServerDatabase):
    """One connection to MariaDB or MySQL."""

    conflicts = frozenset((LOCK_WAIT_TIMEOUT, LOCK_DEADLOCK, CHECKREAD, ROLLED_BACK_BY_PLUGIN))
    elsewhere = frozenset(
        (READ_ONLY_OPTION, READ_ONLY_TRANSACTION, READ_ONLY_MODE, NOT_READY, SHUTDOWN)
    )
    no_number = DIVISION_BY_ZERO
    no_table = NO_SUCH_TABLE
    done_before = frozenset((DUPLICATE_COLUMN, DUPLICATE_INDEX, DUPLICATE_ENTRY, NO_SUCH_INDEX))
    version_query = "SELECT version, @@global.read_only FROM pcc_schema"
    beginning = "START TRANSACTION"
    error = pymysql.Error

    def __init__(self, address: ServerAddress) -> None:
        super().__init__(address)
        self._texts: dict[str, str] = {}
        self._is_galera = False

    def connect(self, place: tuple[str, int], password: str, seconds: float) -> Any:
        """Return a new connection, each statement a transaction of its own."""
        address, parameters = self._address, self._address.parameters
        host, port = place
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
            connect_timeout=seconds,
            read_timeout=seconds,  # of its greeting, for which connect_timeout does not hold
            write_timeout=LONGEST_SECONDS if self.for_verdicts else None,
            # Count rows found, changed or not, as others do.
            client_flag=CLIENT.FOUND_ROWS | CLIENT.MULTI_STATEMENTS,
            program_name="pcc",
            **_encryption(parameters),
        )
        further = LONGEST_SECONDS if self.for_verdicts else None
        vars(connection)["_read_timeout"] = further
        try:
            if _ssl_mode(parameters) not in ("", "DISABLED") and not getattr(
                connection, "_secure", True
            ):
                raise pymysql.OperationalError("the server does not encrypt")  # old drivers go on
            self._begin_session(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_session(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            longest = f"max_execution_time = {STATEMENT_SECONDS * 1000}"  # of a SELECT
            if _is_mariadb(connection):
                idle = f"idle_transaction_timeout = {IDLE_SECONDS}"
                longest = f"max_statement_time = {STATEMENT_SECONDS}, {idle}"
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {STATEMENT_SECONDS}, {longest}")
            try:  # a node of Galera first applies what others had committed by now
                cursor.execute("SET SESSION wsrep_sync_wait = 1")
                cursor.execute("SELECT @@wsrep_on")
                self._is_galera = cursor.fetchone() == (1,)
            except self.error as error:
                if self.code(error) != UNKNOWN_VARIABLE:
                    raise

    def is_lost(self, connection: Any) -> bool:
        """Whether the connection is closed."""
        return not connection.open

    def code(self, error: Exception) -> object:
        """Return the error's number."""
        return error.args[0] if error.args else None

    def text(self, error: Exception) -> str:
        """Return the server's or the driver's message."""
        return str(error.args[-1] if error.args else error) or "the connection was lost"

    def execute(self, connection: Any, statements: list[Statement]) -> Any:
        """Carry out statements, until one fails, in one round trip; return the last one's cursor.

        A node of Galera gets each in a message of its own.  It rolls a transaction back where
        another node was first.  Between two statements of a message it does so without an error.
        Then it carries out the rest of them, and commits each by itself.
        """
        cursor = connection.cursor()
        messages = [[one] for one in statements] if self._is_galera else [statements]
        for message in messages:
            texts = [self._text(statement) for statement, _ in message]
            values = [value for _, bound in message for value in bound]
            cursor.execute(";".join(texts), values or None)
            while cursor.nextset():
                pass
        return cursor

    def _text(self, statement: str) -> str:
        """Return a statement of ours, none of which has a `%`, as MySQL has it."""
        text = self._texts.get(statement)
        if text is None:
            text = re.sub(
                r"ON CONFLICT \(.*?\) DO UPDATE SET", "ON DUPLICATE KEY UPDATE", statement
            )
            text = re.sub(r"\bexcluded\.(\w+)", r"VALUES(\1)", text).replace("?", "%s")
            self._texts[statement] = text
        return text

    def definitions(self, sql: str) -> list[str]:
        """Return the statements of schema.sql, or of an upgrade, as this server has them."""
        is_mariadb = _is_mariadb(self._connection)
        collation = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
        found = ["SET SESSION max_statement_time = 0"] if is_mariadb else []
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
            elif isinstance(part, Rekeying):
                key = part.table.key
                lines = [_line(column, {*key}) for column in part.table.columns]
                lines = [f"MODIFY {line}" for line in lines if line.split()[0] in key]
                lines += ["DROP PRIMARY KEY", f"ADD PRIMARY KEY ({', '.join(key)})"]
                found.append(f"ALTER TABLE {part.table.name} {', '.join(lines)}")
            else:
                text = part.replace("INDEX IF NOT EXISTS", "INDEX")  # see define()
                found.append(re.sub(r"(DROP INDEX (\w+)_by_\w+)", r"\1 ON \2", text))
        return found

    def define(self, statement: str) -> None:
        """Carry out one of definitions(), unless an init did so that was interrupted then.

        MySQL commits after each statement that defines something.
        """
        try:
            self.run(statement)
        except (DoneBeforeError, NoSchemaError):  # the table to be renamed has its new name
            pass


def _is_mariadb(connection: Any) -> bool:
    return "mariadb" in connection.get_server_info().lower()


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
    return f"{column.name} {kind} {more}"


_TYPES = {"INTEGER": "bigint", "REAL": "double", "TEXT": "varchar"}
