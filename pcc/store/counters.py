"""Counts since ever, for monitoring: they only grow, whatever `cleanup` and `forget` remove.

Incidents and held mail are counted by their rows, so that no verdict writes more.  A transaction
that removes such rows adds their counts to the table `counter`.  Notices leave no rows: their
counters grow when a notice leaves the outbox, or fails.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pcc.store.engine.interface import Database

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROWS = {
    "incidents enforce": "SELECT count(*) FROM incident WHERE mode = 'enforce'",
    "incidents observe": "SELECT count(*) FROM incident WHERE mode = 'observe'",
    "stopped": "SELECT coalesce(sum(tries), 0) FROM incident",
    "held": "SELECT coalesce(sum(held), 0) FROM incident",
    "released": "SELECT count(*) FROM held WHERE state = 'released'",
    "deleted": "SELECT count(*) FROM held WHERE state = 'deleted'",
    "notices sent": "SELECT 0",
    "notices failed": "SELECT 0",
}
"""For each counter the query that counts the rows that are there."""

_ADD = (
    "INSERT INTO counter (name, value) VALUES (?, ?)"
    " ON CONFLICT (name) DO UPDATE SET value = counter.value + excluded.value"
)


def totals(database: Database) -> dict[str, int]:
    """Return all counters by name."""
    # One statement each, so that no row is missed, or counted twice, that is removed just now.
    found = {}
    for name, rows in _ROWS.items():
        kept = "SELECT coalesce(sum(value), 0) FROM counter WHERE name = ?"
        row = database.row(f"SELECT ({rows}) + ({kept})", (name,))
        found[name] = int(row[0]) if row else 0
    return found


def add(database: Database, amounts: Mapping[str, int]) -> None:
    """Add to counters, inside the caller's transaction."""
    for name, amount in sorted(amounts.items()):  # in one order, so that nobody waits in a circle
        if amount:
            database.write(_ADD, (name, amount))


def keep(database: Database, condition: str, values: tuple[object, ...]) -> None:
    """Keep the counts of incidents that the caller's transaction will remove.

    `condition`, with `values`: which these are, for a WHERE.
    """
    amounts: Counter[str] = Counter()
    for mode, incidents, tries, held in database.rows(
        "SELECT mode, count(*), sum(tries), sum(held) FROM incident"
        f" WHERE {condition} GROUP BY mode",
        values,
    ):
        amounts += Counter(
            {f"incidents {mode}": int(incidents), "stopped": int(tries), "held": int(held)}
        )
    for state, mails in database.rows(
        "SELECT state, count(*) FROM held JOIN incident ON incident.account = held.account"
        f" AND incident.id = held.incident WHERE {condition} GROUP BY state",
        values,
    ):
        if state in ("released", "deleted"):
            amounts[state] += int(mails)
    add(database, amounts)
