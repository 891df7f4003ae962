"""The rows of the report: all accounts, page by page, and what happened in a period.

Each read is one short statement, so that no reader keeps the write-ahead log from being reset for
long; a page may be a little newer than the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pcc.history import Address, History, Seen
from pcc.store.incidents import SightingRow
from pcc.store.sightings import Sighting, hour

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pcc.store.engine.interface import Database

PAGE = 5000
"""Accounts that are read by one statement."""


class AccountRow(NamedTuple):
    """All that the rule needs of one account.

    `has_incident`: one is open.  `mails`: see History.  `addresses`: those seen lately.
    """

    account: str
    generation: int
    has_incident: bool
    mails: dict[str, str]
    countries: list[Seen]
    networks: list[Seen]
    addresses: list[Address]

    def history(self) -> History:
        """Return it as the rule takes it."""
        countries = {seen.name: seen for seen in self.countries}
        networks = {seen.name: seen for seen in self.networks}
        history = History(self.generation, countries, networks, self)
        history.mails = dict(self.mails)
        return history

    def since(self, time: float) -> Iterable[Address]:
        """Return the addresses seen at that time or later, see history.Addresses."""
        return [seen for seen in self.addresses if seen.last_seen >= time]

    def change_days(self, change: Callable[[str], str]) -> None:
        """Change nothing: a report records no mail."""


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
        account: (generation, incident is not None, {"hosting": hosting, "foreign": foreign})
        for account, generation, incident, hosting, foreign in database.rows(
            "SELECT account, generation, incident, hosting_mails, foreign_mails FROM account"
            " WHERE account > ? AND account <= ?",
            (after, last),
        )
    }
    seen = "first_seen, last_seen, mails, generation, days, runs"
    addresses: dict[str, list[Address]] = {}
    for account, *values in database.rows(
        f"SELECT account, address, country, network, {seen} FROM sighting"
        " WHERE account > ? AND account <= ? AND hour >= ? AND last_seen >= ?",
        (after, last, hour(since), since),
    ):
        addresses.setdefault(account, []).append(Sighting(*values))
    places: dict[str, dict[str, list[Seen]]] = {}
    for account, kind, *values in database.rows(
        f"SELECT account, kind, name, {seen} FROM place WHERE account > ? AND account <= ?"
        " ORDER BY account, kind, name",
        (after, last),
    ):
        kinds = places.setdefault(account, {"country": [], "network": []})
        kinds[kind].append(Seen(*values))
    none: tuple[int, bool, dict[str, str]] = (0, False, {"hosting": "", "foreign": ""})
    for account, kinds in places.items():
        yield AccountRow(
            account,
            *known.get(account, none),
            kinds["country"],
            kinds["network"],
            addresses.get(account, []),
        )


def countries_of(database: Database, account: str) -> list[Seen]:
    """Return where an account was seen, the country that was seen first of all first."""
    rows = database.rows(
        "SELECT name, first_seen, last_seen, mails, generation, days, runs FROM place"
        " WHERE account = ? AND kind = 'country' ORDER BY first_seen, name",
        (account,),
    )
    return [Seen(*row) for row in rows]


def addresses_by_network(database: Database) -> dict[str, str]:
    """Return an address in each network, by which a network database has its name."""
    rows = database.rows(
        "SELECT network, min(address) FROM sighting WHERE network <> '' GROUP BY network"
    )
    return dict(rows)


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
