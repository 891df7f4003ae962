"""The rows of a repeat: a mail that changes nothing but counts.

An address of an account was judged, and its mail was let pass.  Then the next mail from there
changes nothing for an hour, unless its place leaves a window sooner (`sighting.repeats_until`).
That holds while nothing happens to the account.  It also needs the configuration and the files of
places that judged it (`sighting.judged_by`).  Judging writes both down, so that the many repeats
cost one look at one row.  A transaction that changes an account's verdicts in another way, as a
block does, takes that back (`end`).  A doubtful mail is no repeat; pcc/verdict/decision.py judges
it.  A repeat is counted in the log; see pcc/store/sums.py.

A new row is synced before its mail is answered.  But another process may see it sooner, and must
not rely on it before it is on disk.  So `sighting.repeats_until` is negative at first, and the row
is certainly on disk only after a while.  A second mail, which was answered after a sync, turns the
sign round when it gets into the sums.
"""

from __future__ import annotations

from pcc.store import upsert

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pcc.store.engine.interface import Database
    from pcc.store.sightings import Sighting

    Place = tuple[str, str, str]  # account, address, and the incident that stopped the mail or ""
    Count = tuple[float, float, int, str, str, str]

FRESH_SECONDS = 10
"""Seconds after its first mail for which a sighting may not be on disk yet.

Longer than any decision takes.  Times of several processes that lie so close may be in any order.
"""

LATE_SECONDS = 10
"""The most seconds for which a mail may be only in the log when another one is decided about.

A repeat is none any more 20 seconds before its place leaves a window (SETTLED_SECONDS in
pcc/verdict/decision.py): so no decision rests on a time that is too old.
"""

FIELD = "\x1f"
"""Between the fields of a line of the log: ASCII's unit separator."""


_REPEAT = """
    SELECT instance, abs(repeats_until) FROM sighting
    WHERE account = ? AND address = ? AND judged_by = ?
        AND abs(repeats_until) > ? AND (repeats_until > 0 OR first_seen < ?) AND last_seen < ?
        AND NOT EXISTS (
            SELECT 1 FROM exemption WHERE kind = 'client'
                OR kind = 'account' AND value = ? OR kind = 'domain' AND value = ?
        )
"""


def find(
    database: Database, account: str, address: str, judged_by: int, now: float
) -> tuple[str, float] | None:
    """Return the instance of the latest mail from where a repeat is from, and until when it is one.

    None for no repeat.  `address` is as recorded.
    """
    times = now, now - FRESH_SECONDS, now + FRESH_SECONDS
    names = account, account.rpartition("@")[2]
    return database.row(_REPEAT, (account, address, judged_by, *times, *names))


def end(database: Database, account: str) -> None:
    """Take back that mails of an account are repeats, in the caller's turn."""
    statement = "UPDATE sighting SET repeats_until = 0 WHERE account = ? AND repeats_until <> 0"
    database.write_later(statement, (account,))


def is_on_disk(seen: Sighting, now: float) -> bool:
    """Whether a sighting that was read is certainly on disk."""
    return seen.repeats_until > 0 or now - seen.first_seen >= FRESH_SECONDS


APPEND = upsert("counted", ("writer", "number"), ("at", "mails"))


def line(place: Place, count: Count) -> str:
    """Return how the log has mails of an account from an address.

    A count is the times of the first and the last of them, how many, and the instances of these
    two.  Then comes the client name of the last.  No FIELD is in these.
    """
    account, address, incident = place
    first, last, mails, *names = count
    # The account is last: a login may have any character but an end of line.
    return FIELD.join((repr(first), repr(last), str(mails), address, *names, incident, account))


def parsed(line: str) -> tuple[Place, Count] | None:
    """Return what a line of the log has, None for damaged text."""
    try:
        first, last, mails, address, before, latest, name, incident, account = line.split(FIELD, 8)
        times = float(first), float(last)
        int(times[0] + times[1])  # neither infinite nor no number
        int(incident or 0)
        return (account, address, incident), (*times, int(mails), before, latest, name)
    except (ValueError, OverflowError):
        return None


def append(database: Database, groups: list[tuple[str, int, float, str]]) -> None:
    """Append groups of answered mails to the log, in a transaction of its own.

    A group is its writer, its number with that, the time of the first mail, and the lines.  All of
    it may be done again.
    """
    with database:
        database.write_many(APPEND, groups)


def late(now: float) -> float:
    """Return the time before which mail may not be only in the log when another is decided about.

    See LATE_SECONDS.  An earlier day is too long ago as well: it may have made a place familiar.
    """
    return max(now - LATE_SECONDS, now // 86400 * 86400)


def length(database: Database, now: float) -> tuple[int, float]:
    """Return rows of the log, and the seconds since its first mail."""
    row = database.row("SELECT count(*), coalesce(min(at), ?) FROM counted", (now,))
    assert row is not None
    return row[0], abs(now - row[1])
