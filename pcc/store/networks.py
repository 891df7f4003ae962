"""The networks of known addresses, written again where another network database has other numbers.

All addresses of an account are looked up together, in one transaction: `account.networks_made` says
by which database.  A decision does so for its own account first; `init` does so for all.
"""

from __future__ import annotations

from pcc.history import Seen, joined_days
from pcc.store import sightings
from pcc.store.sightings import Sighting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pcc.store.engine.interface import Database

BATCH = 200
"""Accounts that are renewed in one transaction, so that verdicts never wait long."""

_SET_MADE = (
    "INSERT INTO account (account, generation, turns, networks_made) VALUES (?, 0, 0, ?)"
    " ON CONFLICT (account) DO UPDATE SET networks_made = excluded.networks_made"
)


def addresses(database: Database, account: str) -> list[Sighting]:
    """Return the addresses of an account, without what only a verdict needs."""
    rows = database.rows(
        "SELECT address, country, network, first_seen, last_seen, mails, generation, days"
        " FROM sighting WHERE account = ?",
        (account,),
    )
    return [Sighting(*row) for row in rows]


def sums(seen_at: list[Sighting], network_of: Callable[[str], str]) -> dict[str, Seen]:
    """Return the networks of addresses, by name.

    The row of a network is the sum of the rows of its addresses.  So no known place looks
    unfamiliar because networks have other numbers.
    """
    networks: dict[str, Seen] = {}
    for seen in seen_at:
        network = network_of(seen.name)
        if network:
            total = networks.setdefault(network, Seen(network, seen.first_seen, seen.last_seen))
            total.first_seen = min(total.first_seen, seen.first_seen)
            total.last_seen = max(total.last_seen, seen.last_seen)
            total.mails += seen.mails
            total.generation = max(total.generation, seen.generation)
            total.days = joined_days(total.days, seen.days)
    return networks


def renew_networks(
    database: Database, account: str, network_of: Callable[[str], str], made: float
) -> None:
    """Write the networks of all of an account's addresses as another database has them.

    `network_of` takes an address as it is recorded.  `made`: when that database was made, 0 where
    the networks of some are unknown.
    """
    seen_at = addresses(database, account)
    for seen in seen_at:
        if (network := network_of(seen.name)) != seen.network:
            database.write_later(
                "UPDATE sighting SET network = ? WHERE account = ? AND address = ?",
                (network, account, seen.name),
            )
    database.write_later("DELETE FROM place WHERE account = ? AND kind = 'network'", (account,))
    for total in sums(seen_at, network_of).values():
        sightings.save_place(database, account, "network", total)
    set_networks_made(database, account, made)


def set_networks_made(database: Database, account: str, made: float) -> None:
    """Write by which network database all networks of an account are known; 0 for by none."""
    database.write_later(_SET_MADE, (account, made))


def renew_all(database: Database, network_of: Callable[[str], str], made: float) -> int:
    """Renew the networks of all accounts that have them by another database; return how many."""
    from functools import partial  # which no verdict needs

    renewed, after = 0, ""
    while True:
        rows = database.rows(
            "SELECT page.account, coalesce(account.networks_made, 0)"
            " FROM (SELECT DISTINCT account FROM sighting WHERE account > ?"
            f" ORDER BY account LIMIT {BATCH}) AS page"
            " LEFT JOIN account ON account.account = page.account ORDER BY page.account",
            (after,),
        )
        if not rows:
            database.sync()
            return renewed
        between, after = (after, rows[-1][0]), rows[-1][0]
        accounts = {account for account, by in rows if by != made}
        if not accounts:
            continue
        known: dict[str, str] = {}
        for (address,) in database.rows(
            "SELECT DISTINCT address FROM sighting WHERE account > ? AND account <= ?", between
        ):
            known[address] = network_of(address)  # which takes longer than writing: nobody waits
        renew = partial(_renew, database, accounts, between, known, network_of, made)
        database.in_turn(renew, *accounts)
        database.checkpoint_if_due()
        renewed += len(accounts)


def _renew(
    database: Database,
    accounts: set[str],
    between: tuple[str, str],
    known: dict[str, str],
    network_of: Callable[[str], str],
    made: float,
) -> None:
    """Do for many accounts, whose names lie between two, what renew_networks() does for one."""
    seen_at: dict[str, list[Sighting]] = {}
    for account, *values in database.rows(
        "SELECT account, address, country, network, first_seen, last_seen, mails, generation, days"
        " FROM sighting WHERE account > ? AND account <= ?",
        between,
    ):
        if account in accounts:
            seen_at.setdefault(account, []).append(Sighting(*values))
    addresses, places = [], []
    for account, seen_by_account in seen_at.items():
        for seen in seen_by_account:
            if seen.name not in known:  # seen since
                known[seen.name] = network_of(seen.name)
            if known[seen.name] != seen.network:
                addresses.append((known[seen.name], account, seen.name))
        for total in sums(seen_by_account, known.__getitem__).values():
            times = total.first_seen, total.last_seen
            places.append((account, total.name, *times, total.mails, total.generation, total.days))
    database.write_many(
        "UPDATE sighting SET network = ? WHERE account = ? AND address = ?", addresses
    )
    database.write_many(
        "DELETE FROM place WHERE account = ? AND kind = 'network'",
        [(account,) for account in accounts],
    )
    database.write_many(
        "INSERT INTO place"
        " (account, kind, name, first_seen, last_seen, mails, generation, days, runs)"
        " VALUES (?, 'network', ?, ?, ?, ?, ?, ?, '')",
        places,
    )
    database.write_many(_SET_MADE, [(account, made) for account in accounts])
