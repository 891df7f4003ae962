"""The outbox: notices that are still to be sent, and the evidence that goes into them.

A notice is taken in a transaction of its own, sent outside of any, and then
removed or marked as failed.  A process that takes one has it for LEASE_SECONDS.  If that process
is killed, another one takes it after that time.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from pcc.store import counters
from pcc.store.engine.interface import Database
from pcc.store.incidents import IncidentRow, SightingRow

LEASE_SECONDS = 120
"""How long a process has what it took; longer than any way of sending may take."""

LONGEST_PAUSE = 3600
"""Seconds between two tries at most."""


INCIDENTS = ("blocked", "observed")
"""The kinds of notices of incidents that began."""


class OutboxRow(NamedTuple):
    """One notice on one channel; see schema.sql for the columns."""

    id: int
    incident: int
    account: str
    what: str
    channel: str
    detail: str
    created: float
    tries: int
    next_try: float
    recipients: str
    together: str

    @property
    def is_incident(self) -> bool:
        """Whether it is about an incident that began."""
        return self.what in INCIDENTS


# A time further ahead than it can be was written before the clock jumped back, and holds nobody
# up.  `now` is from before this process waited for its turn to write, hence the slack.
_CLOCK_SLACK = 60
_INCIDENT_MAIL = f"channel = 'mail' AND what IN {INCIDENTS}"
_FREE = "NOT (taken > ? AND taken <= ?)"


class Wanted(NamedTuple):
    """Which notices are meant.

    `account`: only those about that account.  `together`: only those with this word.  `only_due`:
    none that failed lately.  `without`: none on these channels.  `holds_mail`: no mail of an
    incident that was never tried.  `left`: only mail for these recipients, as in OutboxRow, and
    without `together` only that of incidents.
    """

    account: str = ""
    together: str = ""
    only_due: bool = False
    without: frozenset[str] = frozenset()
    holds_mail: bool = False
    left: str | None = None


ALL = Wanted()


def first(database: Database, after: int, now: float, wanted: Wanted = ALL) -> OutboxRow | None:
    """Return the first notice with an id above `after` that nobody has taken, if there is one."""
    conditions = ["id > ?", _FREE]
    values: list[object] = [after, now, now + LEASE_SECONDS + _CLOCK_SLACK]
    if wanted.account:
        conditions.append("account = ?")
        values.append(wanted.account)
    if wanted.together:
        conditions.append("together = ?")
        values.append(wanted.together)
    if wanted.only_due:
        conditions.append("NOT (next_try > ? AND next_try <= ?)")
        values += [now, now + LONGEST_PAUSE + _CLOCK_SLACK]
    if wanted.without:
        conditions.append(f"channel NOT IN ({', '.join('?' * len(wanted.without))})")
        values += wanted.without
    if wanted.holds_mail:
        conditions.append(f"NOT (tries = 0 AND {_INCIDENT_MAIL})")
    if wanted.left is not None:
        mail = "channel = 'mail'" if wanted.together else _INCIDENT_MAIL
        conditions.append(f"recipients = ? AND {mail}")
        values.append(wanted.left)
    row = database.row(
        f"SELECT {', '.join(OutboxRow._fields)} FROM outbox WHERE {' AND '.join(conditions)}"
        " ORDER BY id LIMIT 1",
        tuple(values),
    )
    return None if row is None else OutboxRow(*row)


def take(database: Database, after: int, now: float, wanted: Wanted = ALL) -> OutboxRow | None:
    """Take the notice that first() returns, so that nobody else sends it."""
    while True:
        row = first(database, after, now, wanted)
        if row is None:
            return None
        statement = f"UPDATE outbox SET taken = ? WHERE account = ? AND id = ? AND {_FREE}"
        free = now, now + LEASE_SECONDS + _CLOCK_SLACK
        values = (now + LEASE_SECONDS, row.account, row.id, *free)
        if database.in_turn(partial(database.write, statement, values)):
            return row


def remove(database: Database, row: OutboxRow, *, sent: bool, failed: bool) -> None:
    """Remove a notice.

    `sent`: somebody got it.  `failed`: others never will.  Neither: there is nobody to send it to.
    """

    def work() -> None:
        database.write("DELETE FROM outbox WHERE account = ? AND id = ?", (row.account, row.id))
        counters.add(database, {"notices sent": int(sent), "notices failed": int(failed)})

    database.in_turn(work)


def mark_failed(
    database: Database,
    row: OutboxRow,
    error: str,
    next_try: float,
    recipients: str,
    *,
    sent: bool,
) -> None:
    """Give a notice back that could not be sent; `sent`: somebody has got it."""

    def work() -> None:
        database.write(
            "UPDATE outbox SET taken = 0, tries = tries + 1, last_error = ?, next_try = ?,"
            " recipients = ? WHERE account = ? AND id = ?",
            (error, next_try, recipients, row.account, row.id),
        )
        counters.add(database, {"notices sent": int(sent), "notices failed": 1})

    database.in_turn(work)


class Earlier(NamedTuple):
    """The sightings of a country before it could count: addresses and mails, since `first_seen`."""

    country: str
    addresses: int
    mails: int
    first_seen: float


def evidence(database: Database, incident: IncidentRow, most: int) -> tuple[list[SightingRow], int]:
    """Return what had counted when an incident began, latest first, and how many there are.

    Their times and mails are those since the account was last unblocked.  If there are more than
    `most` sightings, those returned are the latest from every country in turn.
    """
    countries = incident.countries.split(",") if incident.countries else []
    among = f" AND country IN ({', '.join('?' * len(countries))})" if countries else ""
    names = ", ".join(SightingRow._fields)
    began = incident.began
    rows = database.rows(
        f"SELECT {names}, count(*) OVER () FROM (SELECT {names}, row_number() OVER"
        " (PARTITION BY country ORDER BY last_seen DESC, first_seen DESC) AS place FROM"
        f" (SELECT {_COUNTED} FROM sighting WHERE account = ?) AS known"
        f" WHERE first_seen <= ? AND last_seen >= ?{among}) AS counted"
        " ORDER BY place, last_seen DESC LIMIT ?",
        (began, began, incident.account, began, _since(database, incident), *countries, most),
    )
    sightings = [SightingRow(*row[:-1]) for row in rows]
    sightings.sort(key=lambda seen: (seen.last_seen, seen.first_seen), reverse=True)
    return sightings, rows[0][-1] if rows else 0


def seen_earlier(database: Database, incident: IncidentRow) -> list[Earlier]:
    """Return what was seen before it could count in an incident, most mails first.

    That is before the account was last unblocked, or longer ago than the limit's window.
    """
    since = _since(database, incident)
    rows = database.rows(
        "SELECT country, count(*), sum(mails), min(first_seen) FROM (SELECT country, first_seen,"
        " CASE WHEN last_seen < ? THEN mails ELSE mails_before END AS mails FROM sighting"
        " WHERE account = ? AND counts_since <= ?) AS known"
        " WHERE mails > 0 AND first_seen < ? GROUP BY country ORDER BY sum(mails) DESC, country",
        (since, incident.account, incident.began, since),
    )
    return [Earlier(*row) for row in rows]


# An address that counting has started afresh for since the incident began: what it has from before.
_COUNTED = (
    "country, address, client_name, last_seen,"
    " CASE WHEN counts_since > ? THEN mails_before ELSE mails - mails_before END AS mails,"
    " CASE WHEN counts_since = 0 OR counts_since > ? THEN first_seen ELSE counts_since END"
    " AS first_seen"
)


def _since(database: Database, incident: IncidentRow) -> float:
    """Return from when on the account's sightings could count in an incident."""
    row = database.row(
        "SELECT max(ended) FROM incident WHERE account = ? AND id <> ? AND ended < ?",
        (incident.account, incident.id, incident.began),
    )
    return max(incident.began - incident.window_seconds, (row and row[0]) or 0)
