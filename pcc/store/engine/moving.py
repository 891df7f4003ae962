"""Copying a whole database to another one, of whichever engine, that is empty so far.

All is done in one transaction of the target, so that an interrupted copy leaves nothing behind.
It is also one of the source; a file takes no other writer meanwhile.  Rows are read in the order
of their keys, a batch at a time, and counted on both sides in the end.
"""

from __future__ import annotations

from functools import partial
from time import time
from typing import TYPE_CHECKING

from pcc.errors import StoreError
from pcc.store import open_database, ordered, sums, twice
from pcc.store.engine.creation import SCHEMA_FILE, create_or_upgrade
from pcc.store.engine.definitions import VERSION_TABLE_NAME, tables
from pcc.store.engine.server import ServerDatabase

if TYPE_CHECKING:
    from typing import Any

    from pcc.store.engine.definitions import Table
    from pcc.store.engine.interface import Database

    Row = tuple[Any, ...]

BATCH = 1000
"""Rows that are read at a time, and written by one call of the driver."""


def move(source_name: str, target_name: str, host: str) -> dict[str, int]:
    """Copy all rows of a database into an empty one; return how many of each table.

    The target's tables are made where they are missing.  `host` is what held mail of a file, which
    is that of this host, gets as its host on a server.  Raises StoreError.
    """
    source, target = open_database(source_name), None
    try:
        create_or_upgrade(target_name)
        target = open_database(target_name)
        to_move = tables(SCHEMA_FILE.read_text(encoding="utf-8"))
        to_move = [table for table in to_move if table.name != VERSION_TABLE_NAME]
        for table in to_move:
            if rows := _count(target, table):
                raise StoreError(f"{target.name}: is not empty: it has {rows} rows in {table.name}")
        sums.fold(source, time())
        copy = partial(_copy, source, target)
        with source:
            return target.in_turn(lambda: {table.name: copy(table, host) for table in to_move})
    finally:
        source.close()
        if target is not None:
            target.close()


def _copy(source: Database, target: Database, table: Table, host: str) -> int:
    columns = [column.name for column in table.columns]
    insert = (
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    )
    key = table.key or [column.name for column in table.columns if "PRIMARY KEY" in column.more]
    query = f"SELECT {', '.join(columns)} FROM {table.name}"
    order = f" ORDER BY {', '.join(key)} LIMIT {BATCH}"
    places = [columns.index(name) for name in key]
    rows = source.rows(f"{query}{order}")
    while rows:
        last = tuple(rows[-1][place] for place in places)
        if "host" in columns:  # this host has another name in the target
            at = columns.index("host")
            named = host if isinstance(target, ServerDatabase) else ""
            rows = [
                (*row[:at], named, *row[at + 1 :]) if row[at] in ("", host) else row for row in rows
            ]
        target.write_many(insert, rows)
        rows = source.rows(f"{query} WHERE {ordered(tuple(key), '>')}{order}", twice(last))
    before, after = _count(source, table), _count(target, table)
    if before != after:
        raise StoreError(
            f"{target.name}: {table.name} has {after} rows, not {before}: does mail still flow?"
        )
    return after


def _count(database: Database, table: Table) -> int:
    row = database.row(f"SELECT count(*) FROM {table.name}")
    return int(row[0]) if row else 0
