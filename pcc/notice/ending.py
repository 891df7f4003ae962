"""The notice that exemptions end soon, as a mail or as JSON for a program.

It comes once for each end of an exemption, a day before that at most.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pcc.escaping import escaped
from pcc.invocation import about_account, command_line, program_by_path
from pcc.notice.layout import WIDTH, cut, filled, listed, moment
from pcc.notice.mail import plain_mail
from pcc.store.exemptions import ExemptionRow
from pcc.wording import quantity, rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence
    from email.message import EmailMessage

    from pcc.config import Config
    from pcc.store.outbox import OutboxRow

MOST_LISTED = 50
"""Exemptions that a mail has; the rest is only counted."""


def exemption(row: OutboxRow) -> ExemptionRow:
    """Return the exemption that a notice is about.  Raises ValueError."""
    try:
        return ExemptionRow(**json.loads(row.detail))
    except TypeError as error:
        raise ValueError(str(error)) from None


def as_data(row: ExemptionRow, at: float, *, is_blocked: bool) -> dict[str, Any]:
    """Return the JSON for notify.command; `at`: UTC seconds, when the notice was left."""
    return {
        "what": "exemption_ends",
        "account": row.value if row.kind == "account" else None,
        "blocked": is_blocked,
        "at": rfc3339(at),
        "kind": row.kind,
        "value": row.value,
        "until": rfc3339(row.until),
        "by": row.by,
        "reason": row.reason or None,
    }


def as_mail(
    rows: Sequence[ExemptionRow],
    number: int,
    config: Config,
    host: str,
    recipients: Sequence[str],
    now: float,
) -> EmailMessage:
    """Return the mail about exemptions that end; `number` is unique to it."""
    rows = sorted(rows, key=lambda row: row.until)
    first = rows[0]
    subject = f"[pcc] exemption of {escaped(cut(first.value, WIDTH))} ends {moment(first.until)}"
    told = f"The exemption of the {first.kind} {escaped(first.value)} ends soon."
    if len(rows) > 1:
        count = quantity(len(rows), "exemption")
        subject = f"[pcc] {count} end by {moment(rows[-1].until)}"
        told = f"{count} end soon."
    parts = [filled(f"{told}  From then on pcc judges such mail like any other, and may block.")]
    parts += [_part(row, config) for row in rows[:MOST_LISTED]]
    if len(rows) > MOST_LISTED:
        parts.append(f"and {len(rows) - MOST_LISTED} more: see `pcc_admin.py exempt list`")
    text = "\n\n".join(parts) + f"\n\n-- \npcc on {host}\n"
    message_id = f"<pcc.exemption.{number}.{int(first.until)}@{host}>"
    return plain_mail(config, host, recipients, now, subject, text, message_id)


def _part(row: ExemptionRow, config: Config) -> str:
    """Return the facts of an exemption, and the command that makes it longer."""
    facts = [
        ("Exempt", f"{row.kind} {escaped(row.value)}"),
        ("Until", moment(row.until)),
        ("By", escaped(row.by)),
        ("Reason", escaped(row.reason) or "none given"),
    ]
    words = about_account(row.kind, row.value, "--for", "7d")
    longer = command_line(config.path, "exempt", "add", *words, program=program_by_path())
    return f"{listed(facts)}\n\nTo exempt it for a week more, from when you run this:\n  {longer}"
