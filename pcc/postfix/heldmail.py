"""Finds in the queue the mail that was remembered when it was put on hold; no I/O.

A row that has a queue id means the mail of that id, unless that is a later one with the same id.
The same mail has the sender that was remembered, and its transaction began (MAIL FROM, whole
seconds) before the row was written, by no more than a session lasts.  Postfix may have rewritten
the sender (canonical maps, masquerading, a milter); then the login in the queue file decides.

A row without a queue id (first recipient, at RCPT) means some mail on hold of the same sender whose
transaction began in the minute before. No row with an id means that mail, and its queue file names
no other account.  That is never sure.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pcc.postfix.queue import HOLD, Names, QueuedMail
from pcc.store.incidents import HeldRow

LONGEST_SESSION = 3600
"""Seconds from MAIL FROM to the end of the message: Postfix waits 300 s for each command, and for
each piece of the message."""

MINUTE = 60
"""Seconds from MAIL FROM to the first recipient, for a client that is no person typing."""

HELD = "held"
RELEASED = "released"  # in another queue than hold
MISSING = "missing"  # not in the queue
REUSED = "reused"  # the queue id is another mail's by now
UNSURE = "unsure"

Accounts = Callable[[Sequence[QueuedMail]], "dict[str, str] | None"]
"""Returns queue id to account as the queue files name it; None where they can't be read."""


class Match(NamedTuple):
    """A remembered mail, what the queue has for it, and what that is."""

    row: HeldRow
    mail: QueuedMail | None
    state: str


def match(
    rows: Sequence[HeldRow], mails: Sequence[QueuedMail], names: Names, accounts: Accounts
) -> list[Match]:
    """Return what has become of each row, in their order.

    `rows` are those of all accounts: what is one account's is none other's.
    """
    found = _match_queue_ids([row for row in rows if row.queue_id], mails, names, accounts)
    claimed = {
        entry.mail.queue_id for entry in found.values() if entry.mail and entry.state != REUSED
    }
    free = [mail for mail in mails if mail.queue_name == HOLD and mail.queue_id not in claimed]
    found |= _match_senders([row for row in rows if not row.queue_id], free, names, accounts)
    return [found[row] for row in rows]


def _match_queue_ids(
    rows: Sequence[HeldRow], mails: Sequence[QueuedMail], names: Names, accounts: Accounts
) -> dict[HeldRow, Match]:
    by_id = {mail.queue_id: mail for mail in mails}
    found: dict[HeldRow, Match] = {}
    rewritten = []
    for row in rows:
        mail = by_id.get(row.queue_id)
        if mail is None:
            found[row] = Match(row, None, MISSING)
        elif not row.at - LONGEST_SESSION <= mail.arrived <= row.at:
            found[row] = Match(row, None, REUSED)
        elif unquoted(mail.sender) in spellings(row.sender, names):
            found[row] = _same(row, mail)
        else:
            rewritten.append((row, mail))
    if rewritten:
        known = accounts([mail for _, mail in rewritten])
        for row, mail in rewritten:
            if known is None:
                found[row] = Match(row, mail, UNSURE)
            elif known.get(mail.queue_id) == row.account:
                found[row] = _same(row, mail)
            else:
                found[row] = Match(row, None, REUSED)
    return found


def _same(row: HeldRow, mail: QueuedMail) -> Match:
    return Match(row, mail, HELD if mail.queue_name == HOLD else RELEASED)


def _match_senders(
    rows: Sequence[HeldRow], mails: Sequence[QueuedMail], names: Names, accounts: Accounts
) -> dict[HeldRow, Match]:
    if not rows:
        return {}
    senders = {spelling for row in rows for spelling in spellings(row.sender, names)}
    begin, end = min(row.at for row in rows) - MINUTE, max(row.at for row in rows)
    free: dict[str, list[QueuedMail]] = {sender: [] for sender in senders}
    for mail in sorted(mails, key=_arrived):
        if begin <= mail.arrived <= end and unquoted(mail.sender) in senders:
            free[unquoted(mail.sender)].append(mail)
    known = accounts([mail for found in free.values() for mail in found]) or {}
    matches = {row: Match(row, None, MISSING) for row in rows}
    for row in rows:
        for sender in spellings(row.sender, names):
            of_sender = free[sender]
            # The latest mail that the row can mean is its own, and free no longer.
            place = bisect_right(of_sender, row.at, key=_arrived) - 1
            while place >= 0 and of_sender[place].arrived >= row.at - MINUTE:
                if known.get(of_sender[place].queue_id, row.account) == row.account:
                    break
                place -= 1
            else:
                continue
            matches[row] = Match(row, of_sender.pop(place), UNSURE)
            break
    return matches


def _arrived(mail: QueuedMail) -> int:
    return mail.arrived


def spellings(sender: str, names: Names) -> set[str]:
    """Return what a policy request's sender can be in the queue, unquoted, if not rewritten.

    Postfix completes addresses and drops a dot at the end; it keeps the case.
    """
    if not sender:
        return {names.empty_address_recipient}
    plain = sender.removesuffix(".")
    domain = plain.rpartition("@")[2]
    if domain == plain:
        return {plain, f"{plain}@{names.myorigin}"}
    if "." not in domain and not domain.startswith("["):
        return {plain, f"{plain}.{names.mydomain}"}
    return {plain}


def unquoted(address: str) -> str:
    """Return an address of postqueue(1) as a policy request has it: without RFC 5322 quotes."""
    local, at, domain = address.rpartition("@") if "@" in address else (address, "", "")
    if len(local) > 1 and local[0] == local[-1] == '"':
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    return f"{local}{at}{domain}"
