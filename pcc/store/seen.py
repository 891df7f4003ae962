"""Which accounts were seen from an address, a network or a country."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple

from pcc.address import address_text, in_networks, packed_address, recorded_address

if TYPE_CHECKING:
    from pcc.address import Network
    from pcc.store.engine.interface import Database


class SeenRow(NamedTuple):
    """That an account was seen at an address; times in UTC seconds."""

    account: str
    address: str
    country: str
    network: str
    first_seen: float
    last_seen: float
    mails: int


COLUMNS = ", ".join(SeenRow._fields)


class Found(NamedTuple):
    """The latest rows, the latest one first, and the numbers of all sightings and accounts."""

    rows: list[SeenRow]
    sightings: int
    accounts: int


MOST_LISTED = 256
"""Addresses of a range that are looked for one by one; a larger range is a scan of all."""


def seen_in(database: Database, country: str, most: int) -> Found:
    """Return who was seen in a country."""
    return _found(database, "country = ?", (country,), most)


def seen_by_system(database: Database, network: str, most: int) -> Found:
    """Return who was seen from a network such as `AS64500`."""
    return _found(database, "network = ?", (network,), most)


def seen_within(database: Database, network: Network, most: int) -> Found:
    """Return who was seen from an address or a range of addresses.

    An IPv6 address is remembered as its /64, so a smaller range stands for that.
    """
    size, shift, prefix = network
    first = prefix << shift
    step = 1 << 64 if size == 16 else 1
    listed = range(first, first + (1 << shift), step)
    if (1 << shift) <= MOST_LISTED * step:
        names = tuple([recorded_address(number.to_bytes(size, "big")) for number in listed])
        return _found(database, f"address IN ({', '.join('?' * len(names))})", names, most)
    # The text of IPv4 addresses within a range begins with its whole octets.
    octets = address_text(first.to_bytes(size, "big")).split(".")[: (32 - shift) // 8]
    like = ".".join([*octets, "%"]) if size == 4 else "%:%"
    rows = database.cursor(
        f"SELECT {COLUMNS} FROM sighting WHERE address LIKE ? ORDER BY account, address", (like,)
    )
    within = [
        SeenRow(*row)
        for row in rows
        if in_networks(packed_address(row[1].removesuffix("/64")) or b"", (network,))
    ]
    latest = nlargest(most, within, key=lambda row: row.last_seen)
    return Found(latest, len(within), len({row.account for row in within}))


def _found(database: Database, condition: str, values: tuple[str, ...], most: int) -> Found:
    counts = database.row(
        f"SELECT count(*), count(DISTINCT account) FROM sighting WHERE {condition}", values
    )
    rows = database.rows(
        f"SELECT {COLUMNS} FROM sighting WHERE {condition}"
        f" ORDER BY last_seen DESC, account, address LIMIT {most}",
        values,
    )
    return Found([SeenRow(*row) for row in rows], *(counts or (0, 0)))


def others_at(
    database: Database, account: str, addresses: list[str], most: int
) -> list[tuple[str, str]]:
    """Return who else was seen at which of some addresses, the latest first.

    Addresses that more than `most` accounts share are left out.
    """
    if not addresses:
        return []
    marks = ", ".join("?" * len(addresses))
    crowded = database.rows(
        f"SELECT address FROM sighting WHERE address IN ({marks})"
        " GROUP BY address HAVING count(*) > ?",
        (*addresses, most),
    )
    wanted = tuple({*addresses} - {address for (address,) in crowded})
    if not wanted:
        return []
    rows = database.rows(
        "SELECT account, address FROM sighting"
        f" WHERE address IN ({', '.join('?' * len(wanted))}) AND account <> ?"
        " ORDER BY last_seen DESC, account, address",
        (*wanted, account),
    )
    return [(row[0], row[1]) for row in rows]
