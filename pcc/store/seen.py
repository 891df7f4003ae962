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


def seen_in(database: Database, country: str, most: int) -> Found:
    """Return who was seen in a country."""
    return _found(database, "country = ?", country, most)


def seen_by_system(database: Database, network: str, most: int) -> Found:
    """Return who was seen from a network such as `AS64500`."""
    return _found(database, "network = ?", network, most)


def seen_within(database: Database, network: Network, most: int) -> Found:
    """Return who was seen from an address or a range of addresses.

    An IPv6 address is remembered as its /64, so a smaller range stands for that.
    """
    size, shift, prefix = network
    first = (prefix << shift).to_bytes(size, "big")
    if not shift or (size == 16 and shift <= 64):
        return _found(database, "address = ?", recorded_address(first), most)
    # The text of IPv4 addresses within a range begins with its whole octets.
    octets = address_text(first).split(".")[: (32 - shift) // 8] if size == 4 else []
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


def _found(database: Database, condition: str, value: str, most: int) -> Found:
    counts = database.row(
        f"SELECT count(*), count(DISTINCT account) FROM sighting WHERE {condition}", (value,)
    )
    rows = database.rows(
        f"SELECT {COLUMNS} FROM sighting WHERE {condition}"
        f" ORDER BY last_seen DESC, account, address LIMIT {most}",
        (value,),
    )
    return Found([SeenRow(*row) for row in rows], *(counts or (0, 0)))
