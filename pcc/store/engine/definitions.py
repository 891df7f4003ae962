"""The definitions of schema.sql and of upgrades, for engines other than SQLite.

Both are written for SQLite in few words, which can be translated one by one.  There are three
types.  Only SQLite has a use for WITHOUT ROWID.  `user_version` becomes the one row of the table
`pcc_schema`.  SQLite can't change the key of a table: an upgrade makes `new_NAME`, copies all rows,
drops `NAME` and renames.  Servers change the key in one statement.
"""

from __future__ import annotations

import re
from typing import NamedTuple

VERSION_TABLE_NAME = "pcc_schema"


class Column(NamedTuple):
    """A column: `kind` is TEXT, REAL or INTEGER, `more` the rest of its line."""

    name: str
    kind: str
    more: str


class Table(NamedTuple):
    """A table; `key` is empty where a column's line says that it is the key."""

    name: str
    columns: list[Column]
    key: list[str]
    indexes: dict[str, list[str]]

    def with_lines(self, lines: list[str]) -> str:
        """Return the statement that makes the table with these lines, and its key."""
        key = [f"PRIMARY KEY ({', '.join(self.key)})"] if self.key else []
        return f"CREATE TABLE {self.name} ({', '.join([*lines, *key])})"


class Addition(NamedTuple):
    """A column that an upgrade adds to a table."""

    table: str
    column: Column


class Rekeying(NamedTuple):
    """A table that gets another key in an upgrade, as it is then."""

    table: Table


def parts(sql: str) -> list[Table | Addition | Rekeying | str]:
    """Return what the statements define, and as text those that all engines understand.

    An index is part of its table where that is made here.  A PRAGMA of the version makes the table
    `pcc_schema`.
    """
    made: dict[str, Table] = {}
    found: list[Table | Addition | Rekeying | str] = []
    # Each statement without comments, on one line, blanks between words.
    for text in re.sub(r"--.*", "", sql).split(";"):
        statement = re.sub(r" ?, ?", ", ", " ".join(text.split()))
        index = re.fullmatch(r"CREATE INDEX (\w+) ON (\w+) \((.*)\)", statement)
        if index and index[2] in made:
            made[index[2]].indexes[index[1]] = index[3].split(", ")
        elif table := re.fullmatch(r"CREATE TABLE (\w+) \( (.*) \)(?: WITHOUT ROWID)?", statement):
            name = table[1].removeprefix("new_")
            made[name] = _table(name, table[2])
            found.append(made[name] if name == table[1] else Rekeying(made[name]))
        elif " new_" in statement or statement.removeprefix("DROP TABLE ") in made:
            pass  # SQLite's way to another key
        elif added := re.fullmatch(r"ALTER TABLE (\w+) ADD COLUMN (.*)", statement):
            found.append(Addition(added[1], _column(added[2])))
        elif statement.startswith("PRAGMA user_version"):
            columns = "id INTEGER NOT NULL PRIMARY KEY, version INTEGER NOT NULL"
            found.append(_table(VERSION_TABLE_NAME, columns))
        elif statement and not statement.startswith("PRAGMA "):
            found.append(statement)
    return found


def tables(schema: str) -> list[Table]:
    """Return the tables of schema.sql, and the one with its version."""
    return [part for part in parts(schema) if isinstance(part, Table)]


def _table(name: str, body: str) -> Table:
    key = re.search(r", PRIMARY KEY \((.*)\)$", body)
    lines = body[: key.start()].split(", ") if key else body.split(", ")
    columns = [_column(line) for line in lines]
    return Table(name, columns, key[1].split(", ") if key else [], {})


def _column(line: str) -> Column:
    name, kind, *rest = line.split(" ", 2)
    return Column(name, kind, " ".join(rest))
