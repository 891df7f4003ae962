"""The rows of a block that begins, lasts or ends: incidents, held mail, events, notices.

All of it inside the caller's `database.in_turn(work, account)`, so that a block, the mail that
crossed the limit and the notice about it are there together or not at all.
"""

from __future__ import annotations

from time import time_ns

from pcc.history import CLOCK_SLACK
from pcc.store import repeats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.config import Policy
    from pcc.protocol import PolicyRequest
    from pcc.rule import Crossing
    from pcc.store.engine.interface import Database

MOST_ATTEMPTS = 500
"""Addresses that are kept of the mail that one incident stopped."""


_latest_id = 0


def _new_id() -> int:
    """Return the id of a new row: nanoseconds since 1970, or more where the clock stands still.

    Its key begins with the account.  So no counter is shared: two processes would have to write
    about one account in the same nanosecond.
    """
    global _latest_id
    _latest_id = max(time_ns(), _latest_id + 1)
    return _latest_id


_ADD_ATTEMPT = f"""
    INSERT INTO attempt (account, incident, address, mails, first_try, last_try)
    SELECT ?, ?, ?, ?, ?, ? FROM (SELECT 1 AS one) AS mail
    WHERE EXISTS (SELECT 1 FROM attempt WHERE account = ? AND incident = ? AND address = ?)
        OR (SELECT count(*) FROM attempt WHERE account = ? AND incident = ?) < {MOST_ATTEMPTS}
    ON CONFLICT (account, incident, address) DO UPDATE SET mails = attempt.mails + excluded.mails,
        last_try = CASE WHEN attempt.last_try > excluded.last_try THEN attempt.last_try
            ELSE excluded.last_try END
"""


def begin_incident(
    database: Database,
    account: str,
    policy: Policy,
    crossing: Crossing,
    request: PolicyRequest,
    country: str,
    now: float,
) -> int:
    """Open an incident for the mail that crosses a limit; return its id.

    That of a limit which only observes is open beside any other.
    """
    only_observes = crossing.limit.observes
    expires = 0.0
    if not (only_observes or policy.observes):
        expires = end_of_block(database, account, policy, now)
    values: dict[str, object] = {
        "mode": "observe" if only_observes else policy.mode,
        "rule": crossing.rule,
        "window_seconds": crossing.limit.window,
        "countries": ",".join(crossing.countries),
        "country": country,
        "client_address": request.client_address,
        "client_name": request.client_name,
        "queue_id": request.queue_id,
        "action": policy.action_word,
        "began": now,
        "expires": expires,
    }
    return insert_incident(database, account, values, "observed" if only_observes else "incident")


def end_of_block(database: Database, account: str, policy: Policy, now: float) -> float:
    """Return when a block that begins now ends by itself, 0 for never.

    It lasts longer than the last one, if that ended by itself: a thief who is still there would
    otherwise send some mail each time.
    """
    if not policy.block_for:
        return 0
    last = database.row(
        "SELECT began, expires, ended FROM incident WHERE account = ? AND mode = 'enforce'"
        " AND began < ? ORDER BY began DESC, id DESC LIMIT 1",
        (account, now),
    )
    before = 0.0
    if last is not None and 0 < last[1] <= (now if last[2] is None else last[2]):
        unblocked = database.row(
            "SELECT 1 FROM event WHERE account = ? AND what = 'unblocked' AND at >= ? LIMIT 1",
            (account, last[0]),
        )
        before = 0 if unblocked else last[1] - last[0]
    return now + policy.block_seconds(before)


def insert_incident(
    database: Database, account: str, values: dict[str, object], column: str = "incident"
) -> int:
    """Insert an incident with these columns; make it the account's open one, or `observed`."""
    names = ", ".join(values)
    marks = ", ".join("?" * len(values))
    incident = _new_id()
    database.write_later(
        f"INSERT INTO incident (id, account, held, tries, instance, {names})"
        f" VALUES (?, ?, 0, 0, '', {marks})",
        (incident, account, *values.values()),
    )
    database.write_later(
        f"INSERT INTO account (account, generation, turns, {column}) VALUES (?, 0, 0, ?)"
        f" ON CONFLICT (account) DO UPDATE SET {column} = excluded.{column}",
        (account, incident),
    )
    repeats.end(database, account)
    return incident


def end_incidents(database: Database, account: str, now: float) -> None:
    """Close the account's open incidents; counting starts afresh with a new generation."""
    database.write_later(
        "UPDATE incident SET ended = ? WHERE account = ? AND ended IS NULL", (now, account)
    )
    database.write_later(
        "UPDATE account SET incident = NULL, observed = NULL, generation = generation + 1,"
        " hosting_mails = '', foreign_mails = '' WHERE account = ?",
        (account,),
    )
    repeats.end(database, account)


def end_observed(database: Database, account: str, incident: int, now: float) -> None:
    """Close the account's open incident of a limit that only observes; nothing else changes."""
    close_incident(database, account, incident, now)
    database.write_later("UPDATE account SET observed = NULL WHERE account = ?", (account,))


def close_incident(database: Database, account: str, incident: int, now: float) -> None:
    """Close an incident that another takes the place of."""
    database.write_later(
        "UPDATE incident SET ended = ? WHERE account = ? AND id = ?", (now, account, incident)
    )


def held(database: Database, account: str, incident: int, instance: str) -> tuple[int, str | None]:
    """Return how many mails were put on hold in an incident, and the queue id of this one.

    The latter is None for a mail that was not held.
    """
    row = database.row(
        "SELECT incident.held, held.queue_id FROM incident"
        " LEFT JOIN held ON held.account = incident.account AND held.incident = incident.id"
        " AND held.instance = ? WHERE incident.account = ? AND incident.id = ?",
        (instance, account, incident),
    )
    return (0, None) if row is None else (int(row[0]), row[1])


def hold(
    database: Database,
    incident: int,
    account: str,
    instance: str,
    request: PolicyRequest,
    host: str,
    address: str,
    now: float,
) -> None:
    """Remember a mail that is put on hold on this host, and count it as a try.

    `address`: the client's, as recorded.
    """
    database.write_later(
        "INSERT INTO held (incident, instance, account, queue_id, sender, at, state, host)"
        " VALUES (?, ?, ?, ?, ?, ?, 'held', ?)",
        (incident, instance, account, request.queue_id, request.sender, now, host),
    )
    database.write_later(
        "UPDATE incident SET held = held + 1 WHERE account = ? AND id = ?", (account, incident)
    )
    count_tries(database, account, incident, [(address, 1, now, now)], instance)


def remember_queue_id(
    database: Database, account: str, incident: int, instance: str, queue_id: str
) -> None:
    """Add the queue id of a held mail, which Postfix did not give at first."""
    database.write_later(
        "UPDATE held SET queue_id = ? WHERE account = ? AND incident = ? AND instance = ?",
        (queue_id, account, incident, instance),
    )


def count_tries(
    database: Database,
    account: str,
    incident: int,
    tries: Sequence[tuple[str, int, float, float]],
    instance: str,
) -> None:
    """Add mails that were stopped because of an incident; `instance` is the latest one's.

    `tries`: addresses, as recorded or "", how many from each, and the times of the first and last.

    A block that began in the future did so before the clock jumped back: it is
    made to begin now, or it would last longer by that jump.
    """
    last_try = max([last for *_, last in tries])
    database.write_later(
        "UPDATE incident SET tries = tries + ?, instance = ?,"
        " last_try = CASE WHEN last_try > ? THEN last_try ELSE ? END,"
        " expires = CASE WHEN expires > 0 AND began > ? THEN expires - began + ?"
        " ELSE expires END, began = CASE WHEN began > ? THEN ? ELSE began END"
        " WHERE account = ? AND id = ?",
        (
            *(sum([mails for _, mails, *_ in tries]), instance, last_try, last_try),
            *(last_try + CLOCK_SLACK, last_try, last_try + CLOCK_SLACK, last_try),
            *(account, incident),
        ),
    )
    for address, *sent in tries:
        if address:
            key = account, incident, address
            database.write_later(_ADD_ATTEMPT, (*key, *sent, *key, account, incident))


def add_event(
    database: Database, account: str, what: str, by: str, detail: str, now: float
) -> None:
    """Record what happened to an account."""
    database.write_later(
        "INSERT INTO event (id, at, account, what, who, detail) VALUES (?, ?, ?, ?, ?, ?)",
        (_new_id(), now, account, what, by, detail),
    )


def add_notice(
    database: Database,
    incident: int,
    account: str,
    what: str,
    channels: tuple[str, ...],
    now: float,
    detail: str = "{}",
    together: str = "",
) -> None:
    """Leave a notice in the outbox, one row per channel ("mail", "command").

    Mails that have the same `together` become one.
    """
    for channel in channels:
        database.write_later(
            "INSERT INTO outbox (id, incident, account, what, channel, detail, created, taken,"
            " tries, last_error, next_try, recipients, together)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, '', 0, '', ?)",
            (_new_id(), incident, account, what, channel, detail, now, together),
        )
