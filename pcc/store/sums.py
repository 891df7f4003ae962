"""Folds the log of counts into the sums: what each account's addresses, places and blocks have.

A process appends the mails that it has answered to the log (pcc/store/repeats.py), a group of them
a row, which locks no account.  Every few seconds of traffic one process folds the log; a decision,
and each command of an administrator, does so first where rows are old.

A group is in the sums once, whatever happened.  Its row goes in the transaction that adds it, and
`folded` has the highest number of each writer: A group that is written again, because the answer
to its COMMIT was lost, is dropped.  A mail that was asked about again in another process, as by
Postfix's retry, has the instance of the mail before it, and counts once as well.

A mail also teaches its day, unless its account has an incident, or counts afresh since then.
"""

from __future__ import annotations

from time import monotonic

from pcc.history import DAY, joined_days
from pcc.store import blocks, upsert
from pcc.store.repeats import FIELD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pcc.store.engine.interface import Database

    Mail = tuple[float, str, str]
    Line = tuple[float, str, str, str, int, str]

ROWS = 8
"""Rows of the log that one transaction folds, so that no verdict waits long."""

KEYS = 40
"""Places that one query asks for."""

REMEMBERED_SECONDS = 3600
"""How long the numbers of a writer are kept after its last group: longer than any writes again."""

# From the writer on that has waited longest, and each one's groups by their numbers.
_OLDEST = (
    "SELECT writer, number, mails FROM counted"
    " WHERE writer >= (SELECT writer FROM counted ORDER BY at LIMIT 1)"
    f" ORDER BY writer, number LIMIT {ROWS}"
)
_WRITE_FOLDED = upsert("folded", ("writer",), ("number", "at"))


def fold(database: Database, now: float, seconds: float = 0) -> None:
    """Add all of the log to the sums; with `seconds`, as much as can be begun in that time."""
    end = monotonic() + seconds
    while rows := database.rows(_OLDEST):
        _fold(database, rows, now)
        if seconds and monotonic() > end:
            return


def _fold(database: Database, rows: list[Any], now: float) -> None:
    groups = [
        (writer, number, [line for text in mails.split("\n") if (line := _line(text))])
        for writer, number, mails in rows
    ]
    accounts = {line[-1] for *_, lines in groups for line in lines}
    # The turn of no account, which comes first, is that to fold.
    database.in_turn(lambda: _add(database, groups, now), "", *accounts)


def _line(text: str) -> Line | None:
    """Return time, address, instance, client name, incident and account; None for damaged text."""
    try:
        at, address, instance, client_name, incident, account = text.split(FIELD, 5)
        time = float(at)
        int(time // DAY)  # neither infinite nor no number
        return time, address, instance, client_name, int(incident or 0), account
    except (ValueError, OverflowError):
        return None


def _add(database: Database, groups: list[tuple[str, int, list[Line]]], now: float) -> None:
    """Add groups of the log to the sums, in the turn of their accounts."""
    mails: dict[tuple[str, ...], list[Mail]] = {}
    tries: dict[tuple[str, int], list[Mail]] = {}
    latest = {"": 0}  # the turn to fold: so that others know of it
    for writer, number, lines in groups:
        key = (writer, number)
        if not database.write("DELETE FROM counted WHERE writer = ? AND number = ?", key):
            continue  # another process has folded it meanwhile
        if writer not in latest:
            row = database.row("SELECT number FROM folded WHERE writer = ?", (writer,))
            latest[writer] = row[0] if row else 0
        if number <= latest[writer]:
            continue  # it was written again
        latest[writer] = number
        for at, address, instance, client_name, incident, account in lines:
            if incident:
                tries.setdefault((account, incident), []).append((at, instance, address))
            else:
                mails.setdefault((account, address), []).append((at, instance, client_name))
    database.write_many(_WRITE_FOLDED, [(writer, number, now) for writer, number in latest.items()])
    database.write_later(
        "DELETE FROM folded WHERE at < ? AND writer <> ''", (now - REMEMBERED_SECONDS,)
    )
    _add_mails(database, mails)
    for (account, incident_id), of_incident in tries.items():
        row = database.row(
            "SELECT instance FROM incident WHERE account = ? AND id = ?", (account, incident_id)
        )
        if row and (sent := _different(of_incident, row[0])):
            attempts = [(at, address) for at, _, address in sent]
            blocks.count_tries(database, account, incident_id, attempts, sent[-1][1])


def _different(mails: list[Mail], latest: str) -> list[Mail]:
    """Sort mails, and return each once.  `latest` is the instance before them."""
    mails.sort()
    different = []
    for mail in mails:
        if mail[1] != latest:
            different.append(mail)
        latest = mail[1]
    return different


def _add_mails(database: Database, mails: dict[tuple[str, ...], list[Mail]]) -> None:
    """Add mails, by account and address, to their addresses, countries and networks."""
    sightings: list[tuple[Any, ...]] = []
    hours: list[tuple[Any, ...]] = []
    places: dict[tuple[str, ...], tuple[int, float]] = {}
    days_of: dict[tuple[str, ...], set[str]] = {}
    for row in _rows(
        database,
        "SELECT sighting.account, address, country, network, hour, days, CASE WHEN incident IS NULL"
        " AND sighting.generation = coalesce(account.generation, 0) THEN 1 ELSE 0 END,"
        " last_seen, instance, client_name"
        " FROM sighting LEFT JOIN account ON account.account = sighting.account WHERE",
        ("sighting.account", "address"),
        sorted(mails),  # in the order of the keys, which is the disk's
    ):
        account, address, country, network, hour, days, teaches, *latest = row
        here = mails[account, address]
        count = len(_different(here, latest[1]))
        first, last = here[0][0], here[-1][0]
        last_seen, instance, client_name = here[-1] if last >= latest[0] else latest
        kinds = (("country", country), ("network", network))
        names = [(account, kind, name) for kind, name in kinds if name]
        for key in names:
            before = places.get(key, (0, 0.0))
            places[key] = before[0] + count, max(before[1], last_seen)
        if teaches:
            seen_on = {str(int(at // DAY)) for at in (first, last)}
            if not seen_on.issubset(days.split()):
                days = joined_days(days, " ".join(seen_on))
                for key in names:
                    days_of.setdefault(key, set()).update(seen_on)
        if int(last_seen // 3600) != hour:
            hours.append((int(last_seen // 3600), account, address))
        sightings.append((count, last_seen, instance, client_name, days, account, address))
    where = "WHERE account = ? AND address = ?"
    database.write_many(f"UPDATE sighting SET hour = ? {where}", hours)  # few: it is in an index
    database.write_many(
        "UPDATE sighting SET mails = mails + ?, last_seen = ?, instance = ?, client_name = ?,"
        f" days = ?, repeats_until = abs(repeats_until) {where}",
        sightings,
    )
    _add_to_places(database, places, days_of)


def _add_to_places(
    database: Database,
    places: dict[tuple[str, ...], tuple[int, float]],
    days_of: dict[tuple[str, ...], set[str]],
) -> None:
    """Add mails, and the days of some, to countries and networks: by account, kind and name."""
    database.write_many(
        "UPDATE place SET mails = mails + ?,"
        " last_seen = CASE WHEN last_seen < ? THEN ? ELSE last_seen END"
        " WHERE account = ? AND kind = ? AND name = ?",
        [(count, seen, seen, *key) for key, (count, seen) in places.items()],
    )
    found = _rows(
        database,
        "SELECT account, kind, name, days FROM place WHERE",
        ("account", "kind", "name"),
        [*days_of],
    )
    database.write_many(
        "UPDATE place SET days = ? WHERE account = ? AND kind = ? AND name = ?",
        [(joined_days(days, " ".join(days_of[tuple(key)])), *key) for *key, days in found],
    )


def _rows(
    database: Database, query: str, names: tuple[str, ...], keys: list[Any]
) -> list[tuple[Any, ...]]:
    """Return the rows with these keys; `names` are those of the key's columns."""
    one = f"({' AND '.join([f'{name} = ?' for name in names])})"
    rows = []
    for start in range(0, len(keys), KEYS):
        wanted = keys[start : start + KEYS]
        values = tuple([value for key in wanted for value in key])
        rows += database.rows(f"{query} {' OR '.join([one] * len(wanted))}", values)
    return rows
