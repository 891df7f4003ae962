"""The exemptions of administrators, beside pcc.toml: accounts, domains and clients."""

from __future__ import annotations

import json
from typing import NamedTuple

from pcc.store import blocks, upsert
from pcc.store.engine.interface import Database

ENDING_SECONDS = 86400
"""Seconds before the end of an exemption in which its notice may come."""


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
    """Add an exemption, or change an existing one."""
    database.in_turn(lambda: write_exemption(database, kind, value, until, by, reason, now))
    database.sync()


def write_exemption(
    database: Database, kind: str, value: str, until: float, by: str, reason: str, now: float
) -> None:
    """Add or change an exemption inside the caller's transaction."""
    database.end_repeats()
    database.write(
        upsert("exemption", ("kind", "value"), ("until", "created", "who", "reason")),
        (kind, value, until, now, by, reason),
    )
    if kind == "account":
        blocks.add_event(database, value, "exempted", by, reason, now)


def lengthen(
    database: Database, account: str, until: float, by: str, reason: str, now: float
) -> None:
    """Exempt an account until then, in a transaction of its own; see write_if_longer()."""
    database.in_turn(lambda: write_if_longer(database, account, until, by, reason, now))
    database.sync()


def write_if_longer(
    database: Database, account: str, until: float, by: str, reason: str, now: float
) -> None:
    """Exempt an account inside the caller's transaction, unless it is so for longer already."""
    before = end_for(database, account)
    if before is None or 0 < before < until:
        write_exemption(database, "account", account, until, by, reason, now)


def end_for(database: Database, account: str) -> float | None:
    """Return until when the account itself is exempt, 0 for good; None if it never was."""
    row = database.row(
        "SELECT until FROM exemption WHERE kind = 'account' AND value = ?", (account,)
    )
    return None if row is None else float(row[0])


def leave_notices(database: Database, channels: tuple[str, ...], now: float) -> None:
    """Leave a notice of each exemption that ends within ENDING_SECONDS, once for each end."""
    if not channels:
        return
    rows = database.rows(
        "SELECT kind, value, until, who, reason FROM exemption"
        " WHERE until > ? AND until <= ? AND told <> until",
        (now, now + ENDING_SECONDS),
    )
    if not rows:
        return

    def leave() -> None:
        for row in map(ExemptionRow._make, rows):
            if database.write(
                "UPDATE exemption SET told = until WHERE kind = ? AND value = ? AND until = ?"
                " AND told <> until",
                row[:3],
            ):
                blocks.add_notice(
                    *(database, 0, row.value, "exemption_ends", channels, now),
                    *(json.dumps(row._asdict()), "exemption_ends"),
                )

    database.in_turn(leave)


def is_as_told(database: Database, row: ExemptionRow) -> bool:
    """Whether an exemption is still there, with the same end."""
    key = (row.kind, row.value)
    found = database.row("SELECT until FROM exemption WHERE kind = ? AND value = ?", key)
    return found is not None and found[0] == row.until


def remove(database: Database, kind: str, value: str, by: str, now: float) -> bool:
    """Remove an exemption; return whether it was there."""

    def work() -> bool:
        statement = "DELETE FROM exemption WHERE kind = ? AND value = ?"
        removed = database.write(statement, (kind, value)) > 0
        if removed and kind == "account":
            blocks.add_event(database, value, "exemption removed", by, "", now)
        return removed

    removed = database.in_turn(work)
    database.sync()
    return removed
