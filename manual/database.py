"""The tables of the database in Markdown, from schema.sql."""

from __future__ import annotations

import re
from pathlib import Path

from manual.commands import marked
from pcc.store.engine.definitions import tables

SCHEMA = Path(__file__).resolve().parent.parent / "schema.sql"


def about() -> str:
    """Return the comment at the head of schema.sql."""
    return _comment(SCHEMA.read_text(encoding="utf-8"))


def described_tables() -> str:
    """Return each table with what it is and its columns."""
    schema = SCHEMA.read_text(encoding="utf-8")
    lines = []
    for table in tables(schema):
        found = re.search(
            rf"((?:^--[^\n]*\n)+)CREATE TABLE {table.name} \((.*?)^\)", schema, re.DOTALL | re.M
        )
        if not found:
            continue  # that of servers alone
        lines += [f"## {table.name}", "", _comment(found[1]), ""]
        lines += ["| column | type | |", "|---|---|---|"]
        for column in table.columns:
            line = re.search(rf"^ +{column.name} .*?(?:-- (.*))?$", found[2], re.MULTILINE)
            text = marked((line and line[1]) or "").replace("|", "\\|")
            lines.append(f"| `{column.name}` | {column.kind} | {text} |")
        lines.append("")
    return "\n".join(lines)


def _comment(text: str) -> str:
    """Return the lines of the comment that a text begins with, as one paragraph."""
    found = re.match(r"(?:--.*\n)+", text)
    return marked(" ".join(line.lstrip("- ") for line in found[0].splitlines())) if found else ""
