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

BATCH = 50
"""Accounts that are renewed in one transaction, so that verdicts never wait long."""


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
            database.write(
                "UPDATE sighting SET network = ? WHERE account = ? AND address = ?",
                (network, account, seen.name),
            )
    database.write("DELETE FROM place WHERE account = ? AND kind = 'network'", (account,))
    for total in sums(seen_at, network_of).values():
        sightings.save_place(database, account, "network", total)
    set_networks_made(database, account, made)


def set_networks_made(database: Database, account: str, made: float) -> None:
    """Write by which network database all networks of an account are known; 0 for by none."""
    database.write(
        "INSERT INTO account (account, generation, turns, networks_made) VALUES (?, 0, 0, ?)"
        " ON CONFLICT (account) DO UPDATE SET networks_made = excluded.networks_made",
        (account, made),
    )


def renew_all(database: Database, network_of: Callable[[str], str], made: float) -> int:
    """Renew the networks of all accounts that have them by another database; return how many."""
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
        after = rows[-1][0]
        accounts = [account for account, by in rows if by != made]
        networks: dict[str, str] = {}
        for account in accounts:  # looking up takes longer than writing: nobody waits for it
            for (address,) in database.rows(
                "SELECT address FROM sighting WHERE account = ?", (account,)
            ):
                networks[address] = network_of(address)

        def known(address: str, networks: dict[str, str] = networks) -> str:
            return networks[address] if address in networks else network_of(address)

        with database.turn(*accounts):
            for account in accounts:
                renew_networks(database, account, known, made)
        database.checkpoint_if_due()
        renewed += len(accounts)
