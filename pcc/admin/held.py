"""The command `held`: mail on hold of blocked accounts, compared with Postfix's queue."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from pcc import maillog
from pcc.address import packed_address
from pcc.admin import DONE, PARTLY
from pcc.admin.commands import add_command, add_mail_config, typed
from pcc.admin.onhold import (
    NULL_SENDER,
    Unblocking,
    by_place,
    deal_with_mail,
    find,
    result,
    unblock_words,
)
from pcc.admin.output import Lines, Moment, rfc3339
from pcc.errors import QueueError
from pcc.escaping import escaped
from pcc.invocation import shell_word
from pcc.places.lookup import Lookup
from pcc.postfix.heldmail import Match
from pcc.postfix.queue import Queue, Submission
from pcc.store import incidents

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.postfix.queue import QueuedMail

UNKNOWN = "unknown"
"""The state of a mail when the queue can't be asked."""

MOST_SUBJECTS = 500
"""How many subjects are read, those of the latest mails: each takes a run of postcat(1)."""

LONGEST_SUBJECT = 100
"""Characters of a subject in a table."""

_STATES = """\
STATE is what the queue has:
    held      on hold: unblock can release or delete it
    unsure    held before Postfix had a queue id; a mail of the same sender and minute is
              on hold, which only --by-sender touches
    released  gone from the hold queue, but still on the server
    missing   not in the queue: deleted, delivered, given up by its client, or not there yet
    reused    its queue id is another mail's, which is never touched
    unknown   the queue could not be asked
    on HOST   on hold on that host, which shares the database

The client address and its country are where the mail came from.  Those of the owner's
home are in `show`: mail from there may be the owner's.

To read one before you decide, as root: postcat -q QUEUE_ID"""


class _Read(NamedTuple):
    """A mail by its queue file."""

    client_address: str = ""
    country: str = ""
    subject: str | None = None


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(commands, "held", held, "list held mail of blocked accounts", _STATES)
    parser.add_argument("account", type=typed, metavar="ACCOUNT", nargs="?")
    parser.add_argument(
        "--settle",
        action="store_true",
        help="instead, release and delete on this host what was decided on others; as root",
    )
    add_mail_config(parser)


def held(context: Context, options: argparse.Namespace) -> int:
    """List held mail, verified against the queue."""
    if options.settle:
        return _settle(context, options)
    account = "" if options.account is None else context.account(options.account)
    status = DONE
    here, elsewhere = by_place(context, account)
    try:
        found = find(context, Queue(options.mail_config), account) if here else []
    except QueueError as error:
        context.complain(str(error))
        found = [Match(row, None, UNKNOWN) for row in here]
        status = PARTLY
    found += [Match(row, None, f"on {row.host}") for row in elsewhere]
    read = _read(context, options, found)
    context.output.data(
        [
            {
                "account": row.account,
                "queue_id": (mail.queue_id if mail else row.queue_id) or None,
                "arrived": rfc3339(mail.arrived if mail else row.at),
                "size": mail.size if mail else None,
                "client_address": read[mail].client_address or None,
                "country": read[mail].country or None,
                "sender": row.sender,
                "recipients": list(mail.recipients) if mail else [],
                "subject": read[mail].subject,
                "state": state,
            }
            for row, mail, state in found
        ]
    )
    if found:
        _show(context, options, [_line(match, read[match.mail]) for match in found], found)
    elif context.output.is_terminal:
        whose = f" of {escaped(account)}" if account else ""
        context.output.say(f"No mail{whose} is on hold.")
    if account and not found and (question := context.whole_login(account)):
        context.complain(f"nothing is known of {account}: {question}")
    return status


def _read(
    context: Context, options: argparse.Namespace, found: list[Match]
) -> defaultdict[QueuedMail | None, _Read]:
    """Return what the queue files say, as far as they can be read."""
    read: defaultdict[QueuedMail | None, _Read] = defaultdict(_Read)
    # Only root may read queue files.
    mails = [match.mail for match in found if match.mail] if os.geteuid() == 0 else []
    queue = Queue(options.mail_config)
    lookup = Lookup(context.config.country_database, "", "", context.complain)
    with contextlib.suppress(QueueError):
        submissions = queue.submissions([mail.queue_id for mail in mails])
        for mail in mails:
            address = submissions.get(mail.queue_id, Submission()).client_address
            packed = packed_address(address)
            read[mail] = _Read(address, lookup.country(packed) if packed else "")
        for mail in mails[-MOST_SUBJECTS:]:
            read[mail] = read[mail]._replace(subject=queue.subject(mail.queue_id))
    return read


def _show(
    context: Context,
    options: argparse.Namespace,
    lines: list[list[Any]],
    found: list[Match],
) -> None:
    columns = ["STATE", "ACCOUNT", "QUEUE ID", "CLIENT ADDRESS", "COUNTRY", "ARRIVED", "SIZE"]
    columns += ["SENDER", "RECIPIENTS", "SUBJECT"]
    fewer = ["STATE", "QUEUE ID, FROM", "ARRIVED", "SIZE", "SENDER, RECIPIENTS AND SUBJECT"]
    narrow = []
    for account in dict.fromkeys(line[1] for line in lines):
        shorter = [
            [
                line[0],
                Lines(filter(None, line[2:5])),
                *line[5:7],
                Lines((line[7], *filter(None, line[8:]))),
            ]
            for line in lines
            if line[1] == account
        ]
        narrow.append((f"{account} ({len(shorter)})", (fewer, shorter)))
    context.output.table(columns, lines, narrow)
    account = found[0].row.account if len(narrow) == 1 else "ACCOUNT"
    if found[0].mail:
        config = ["-c", options.mail_config] if options.mail_config else []
        words = ["postcat", *config, "-q", found[0].mail.queue_id]
        context.output.hint("To read one, as root:", " ".join(map(shell_word, words)))
    context.output.hint(
        "To unblock the account and release or delete its held mail, as root:",
        *[
            context.command("unblock", account, *unblock_words(options, fate))
            for fate in ("--release", "--delete")
        ],
    )


def _line(match: Match, read: _Read) -> list[Any]:
    row, mail = match.row, match.mail
    to = mail.recipients if mail else ()
    more = f" and {len(to) - 3} more" if len(to) > 4 else ""
    return [
        match.state,
        row.account,
        mail.queue_id if mail else row.queue_id,
        read.client_address or None,
        read.country or None,
        Moment(mail.arrived if mail else row.at),
        mail.size if mail else None,
        row.sender or NULL_SENDER,
        (f"{len(to)}: " if more else "") + ", ".join(to[: 3 if more else 4]) + more or None,
        (read.subject or "")[:LONGEST_SUBJECT] or None,
    ]


def _settle(context: Context, options: argparse.Namespace) -> int:
    """Release and delete this host's held mail as was decided on others."""
    maillog.open_log(context.config.log_name)
    fates = {incidents.TO_RELEASE: "released", incidents.TO_DELETE: "deleted"}
    decided = [row.account for row in by_place(context)[0] if row.state in fates]
    cases = [Unblocking(account) for account in dict.fromkeys(decided)]
    for case in cases:
        # Without a queue id it was decided by sender.
        deal_with_mail(
            context,
            options,
            case,
            lambda match: fates.get(match.row.state, ""),
            lambda match: match.row.state in fates,
        )
    context.output.data(result(cases))
    return PARTLY if any(case.unfinished for case in cases) else DONE
