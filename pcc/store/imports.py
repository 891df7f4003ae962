"""History from mail logs, added to what the database has.

Times widen, days unite, mails add up, and no verdict that stands changes.  An account that has or
had an incident is left alone: its counts began afresh, and a thief must not become familiar from a
log.  Adding the same history again changes nothing, as long as the caller leaves out the mails of
the time that the database covers (`stored_addresses`).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pcc.history import Seen, joined_days
from pcc.store import networks, repeats, sightings
from pcc.store.sightings import Sighting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pcc.store.engine.interface import Database

AnySeen = TypeVar("AnySeen", bound=Seen)

BATCH = 500
"""Rows that are written in one transaction, so that verdicts never wait long."""

LOG_SECONDS = 10
"""Postfix logs a mail, at its first recipient, by so much at most before a verdict on it."""


class Stored(NamedTuple):
    """An address that the database has: mails seen in its time have been counted."""

    country: str
    first_seen: float
    last_seen: float


class AccountPast(NamedTuple):
    """The history of one account in a log; the `mails` of each record are those to be added."""

    account: str
    countries: Sequence[Seen]
    addresses: Sequence[Sighting]


class Imported(NamedTuple):
    """The changed accounts of an import, their addresses and mails, and the accounts left alone."""

    accounts: int
    sightings: int
    mails: int
    left_alone: int


def stored_addresses(database: Database, account: str) -> dict[str, Stored]:
    """Return the addresses of an account that the database has, by name."""
    rows = database.rows(
        "SELECT address, country, first_seen, last_seen, instance FROM sighting WHERE account = ?",
        (account,),
    )
    return {
        # An imported row has the times of the log itself, and no instance.
        address: Stored(country, first_seen - (LOG_SECONDS if instance else 0), last_seen)
        for address, country, first_seen, last_seen, instance in rows
    }


def add_past(database: Database, pasts: Iterable[AccountPast]) -> Imported:
    """Add what a log says of accounts, in short transactions.

    When it is interrupted, some accounts have it and the others don't.
    """
    total = [0, 0, 0, 0]
    for batch in _batches(pasts):
        added = database.in_turn(
            partial(_add_all, database, batch), *[past.account for past in batch]
        )
        total = [sum(counts) for counts in zip(total, *added, strict=True)]
        database.checkpoint_if_due()
    database.sync()
    return Imported(*total)


def _batches(pasts: Iterable[AccountPast]) -> Iterable[list[AccountPast]]:
    batch: list[AccountPast] = []
    rows = 0
    for past in pasts:
        batch.append(past)
        rows += len(past.countries) + len(past.addresses)
        if rows >= BATCH:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def _add_all(database: Database, batch: list[AccountPast]) -> list[Imported]:
    return [_add(database, past) for past in batch]


_HAD_INCIDENT = (
    "SELECT 1 FROM account WHERE account = ? AND (generation > 0 OR incident IS NOT NULL)"
)


def _add(database: Database, past: AccountPast) -> Imported:
    """Add what a log says of one account, inside the caller's transaction."""
    account = past.account
    if database.row(_HAD_INCIDENT, (account,)):
        return Imported(0, 0, 0, 1)
    # A place that becomes familiar by this may change the next verdict.
    repeats.end(database, account)
    known = {
        row[0]: Sighting(*row)
        for row in database.rows(
            "SELECT address, country, network, first_seen, last_seen, mails, generation, days,"
            " runs, client_name, instance FROM sighting WHERE account = ?",
            (account,),
        )
    }
    written = mails = 0
    for seen in past.addresses:
        before = known.get(seen.name)
        if before is not None and seen.last_seen > before.last_seen:
            before.client_name = seen.client_name
        if merged := _merged(before, seen):
            sightings.save_sighting(database, account, merged)
            written += 1
            mails += seen.mails
    if written:  # networks are looked up for all addresses together, by the next decision or init
        rows = database.rows("SELECT address, network FROM sighting WHERE account = ?", (account,))
        networks.renew_networks(database, account, dict(rows).__getitem__, 0)
    countries = {
        row[0]: Seen(*row)
        for row in database.rows(
            "SELECT name, first_seen, last_seen, mails, generation, days, runs FROM place"
            " WHERE account = ? AND kind = 'country'",
            (account,),
        )
    }
    for country in past.countries:
        if place := _merged(countries.get(country.name), country):
            sightings.save_place(database, account, "country", place)
    return Imported(int(written > 0), written, mails, 0)


def _merged(known: AnySeen | None, seen: AnySeen) -> AnySeen | None:
    """Return what is to be written of a place; None where it says no more than before."""
    if known is None:
        seen.generation = 0  # that of an account without an incident
        return seen
    before = (known.first_seen, known.last_seen, known.mails, known.days)
    if seen.last_seen > known.last_seen:
        known.runs = seen.runs
    known.first_seen = min(known.first_seen, seen.first_seen)
    known.last_seen = max(known.last_seen, seen.last_seen)
    known.mails += seen.mails
    known.days = joined_days(known.days, seen.days)
    after = (known.first_seen, known.last_seen, known.mails, known.days)
    return known if after != before else None
