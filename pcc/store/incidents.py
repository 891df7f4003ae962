"""The rows that administrators read and change: blocks, incidents, held mail, events.

Reads are single statements, so that no reader keeps the write-ahead log from
being reset for long.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pcc.store import blocks, exemptions, sightings
from pcc.store.engine.interface import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCH = 500
"""Rows that are changed in one transaction, so that verdicts never wait long."""

TO_RELEASE, TO_DELETE = "to release", "to delete"
"""The states of a held mail that another host has, and that was decided about on this one."""

STILL_HELD = f"state IN ('held', '{TO_RELEASE}', '{TO_DELETE}')"


class IncidentRow(NamedTuple):
    """One incident as the database has it; see schema.sql for the columns."""

    id: int
    account: str
    mode: str
    rule: str
    window_seconds: int
    countries: str
    country: str
    client_address: str
    client_name: str
    queue_id: str
    action: str
    began: float
    expires: float
    ended: float | None
    held: int
    tries: int
    last_try: float | None

    def blocks(self, now: float) -> bool:
        """Whether the account is blocked because of it at this time, unless pcc only observes."""
        is_open = self.ended is None and not (self.expires and self.expires <= now)
        return is_open and self.mode == "enforce"

    def is_longer(self, block_for: int) -> bool:
        """Whether it blocks for longer than `block_for`, because the last block ended by itself."""
        return 0 < block_for < self.expires - self.began - 0.5

    def state(self, now: float) -> str:
        """Return the word for what has become of it by this time."""
        if self.ended is not None:
            return "lifted"
        if self.expires and self.expires <= now:
            return "expired"
        return "BLOCKED" if self.mode == "enforce" else "OBSERVED"


class SightingRow(NamedTuple):
    """An account's sightings from one address."""

    country: str
    address: str
    client_name: str
    mails: int
    first_seen: float
    last_seen: float


class AttemptRow(NamedTuple):
    """Mail that an incident stopped, from one address."""

    address: str
    mails: int
    first_try: float
    last_try: float


class HeldRow(NamedTuple):
    """A mail that was put on hold; `state` is as last known.

    `host`: Config.this_host of the host that has it in its queue.
    """

    incident: int
    instance: str
    account: str
    queue_id: str
    sender: str
    at: float
    state: str
    host: str = ""


class EventRow(NamedTuple):
    """Something that happened to an account."""

    at: float
    what: str
    by: str
    detail: str


Ends = dict[tuple[str, float | None], EventRow]
"""The ends of incidents, by account and time."""


def ends(database: Database) -> Ends:
    """Return the events that ended incidents, each recorded at the time of the end itself."""
    rows = database.rows(
        "SELECT account, at, what, who, detail FROM event"
        " WHERE what IN ('unblocked', 'expired', 'cleared') ORDER BY at, id"
    )
    return {(str(row[0]), row[1]): EventRow(*row[1:]) for row in rows}


def open_incidents(database: Database, mode: str, now: float) -> list[IncidentRow]:
    """Return the incidents of a mode that are in force, oldest first."""
    return _incidents(
        database,
        "ended IS NULL AND mode = ? AND (expires = 0 OR expires > ?) ORDER BY began, id",
        (mode, now),
    )


def all_incidents(database: Database, mode: str) -> list[IncidentRow]:
    """Return the incidents of a mode, lifted ones too, oldest first."""
    return _incidents(database, "mode = ? ORDER BY began, id", (mode,))


def incidents_since(database: Database, since: float) -> list[IncidentRow]:
    """Return the incidents of both modes that began at that time or later, oldest first."""
    return _incidents(database, "began >= ? ORDER BY began, id", (since,))


def open_incident(database: Database, account: str) -> IncidentRow | None:
    """Return the account's open incident, which may have expired; one that observes comes last."""
    number = "SELECT coalesce(incident, observed) FROM account WHERE account = ?"
    rows = _incidents(database, f"account = ? AND id = ({number})", (account, account))
    return rows[0] if rows else None


def incident(database: Database, account: str, number: int) -> IncidentRow | None:
    """Return an incident of an account by its id."""
    rows = _incidents(database, "account = ? AND id = ?", (account, number))
    return rows[0] if rows else None


def _incidents(database: Database, condition: str, values: tuple[object, ...]) -> list[IncidentRow]:
    names = ", ".join(IncidentRow._fields)
    return [
        IncidentRow(*row)
        for row in database.rows(f"SELECT {names} FROM incident WHERE {condition}", values)
    ]


def sightings_of(database: Database, account: str) -> list[SightingRow]:
    """Return where an account was seen, the latest first."""
    rows = database.rows(
        "SELECT country, address, client_name, mails, first_seen, last_seen FROM sighting"
        " WHERE account = ? ORDER BY last_seen DESC, first_seen DESC",
        (account,),
    )
    return [SightingRow(*row) for row in rows]


def logins_like(database: Database, account: str) -> list[str]:
    """Return a few accounts that are known with the same local part, in another domain."""
    local = account.partition("@")[0]
    pattern = "".join(f"!{sign}" if sign in "!%_" else sign for sign in local) + "@%"
    rows = database.rows(
        "SELECT account FROM sighting WHERE account LIKE ? ESCAPE '!'"
        " UNION SELECT account FROM account WHERE account LIKE ? ESCAPE '!'"
        " ORDER BY account LIMIT 3",
        (pattern, pattern),
    )
    return [str(row[0]) for row in rows if row[0] != account]


def events_of(database: Database, account: str) -> list[EventRow]:
    """Return what happened to an account, oldest first."""
    rows = database.rows(
        "SELECT at, what, who, detail FROM event WHERE account = ? ORDER BY id", (account,)
    )
    return [EventRow(*row) for row in rows]


def attempts_of(database: Database, incident: IncidentRow) -> list[AttemptRow]:
    """Return where the mail that an incident stopped came from, the latest first."""
    rows = database.rows(
        "SELECT address, mails, first_try, last_try FROM attempt"
        " WHERE account = ? AND incident = ? ORDER BY last_try DESC, address",
        (incident.account, incident.id),
    )
    return [AttemptRow(*row) for row in rows]


def latest_attempts(database: Database, mode: str, most: int) -> list[tuple[str, AttemptRow]]:
    """Return the accounts of open incidents whose mail was stopped, and from where, latest first.

    At most so many.
    """
    rows = database.rows(
        "SELECT attempt.account, address, mails, first_try, attempt.last_try FROM attempt"
        " JOIN incident ON incident.account = attempt.account AND incident.id = attempt.incident"
        " WHERE ended IS NULL AND mode = ? ORDER BY attempt.last_try DESC, address LIMIT ?",
        (mode, most),
    )
    return [(str(row[0]), AttemptRow(*row[1:])) for row in rows]


def latest_events(database: Database, most: int) -> list[tuple[str, EventRow]]:
    """Return what happened to which account, the latest first, at most so many."""
    rows = database.rows(
        "SELECT account, at, what, who, detail FROM event ORDER BY at DESC, id DESC LIMIT ?",
        (most,),
    )
    return [(str(row[0]), EventRow(*row[1:])) for row in rows]


def held_mail(database: Database, account: str = "") -> list[HeldRow]:
    """Return the mails on hold as far as is known, oldest first; of all accounts for ""."""
    of_account, values = (" AND account = ?", (account,)) if account else ("", ())
    rows = database.rows(
        "SELECT incident, instance, account, queue_id, sender, at, state, host FROM held"
        f" WHERE {STILL_HELD}{of_account} ORDER BY at, queue_id",
        values,
    )
    return [HeldRow(*row) for row in rows]


def set_held_states(database: Database, held: list[HeldRow], state: str) -> None:
    """Note what has become of held mails, in transactions of a few hundred."""
    statement = "UPDATE held SET state = ? WHERE account = ? AND incident = ? AND instance = ?"
    for start in range(0, len(held), BATCH):
        rows = [
            (state, row.account, row.incident, row.instance) for row in held[start : start + BATCH]
        ]
        database.in_turn(partial(database.write_many, statement, rows))


def block(
    database: Database,
    account: str,
    action: str,
    expires: float,
    by: str,
    reason: str,
    now: float,
    marked: Callable[[str], str],
    channels: tuple[str, ...] = (),
) -> bool:
    """Block an account by hand; return False if it is blocked already.

    `marked`: see rule.Rule.marked().  `channels`: the ways on which a notice is left.
    """

    def work() -> bool:
        before = open_incident(database, account)
        if before is not None:
            if before.blocks(now):
                return False
            blocks.end_incidents(database, account, now)
        sightings.change_days(database, account, marked)
        incident: dict[str, object] = {
            "mode": "enforce",
            "rule": "by hand",
            "window_seconds": 0,
            "action": action,
            "began": now,
            "expires": expires,
        }
        # No mail has begun it.
        for column in ("countries", "country", "client_address", "client_name", "queue_id"):
            incident[column] = ""
        number = blocks.insert_incident(database, account, incident)
        blocks.add_event(database, account, "blocked", by, reason, now)
        detail = json.dumps({"by": by, "reason": reason})
        blocks.add_notice(database, number, account, "blocked", channels, now, detail)
        return True

    is_new = database.in_turn(work, account)
    database.sync()
    return is_new


def unblock(
    database: Database,
    account: str,
    by: str,
    reason: str,
    exempt_until: float,
    now: float,
) -> IncidentRow | None:
    """Lift the block, or clear the observed incident, of an account; return it if there was one.

    Counting starts afresh for this account alone.  With `exempt_until` the
    account is exempt until then at least, from the same moment on.
    """

    def work() -> IncidentRow | None:
        lifted = open_incident(database, account)
        if lifted is not None:
            blocks.end_incidents(database, account, now)
            blocks.add_event(database, account, "unblocked", by, reason, now)
            if exempt_until:
                exemptions.write_if_longer(database, account, exempt_until, by, reason, now)
        return lifted

    lifted = database.in_turn(work, account)
    database.sync()
    return lifted


def add_unblock_notices(
    database: Database,
    lifted: Sequence[tuple[IncidentRow, dict[str, object]]],
    channels: tuple[str, ...],
    now: float,
    together: str = "",
) -> None:
    """Leave notices about unblocks, once it is known what became of the held mail.

    `lifted`: incidents, each with the details of its notice.  Mails with the same `together`
    become one.
    """

    def add() -> None:  # in one transaction, so that nobody sends the first ones alone
        for incident, detail in lifted:
            blocks.add_notice(
                *(database, incident.id, incident.account, "unblocked", channels, now),
                *(json.dumps(detail), together),
            )

    database.in_turn(add)


def record_event(
    database: Database, account: str, what: str, by: str, detail: str, now: float
) -> None:
    """Record what happened to an account, in a transaction of its own."""
    database.in_turn(lambda: blocks.add_event(database, account, what, by, detail, now))
