"""What the report reads: all accounts, page by page, and what happened in a period.

Each read is one short statement, so that no reader keeps the write-ahead log from being reset for
long; a page may be a little newer than the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pcc.rule import History, Seen
from pcc.store.incidents import SightingRow
from pcc.store.sightings import hour

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pcc.store.engine.interface import Database

PAGE = 5000
"""Accounts that are read by one statement."""


class AccountRow(NamedTuple):
    """All that the rule needs of one account.

    `has_incident`: one is open.  `addresses`: those seen lately.
    """

    account: str
    generation: int
    has_incident: bool
    countries: list[Seen]
    addresses: list[Seen]

    def history(self) -> History:
        """Return it as the rule takes it."""
        countries = {seen.name: seen for seen in self.countries}
        return History(self.generation, countries, self._addresses_since)

    def _addresses_since(self, since: float) -> Iterable[Seen]:
        return [seen for seen in self.addresses if seen.last_seen >= since]


class LiftRow(NamedTuple):
    """That an administrator lifted a block, or had held mail of an account deleted (`what`)."""

    account: str
    at: float
    what: str
    by: str
    detail: str


def accounts(database: Database, addresses_since: float) -> Iterator[AccountRow]:
    """Yield every account that was seen, by name, with the addresses seen since a time."""
    after = ""
    while True:
        row = database.row(
            "SELECT max(account) FROM (SELECT DISTINCT account FROM place WHERE account > ?"
            f" AND kind = 'country' ORDER BY account LIMIT {PAGE}) AS page",
            (after,),
        )
        if row is None or row[0] is None:
            return
        yield from _page(database, after, row[0], addresses_since)
        after = row[0]


def _page(database: Database, after: str, last: str, since: float) -> Iterator[AccountRow]:
    """Yield the accounts that come after one name, up to another."""
    known = {
        account: (generation, incident is not None)
        for account, generation, incident in database.rows(
            "SELECT account, generation, incident FROM account WHERE account > ? AND account <= ?",
            (after, last),
        )
    }
    seen = "first_seen, last_seen, mails, generation, days, runs"
    addresses: dict[str, list[Seen]] = {}
    for account, *values in database.rows(
        f"SELECT account, address, {seen} FROM sighting"
        " WHERE account > ? AND account <= ? AND hour >= ? AND last_seen >= ?",
        (after, last, hour(since), since),
    ):
        addresses.setdefault(account, []).append(Seen(*values))
    countries: dict[str, list[Seen]] = {}
    for account, *values in database.rows(
        f"SELECT account, name, {seen} FROM place WHERE account > ? AND account <= ?"
        " AND kind = 'country' ORDER BY account, name",
        (after, last),
    ):
        countries.setdefault(account, []).append(Seen(*values))
    for account, places in countries.items():
        yield AccountRow(
            account, *known.get(account, (0, False)), places, addresses.get(account, [])
        )


def countries_of(database: Database, account: str) -> list[Seen]:
    """Return where an account was seen, the country that was seen first of all first."""
    rows = database.rows(
        "SELECT name, first_seen, last_seen, mails, generation, days, runs FROM place"
        " WHERE account = ? AND kind = 'country' ORDER BY first_seen, name",
        (account,),
    )
    return [Seen(*row) for row in rows]


def sightings_between(
    database: Database, account: str, since: float, until: float, most: int
) -> list[SightingRow]:
    """Return the addresses, as many as `most`, that an account may have sent from in a time.

    The latest first; `until`: they were known by then.
    """
    rows = database.rows(
        "SELECT country, address, client_name, mails, first_seen, last_seen FROM sighting"
        " WHERE account = ? AND hour >= ? AND last_seen >= ? AND first_seen <= ?"
        " ORDER BY last_seen DESC LIMIT ?",
        (account, hour(since), since, until, most),
    )
    return [SightingRow(*row) for row in rows]


def totals(database: Database, account: str) -> tuple[int, int]:
    """Return how many addresses of an account are remembered, and mails from them."""
    row = database.row(
        "SELECT count(*), coalesce(sum(mails), 0) FROM sighting WHERE account = ?", (account,)
    )
    return (int(row[0]), int(row[1])) if row else (0, 0)


def lifts_since(database: Database, since: float) -> list[LiftRow]:
    """Return what administrators did to end blocks since a time, oldest first."""
    rows = database.rows(
        "SELECT account, at, what, who, detail FROM event"
        " WHERE at >= ? AND what IN ('unblocked', 'deleted') ORDER BY at, id",
        (since,),
    )
    return [LiftRow(*row) for row in rows]
