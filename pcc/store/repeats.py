"""What is read and written of a repeat: a mail that changes nothing but counts.

Once a mail from an address was judged, and let pass, a next one from there
changes nothing: until its place is about to leave a window or the hour ends
(`sighting.repeats_until`), and as long as nothing happened to the account and
the configuration and the country database are those it was judged by
(`sighting.judged_by`).  The one who judges writes both down, so that the many
repeats cost one look at one row.  Who has another configuration, and records
what begins to count, takes back what was written down by this one.  Whatever is
doubtful here is no repeat, and judged by pcc/verdict/decision.py.

What was just recorded is synced before its mail is answered, but another
process may see it sooner, and must not answer on the strength of it before
it is on disk.  So `sighting.repeats_until` is negative at first, and that it is
on disk is certain only after a while; but who counts a mail, which was answered
after a sync, turns it round.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pcc.store.engine.interface import Database
    from pcc.store.sightings import Sighting

FRESH_SECONDS = 10
"""So long after its first mail a sighting may not be on disk yet: longer than any decision takes.

Also, times of several processes that lie so close may be in any order.
"""


MANY_ADDRESSES = 200
"""Of one account in two hours: to look at each of them for every new one would be too dear."""


def judged_by(identity: int, made: float) -> int:
    """Return what stands for a configuration and a country database in `judged_by`.

    `identity`: Config.identity.  `made`: when the country database was.
    """
    return hash((identity, made))  # of numbers: the same in all processes


_REPEAT = f"""
    SELECT country, instance
    FROM sighting LEFT JOIN account ON account.account = sighting.account
    WHERE sighting.account = ? AND address = ? AND judged_by = ?
        AND abs(repeats_until) > ? AND (repeats_until > 0 OR first_seen < ?)
        AND last_seen < ? AND incident IS NULL
        AND sighting.generation = coalesce(account.generation, 0)
        AND NOT EXISTS (SELECT 1 FROM exemption WHERE kind = 'client')
        AND last_seen > coalesce((SELECT max(created) FROM exemption), 0) + {FRESH_SECONDS}
"""


_COUNTED = "mails = mails + ?, last_seen = CASE WHEN last_seen < ? THEN ? ELSE last_seen END"


def find(
    database: Database, account: str, address: str, judged_by: int, now: float
) -> tuple[str, str] | None:
    """Return the country of a repeat and the instance of the latest mail; None for no repeat.

    `address` is as recorded.
    """
    row: tuple[str, str] | None = database.row(
        _REPEAT, (account, address, judged_by, now, now - FRESH_SECONDS, now + FRESH_SECONDS)
    )
    return row


def is_on_disk(seen: Sighting, now: float) -> bool:
    """Whether a sighting that was read is certainly on disk."""
    return seen.repeats_until > 0 or now - seen.first_seen >= FRESH_SECONDS


def take_back(
    database: Database, account: str, judged_by: int, hour: int, *, whatever_it_costs: bool
) -> None:
    """Have an account's mail be no repeat where it is one by another judgement than this.

    For who records what that judgement did not know of, in the same transaction.  `hour`: that of
    now; what was last seen before it is no repeat any more, but other hosts' clocks may be behind.
    Unless `whatever_it_costs`, an account with MANY_ADDRESSES in these hours is left alone.
    """
    recent = (account, hour - 1)
    if not whatever_it_costs:
        addresses = database.rows(
            f"SELECT address FROM sighting WHERE account = ? AND hour >= ? LIMIT {MANY_ADDRESSES}",
            recent,
        )
        if len(addresses) == MANY_ADDRESSES:
            return
    database.write(
        "UPDATE sighting SET repeats_until = 0"
        " WHERE account = ? AND hour >= ? AND repeats_until <> 0 AND judged_by <> ?",
        (*recent, judged_by),
    )


def latest_mail(database: Database, account: str, address: str) -> str | None:
    """Return the instance of the latest mail from an address, None where none is known."""
    row = database.row(
        "SELECT instance FROM sighting WHERE account = ? AND address = ?", (account, address)
    )
    return None if row is None else str(row[0])


def latest_try(database: Database, incident: int) -> str | None:
    """Return the instance of the latest mail that an incident stopped, None where none is known."""
    row = database.row("SELECT instance FROM incident WHERE id = ?", (incident,))
    return None if row is None else str(row[0])


def count(
    database: Database,
    mails: Iterable[tuple[int, float, str, str, str, str]],
    by_country: Iterable[tuple[int, float, str, str]],
) -> None:
    """Add mails that changed no verdict to their addresses and countries.

    `mails`: how many, when the last was sent, its instance and client name, the
    account and the address.  `by_country`: how many, the last, account and
    country.  All came in the hour in which the address was last seen.
    """
    database.write_many(
        f"UPDATE sighting SET {_COUNTED}, instance = ?, client_name = ?,"
        " repeats_until = abs(repeats_until) WHERE account = ? AND address = ?",
        [(n, now, now, *others) for n, now, *others in mails],
    )
    database.write_many(
        f"UPDATE place SET {_COUNTED} WHERE account = ? AND kind = 'country' AND name = ?",
        [(n, now, now, account, country) for n, now, account, country in by_country],
    )
