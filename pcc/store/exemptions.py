"""What administrators have exempted, beside pcc.toml: accounts, domains and clients."""

from __future__ import annotations

from typing import NamedTuple

from pcc.store import blocks, upsert
from pcc.store.interface import Database


class ExemptionRow(NamedTuple):
    """An exemption in the database; `until` is 0 for one that does not end."""

    kind: str
    value: str
    until: float
    by: str
    reason: str


def all_exemptions(database: Database) -> list[ExemptionRow]:
    """Return all exemptions in the database, expired ones too."""
    rows = database.rows(
        "SELECT kind, value, until, who, reason FROM exemption ORDER BY kind, value"
    )
    return [ExemptionRow(*row) for row in rows]


def add(
    database: Database, kind: str, value: str, until: float, by: str, reason: str, now: float
) -> None:
    """Add an exemption, or change the one that is there."""
    with database:
        write_exemption(database, kind, value, until, by, reason, now)
    database.sync()


def write_exemption(
    database: Database, kind: str, value: str, until: float, by: str, reason: str, now: float
) -> None:
    """Add or change an exemption inside the caller's transaction."""
    database.write(
        upsert("exemption", ("kind", "value"), ("until", "created", "who", "reason")),
        (kind, value, until, now, by, reason),
    )
    if kind == "account":
        blocks.add_event(database, value, "exempted", by, reason, now)


def remove(database: Database, kind: str, value: str, by: str, now: float) -> bool:
    """Remove an exemption; return whether it was there."""
    with database:
        removed = database.write(
            "DELETE FROM exemption WHERE kind = ? AND value = ?", (kind, value)
        )
        if removed and kind == "account":
            blocks.add_event(database, value, "exemption removed", by, "", now)
    database.sync()
    return bool(removed)
