"""The definitions of schema.sql, for engines other than SQLite.

schema.sql is written for SQLite in so few words that the rest can be translated
word by word: three types, `INTEGER PRIMARY KEY` with or without AUTOINCREMENT,
which here means that ids are given by the server, WITHOUT ROWID, which only
SQLite has a use for, and REFERENCES, which tell readers what belongs together:
no engine is asked to enforce them, SQLite neither.  `user_version` becomes the
one row of the table `pcc_schema`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

VERSION_TABLE_NAME = "pcc_schema"
VERSION_TABLE = f"""
CREATE TABLE {VERSION_TABLE_NAME} (
    id INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (id)
);
"""


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


def tables(schema: str) -> list[Table]:
    """Return the tables of schema.sql, and the one with its version last."""
    found: dict[str, Table] = {}
    for statement in _statements(schema + VERSION_TABLE):
        if index := re.fullmatch(r"CREATE INDEX (\w+) ON (\w+) \((.*)\)", statement):
            name, table, columns = index.groups()
            found[table].indexes[name] = columns.split(", ")
        elif table := re.fullmatch(r"CREATE TABLE (\w+) \( (.*) \)(?: WITHOUT ROWID)?", statement):
            found[table[1]] = _table(table[1], table[2])
        elif not statement.startswith("PRAGMA "):
            raise AssertionError(f"schema.sql: can't be translated: {statement}")
    return list(found.values())


def _statements(schema: str) -> list[str]:
    """Return the statements without comments, each on one line, blanks between words."""
    plain = re.sub(r"--.*", "", schema)
    words = [" ".join(statement.split()) for statement in plain.split(";")]
    return [re.sub(r" ?, ?", ", ", text) for text in words if text]


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
