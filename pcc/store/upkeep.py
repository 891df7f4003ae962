"""Upkeep of the database: dropping what is old, forgetting an account, figures.

Deleting goes in small transactions, and looking for what to delete in short
reads, so that verdicts never wait long and the write-ahead log stays short.
"""

from __future__ import annotations

from functools import partial
from time import time
from typing import TYPE_CHECKING

from pcc.history import DAY
from pcc.store import blocks, counters, ordered, sightings, twice
from pcc.store.engine.interface import Database
from pcc.store.incidents import STILL_HELD

if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.rule import Rule

COUNTRY = "FROM place WHERE kind = 'country'"

KEPT_SECONDS = 86400
"""Seconds for which the row of a forgotten account stays on a server.

A host that was away for longer empties its file.
"""

BATCH = 500
"""Rows that are looked at, and at most deleted, at a time."""


def drop_old_sightings(database: Database, before: float) -> int:
    """Drop sightings last seen at that time or before; return how many.

    Places go with them.  Blocks, and what was seen since, stay.
    """
    dropped = _drop_by_key(database, "sighting", ("account", "address"), before)
    _drop_by_key(database, "place", ("account", "kind", "name"), before)
    return dropped


def _drop_by_key(database: Database, table: str, key: tuple[str, ...], before: float) -> int:
    """Walk through a table in the order of its key, dropping old rows batch by batch."""
    dropped = 0
    columns = ", ".join(key)
    after = ordered(key, ">")
    walk = (
        f"SELECT {columns}, last_seen FROM {table} WHERE {after} ORDER BY {columns} LIMIT {BATCH}"
    )
    statement = f"DELETE FROM {table} WHERE {after} AND {ordered(key, '<=')} AND last_seen <= ?"
    last: tuple[object, ...] = ("",) * len(key)

    def drop(values: tuple[object, ...]) -> int:
        if before > time() - DAY:  # mail from there may still be a repeat
            database.end_repeats()
        return database.write(statement, values)

    while rows := database.rows(walk, twice(last)):
        first, last = last, rows[-1][:-1]
        if any(row[-1] <= before for row in rows):
            dropped += database.in_turn(partial(drop, (*twice(first), *twice(last), before)))
            database.checkpoint_if_due()
    return dropped


def drop_old_incidents(database: Database, before: float) -> int:
    """Drop incidents that ended by that time, their held mail and old events; return how many."""
    dropped = 0
    while found := database.rows(
        f"SELECT DISTINCT account FROM incident WHERE ended <= ? ORDER BY account LIMIT {BATCH}",
        (before,),
    ):
        accounts = [account for (account,) in found]
        dropped += database.in_turn(partial(_drop_ended, database, accounts, before), *accounts)
    while events := database.rows(
        f"SELECT account, id FROM event WHERE at <= ? ORDER BY at LIMIT {BATCH}", (before,)
    ):
        statement = "DELETE FROM event WHERE account = ? AND id = ?"
        database.in_turn(partial(database.write_many, statement, events))
    return dropped


def _drop_ended(database: Database, accounts: list[str], before: float) -> int:
    """Drop what ended by that time of some accounts, in their turn."""
    among = f"account IN ({', '.join('?' * len(accounts))})"
    values = (*accounts, before)
    counters.keep(database, f"incident.{among} AND ended <= ?", values)
    for table in ("held", "attempt"):
        database.write(
            f"DELETE FROM {table} WHERE {among} AND EXISTS (SELECT 1 FROM incident WHERE"
            f" incident.account = {table}.account AND id = {table}.incident AND ended <= ?)",
            values,
        )
    return database.write(f"DELETE FROM incident WHERE {among} AND ended <= ?", values)


def end_expired(database: Database, now: float) -> list[str]:
    """End blocks and drop exemptions that have expired; return the accounts unblocked."""
    expired = database.rows(
        "SELECT account, id FROM incident WHERE ended IS NULL AND expires > 0 AND expires <= ?",
        (now,),
    )

    def end(account: str, number: int) -> None:
        is_open = "SELECT 1 FROM account WHERE account = ? AND incident = ?"
        if database.row(is_open, (account, number)):  # else another process has ended it
            blocks.end_incidents(database, account, now)
            blocks.add_event(database, account, "expired", "pcc", "expired", now)

    for account, number in expired:
        database.in_turn(partial(end, account, number), account)
    database.in_turn(
        lambda: database.write("DELETE FROM exemption WHERE until > 0 AND until <= ?", (now,))
    )
    return [account for account, _ in expired]


def end_untrue(database: Database, rule_for: Callable[[str], Rule], now: float) -> list[str]:
    """End observed incidents that are no longer true; return their accounts.

    `rule_for` gives the rule that holds for an account.
    """

    def end(account: str, number: int) -> bool:
        known = sightings.known(database, account, "")
        is_whole = known.incident is not None and known.incident.id == number
        if not is_whole and known.observed != number:
            return False
        if rule_for(account).is_over(known.history(), observed=not is_whole):
            return False
        if is_whole:
            blocks.end_incidents(database, account, now)
        else:  # of a limit that only observes: counting goes on
            blocks.end_observed(database, account, number, now)
        blocks.add_event(database, account, "cleared", "pcc", "no longer true", now)
        return True

    found = database.rows(
        "SELECT account, id FROM incident WHERE ended IS NULL AND mode = 'observe'"
    )
    return [
        account
        for account, number in found
        if database.in_turn(partial(end, account, number), account)
    ]


_UNKNOWN = (
    " WHERE incident IS NULL AND observed IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM incident WHERE incident.account = account.account)"
    " AND NOT EXISTS (SELECT 1 FROM place WHERE place.account = account.account)"
)


def drop_unknown_accounts(database: Database, now: float) -> None:
    """Drop what is kept of accounts that nothing else is known of any more.

    On a server a forgotten one is kept for the hosts that follow, see pcc/store/following.py.
    """
    found = database.rows(
        f"SELECT account FROM account{_UNKNOWN} AND changed < ?", (now - KEPT_SECONDS,)
    )
    accounts = [account for (account,) in found]
    for start in range(0, len(accounts), BATCH):
        batch = accounts[start : start + BATCH]
        statement = f"DELETE FROM account{_UNKNOWN} AND account = ?"
        names = [(account,) for account in batch]
        database.in_turn(partial(database.write_many, statement, names), *batch)


TRACES = {
    "sightings": "sighting WHERE",
    "countries": "place WHERE kind = 'country' AND",
    "held_mails": "held WHERE",
    "incidents": "incident WHERE",
    "events": "event WHERE",
    "notices": "outbox WHERE",
}
"""The rows about an account, besides its exemption, in administrators' words."""


def forget(database: Database, account: str) -> dict[str, int]:
    """Remove every trace of an account; return how many of each kind there were."""

    def work() -> dict[str, int]:
        removed = {}
        database.write(
            "UPDATE account SET incident = NULL, observed = NULL WHERE account = ?", (account,)
        )
        counters.keep(database, "incident.account = ?", (account,))
        for name, rows in TRACES.items():
            removed[name] = database.write(f"DELETE FROM {rows} account = ?", (account,))
        for table in ("place", "attempt"):
            database.write(f"DELETE FROM {table} WHERE account = ?", (account,))
        # On a server its name stays for a day, so that other hosts forget it as well.
        database.write(
            "UPDATE account SET generation = generation + 1, networks_made = 0,"
            " hosting_mails = '', foreign_mails = '' WHERE account = ?",
            (account,),
        )
        database.write("DELETE FROM account WHERE account = ? AND changed = 0", (account,))
        removed["exemptions"] = database.write(
            "DELETE FROM exemption WHERE kind = 'account' AND value = ?", (account,)
        )
        return removed

    removed = database.in_turn(work, account)
    database.sync()
    return removed


def figures(database: Database, now: float) -> dict[str, int]:
    """Return counts for monitoring: gauges, and ages in seconds (0 where there is nothing)."""
    queries = {
        "accounts": f"SELECT count(DISTINCT account) {COUNTRY}",
        "countries": f"SELECT count(DISTINCT name) {COUNTRY}",
        "sightings": "SELECT count(*) FROM sighting",
        "mails": f"SELECT coalesce(sum(mails), 0) {COUNTRY}",
        "blocked": "SELECT count(*) FROM incident WHERE ended IS NULL AND mode = 'enforce'"
        " AND (expires = 0 OR expires > :now)",
        "observed": "SELECT count(*) FROM incident WHERE ended IS NULL AND mode = 'observe'",
        "held": f"SELECT count(*) FROM held WHERE {STILL_HELD}",
        "outbox": "SELECT count(*) FROM outbox",
        "outbox_age": "SELECT coalesce(:now - min(created), 0) FROM outbox",
        "log_age": "SELECT coalesce(:now - min(at), 0) FROM counted",
        "last_sighting_age": f"SELECT coalesce(:now - max(last_seen), 0) {COUNTRY}",
        "oldest_sighting_age": f"SELECT coalesce(:now - min(first_seen), 0) {COUNTRY}",
    }
    figures = {}
    for name, query in queries.items():
        row = database.row(query.replace(":now", str(int(now))))
        figures[name] = int(row[0]) if row else 0
    return figures
