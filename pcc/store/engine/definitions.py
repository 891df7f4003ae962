"""The definitions of schema.sql and of upgrades, for engines other than SQLite.

Both are written for SQLite in few words, which can be translated one by one.  There are three
types.  `INTEGER PRIMARY KEY` with or without AUTOINCREMENT means here that the server gives the
ids.  Only SQLite has a use for WITHOUT ROWID.  REFERENCES show readers what belongs together: no
engine enforces them, SQLite neither.  `user_version` becomes the one row of the table
`pcc_schema`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

VERSION_TABLE_NAME = "pcc_schema"


class Column(NamedTuple):
    """A column: `kind` is TEXT, REAL or INTEGER, `more` the rest of its line.

    `is_id`: its values are given by the database.
    """

    name: str
    kind: str
    more: str
    is_id: bool


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


def parts(sql: str) -> list[Table | Addition | str]:
    """Return what the statements define, and as text those that all engines understand.

    An index is part of its table where that is made here.  A PRAGMA of the version makes the table
    `pcc_schema`.
    """
    made: dict[str, Table] = {}
    found: list[Table | Addition | str] = []
    # Each statement without comments, on one line, blanks between words.
    for text in re.sub(r"--.*", "", sql).split(";"):
        statement = re.sub(r" ?, ?", ", ", " ".join(text.split()))
        index = re.fullmatch(r"CREATE INDEX (\w+) ON (\w+) \((.*)\)", statement)
        if index and index[2] in made:
            made[index[2]].indexes[index[1]] = index[3].split(", ")
        elif table := re.fullmatch(r"CREATE TABLE (\w+) \( (.*) \)(?: WITHOUT ROWID)?", statement):
            made[table[1]] = _table(table[1], table[2])
            found.append(made[table[1]])
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
    more = re.sub(r" ?REFERENCES \w+ \(\w+\)( ON DELETE CASCADE)?", "", " ".join(rest))
    is_id = kind == "INTEGER" and more.startswith("PRIMARY KEY")
    return Column(name, kind, "PRIMARY KEY" if is_id else more, is_id)
