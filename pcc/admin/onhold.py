"""The held mail that several commands are about: which there is, on this host and on others.

What was remembered of each mail when it was held is matched with Postfix's queue, of whichever
instance is asked for.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pcc.admin.output import Word
from pcc.postfix import heldmail
from pcc.postfix.heldmail import Match
from pcc.postfix.queue import Queue, QueuedMail
from pcc.store import incidents

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from pcc.admin.context import Context
    from pcc.store.incidents import HeldRow

NULL_SENDER = Word("<>")


def add_mail_config(parser: argparse.ArgumentParser) -> None:
    """Add the choice of the Postfix instance."""
    parser.add_argument(
        "--mail-config",
        metavar="DIR",
        default="",
        help="configuration directory of the Postfix instance (default: $MAIL_CONFIG, else"
        " Postfix's own)",
    )


def unblock_words(options: argparse.Namespace, *words: str) -> list[str]:
    """Return the options of an `unblock` that is to look at the same queue as this command."""
    return [*words, *(["--mail-config", options.mail_config] if options.mail_config else [])]


def by_place(context: Context, account: str = "") -> tuple[list[HeldRow], list[HeldRow]]:
    """Return the held mail of this host, and that of others which share the database."""
    rows = incidents.held_mail(context.database, account)
    this_host = context.config.this_host
    return (
        [row for row in rows if row.host == this_host],
        [row for row in rows if row.host != this_host],
    )


def find(context: Context, queue: Queue, account: str = "") -> list[Match]:
    """Return the account's held mail (of all accounts for ""), matched with the queue.

    Raises QueueError.
    """
    rows = by_place(context)[0]
    if not any(account in ("", row.account) for row in rows):
        return []

    def accounts(mails: Sequence[QueuedMail]) -> dict[str, str] | None:
        return _accounts(context, queue, mails)

    mails = queue.mails()
    found = heldmail.match(rows, mails, queue.names, accounts)
    if any(match.mail is None for match in found):
        # A listing may miss a mail while others move: nothing is missing before it was twice.
        mails += queue.mails()
        found = heldmail.match(rows, mails, queue.names, accounts)
    return [match for match in found if account in ("", match.row.account)]


def _accounts(context: Context, queue: Queue, mails: Sequence[QueuedMail]) -> dict[str, str] | None:
    """Return whose mails these are as the queue files tell; only root may read those."""
    if os.geteuid() != 0:
        return None
    config = context.config
    logins = queue.logins([mail.queue_id for mail in mails])
    if config.account == "sender":
        for mail in mails:
            if mail.sender != queue.names.empty_address_recipient:
                logins[mail.queue_id] = heldmail.unquoted(mail.sender)
    return {queue_id: config.normalised_account(login) for queue_id, login in logins.items()}
