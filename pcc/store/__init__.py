"""The memory of pcc, in a local SQLite file or on a database server.

`sqlite` is the file's engine, `server` with `postgresql` and `mysql` those of
servers, imported only where the configuration names one; `interface` says what
an engine offers.
`repeats`, `sightings` and `networks` are what a verdict reads and writes,
`blocks` what it writes where an account is blocked, `sums` what is folded from
the log of its counts.  The others are what administrators and cron work with.
All SQL of pcc is in this package and in schema.sql.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pcc.store.engine.interface import Database
    from pcc.store.engine.server import ServerDatabase


SCHEMA_VERSION = 3
"""That of schema.sql."""


def open_database(name: str, *, for_verdicts: bool = False, host_file: str = "") -> Database:
    """Open the database of the option `store.database`.  Raises StoreError.

    A server is connected to at the first statement if it is `for_verdicts`.  With `host_file`, the
    path of the host's file, an old primary that another server took the place of is a standby.
    """
    if "://" in name:
        database = server_database(name)
        database.timeline_file = f"{host_file}.timeline" if host_file else ""
        if for_verdicts:
            database.for_verdicts = True
        else:
            database.open()
        return database
    from pcc.store.engine.sqlite import SQLiteDatabase

    return SQLiteDatabase(name)


def server_database(url: str) -> ServerDatabase:
    """Return the database on a server, not yet connected.  Raises StoreError."""
    from pcc.config.databaseurl import ServerAddress
    from pcc.errors import StoreError

    try:
        address = ServerAddress(url)
    except ValueError as error:
        raise StoreError(f"the database's URL {error}") from None
    if address.scheme == "mysql":
        from pcc.store.engine.mysql import MySQLDatabase

        return MySQLDatabase(address)
    from pcc.store.engine.postgresql import PostgreSQLDatabase

    return PostgreSQLDatabase(address)


def version_message(name: str, version: int) -> str:
    """Return what is wrong with a database that has another schema version, 0 for none."""
    if version == 0:
        return f"{name}: is not a database of pcc: run pcc_admin.py init"
    if version < SCHEMA_VERSION:
        needed = f"this pcc needs {SCHEMA_VERSION}: run pcc_admin.py init"
    else:
        needed = f"this pcc knows only up to {SCHEMA_VERSION}: use the newer pcc that wrote it"
    return f"{name}: has schema version {version}, {needed}"


def upsert(table: str, key: tuple[str, ...], others: tuple[str, ...], assignments: str = "") -> str:
    """Return the statement that writes a row, in place of one with the same key.

    `assignments` are for columns that depend on what the row was before; they come first, because
    MySQL carries out one after the other.
    """
    columns = (*key, *others)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {assignments}"
        + ", ".join([f"{column} = excluded.{column}" for column in others])
    )


def ordered(key: tuple[str, ...], than: str) -> str:
    """Return the condition that rows come after another in the order of a key.

    Those do with `than` ">", and all the others with "<=".  Its values: each of the other's key
    twice, but the last once; see twice().  Not `(a, b) > (?, ?)`, for which MySQL would read the
    whole table.
    """
    first, *rest = key
    if not rest:
        return f"{first} {than} ?"
    inner = ordered(tuple(rest), than)
    return f"{first} {than[0]}= ? AND ({first} {than[0]} ? OR {inner})"


def twice(values: tuple[object, ...]) -> tuple[object, ...]:
    """Return the values that ordered() needs."""
    return (*[value for value in values[:-1] for _ in range(2)], values[-1])
