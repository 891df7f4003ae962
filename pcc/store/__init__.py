"""What pcc remembers, in a local SQLite file or on a database server.

`sqlite` is the file's engine; `interface` says what an engine offers.
`sightings` is what a verdict reads and writes, `blocks` what it writes where an
account is blocked; `incidents`, `exemptions`, `outbox` and `upkeep` are what
administrators and cron work with.  All SQL of pcc is in this package and in
schema.sql.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pcc.store.interface import Database


def open_database(name: str) -> Database:
    """Open the database of the option `store.database`.  Raises StoreError."""
    from pcc.store.sqlite import SQLiteDatabase

    return SQLiteDatabase(name)


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
