"""Held mail: which there is, on this host and on others; releasing and deleting it.

Each mail is found in Postfix's queue by what was recorded when it was held.  It is released or
deleted and looked for in the queue again; its state is recorded last.  So a run that was
interrupted is finished by the same command again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.admin import DONE, NOT_DONE, PARTLY
from pcc.admin.commands import add_command, add_mail_config
from pcc.admin.output import Moment, Word
from pcc.errors import QueueError
from pcc.escaping import escaped
from pcc.postfix import heldmail
from pcc.postfix.heldmail import HELD, LONGEST_SESSION, MISSING, RELEASED, UNSURE, Match
from pcc.postfix.queue import HOLD, Queue, QueuedMail
from pcc.store import incidents
from pcc.wording import quantity

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from pcc.admin.commands import Commands, Run
    from pcc.admin.context import Context
    from pcc.store.incidents import HeldRow, IncidentRow

NULL_SENDER = Word("<>")

FAILED = "failed"
"""The state of a mail that is on hold still, though it was to be released or deleted."""

ALREADY = "released already"
"""The state of a mail that was to be deleted and has left the hold queue."""

_STATES = ("released", "deleted", MISSING, UNSURE, HELD, FAILED)
"""The states that held mail ends in.  A mail released before, or with a re-used id, is missing."""


SINGLE_MAILS = """\
The account stays blocked if it is.  Each mail is compared with the queue as by `unblock`, and
needs root.  A mail of another host that shares the database is dealt with there, by
`pcc_admin.py held --settle`.

--json: released, deleted, missing, unsure (queue ids)."""


class Unblocking:
    """The work for one account.

    `lifted`: the incident that it ended.  `asked_until`: UTC seconds until which it was to be
    exempted, 0 if it was not; `exempt_until`: until which it is now, 0 for good, None for not.
    `queue_ids`: those of its held mail, by what has become of it.  `unfinished`: something that
    was asked for could not be done.  `decided`: how many mails of other hosts it was decided about.
    """

    def __init__(
        self,
        account: str,
        lifted: IncidentRow | None = None,
        asked_until: float = 0,
        exempt_until: float | None = None,
    ) -> None:
        self.account = account
        self.lifted = lifted
        self.asked_until = asked_until
        self.exempt_until = exempt_until
        self.queue_ids: dict[str, list[str]] = {state: [] for state in _STATES}
        self.unfinished = False
        self.decided = 0

    @property
    def touched_mail(self) -> bool:
        """Whether held mail was released or deleted."""
        return bool(self.queue_ids["released"] or self.queue_ids["deleted"])

    @property
    def did_something(self) -> bool:
        """Whether anything was changed for the account."""
        return bool(self.lifted or self.asked_until or self.touched_mail or self.decided)


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
        if os.geteuid() != 0:  # only root may read the queue files
            return None
        config = context.config
        submissions = queue.submissions([mail.queue_id for mail in mails])
        logins = {id: by.sasl_username for id, by in submissions.items() if by.sasl_username}
        if config.account == "sender":
            for mail in mails:
                if mail.sender != queue.names.empty_address_recipient:
                    logins[mail.queue_id] = heldmail.unquoted(mail.sender)
        return {queue_id: config.normalised_account(login) for queue_id, login in logins.items()}

    mails = queue.mails()
    found = heldmail.match(rows, mails, queue.names, accounts)
    if any(match.mail is None for match in found):
        # A listing may miss a mail while others move: nothing is missing before it was twice.
        mails += queue.mails()
        found = heldmail.match(rows, mails, queue.names, accounts)
    return [match for match in found if account in ("", match.row.account)]


def on_hold(context: Context, options: argparse.Namespace, account: str) -> int:
    """Return how many mails of an account are on hold, as far as the queue can be asked."""
    here, elsewhere = by_place(context, account)
    try:
        found = find(context, Queue(options.mail_config), account) if here else []
    except QueueError:
        return len(here) + len(elsewhere)
    return len(elsewhere) + sum(match.state in (HELD, UNSURE) for match in found)


def fate_by(options: argparse.Namespace, fate: str) -> Callable[[Match], str]:
    """Return what gives each mail this fate, but unsure mail only with --by-sender."""
    return lambda match: "" if match.state == UNSURE and not options.by_sender else fate


def decide_elsewhere(
    context: Context, case: Unblocking, rows: list[HeldRow], fate: str, *, by_sender: bool
) -> None:
    """Leave it to the other hosts to do the same with the mail that they have."""
    state = incidents.TO_RELEASE if fate == "released" else incidents.TO_DELETE
    chosen = [row for row in rows if row.queue_id or by_sender]
    incidents.set_held_states(context.database, chosen, state)
    case.decided = len(chosen)
    for host in dict.fromkeys(row.host for row in rows):
        decided = sum(row.host == host for row in chosen)
        if decided:
            context.output.say(
                f"{counted(decided)} {state} on {escaped(host)},"
                " by pcc_admin.py held --settle there"
            )
        if unsure := sum(row.host == host for row in rows) - decided:
            context.complain(f"left on hold on {escaped(host)}, unsure: {counted(unsure)}")
            case.unfinished = True


def complain_of_rest(context: Context, case: Unblocking) -> None:
    """Name the mail that is on hold still."""
    if case.queue_ids[FAILED]:
        context.complain(f"still on hold: {', '.join(case.queue_ids[FAILED])}")
    if case.queue_ids[UNSURE]:
        context.complain(
            "left on hold, because its queue id was not known when it was held:"
            f" {', '.join(case.queue_ids[UNSURE])}; --by-sender also takes such mail"
        )


def add_single_mails(
    commands: Commands, name: str, run: Run, summary: str, details: str
) -> argparse.ArgumentParser:
    """Add a command about single held mails."""
    parser = add_command(commands, name, run, summary, f"{details}\n\n{SINGLE_MAILS}")
    parser.add_argument("queue_ids", metavar="ID", nargs="+", help="a queue id, as `held` shows it")
    parser.add_argument(
        "--by-sender", action="store_true", help="also a mail that `held` shows as unsure"
    )
    add_mail_config(parser)
    return parser


def deal_with_ids(context: Context, options: argparse.Namespace, fate: str) -> int:
    """Release or delete the held mails with these queue ids; return the exit status."""
    maillog.open_log(context.config.log_name)
    ids = list(dict.fromkeys(options.queue_ids))
    try:
        found = find(context, Queue(options.mail_config))
    except QueueError as error:
        context.complain(str(error))
        return PARTLY
    accounts = {_queue_id(match): match.row.account for match in found if _queue_id(match) in ids}
    elsewhere = [
        row for row in by_place(context)[1] if row.queue_id in ids and row.queue_id not in accounts
    ]
    cases = [
        Unblocking(account)
        for account in dict.fromkeys([*accounts.values(), *[row.account for row in elsewhere]])
    ]
    for case in cases:
        if case.account in accounts.values():
            deal_with_mail(
                context,
                options,
                case,
                fate_by(options, fate),
                lambda match: _queue_id(match) in ids,
            )
        rows = [row for row in elsewhere if row.account == case.account]
        decide_elsewhere(context, case, rows, fate, by_sender=False)
        complain_of_rest(context, case)
    unknown = set(ids) - set(accounts) - {row.queue_id for row in elsewhere}
    for queue_id in ids:
        if queue_id in unknown:
            context.complain(f"{escaped(queue_id)} is no held mail of a blocked account")
    context.output.data(result(cases))
    done = sum(len(case.queue_ids[fate]) + case.decided for case in cases)
    if any(case.unfinished for case in cases):
        return PARTLY
    return DONE if done == len(ids) else PARTLY if done else NOT_DONE


def result(cases: list[Unblocking]) -> dict[str, list[str]]:
    """Return the queue ids of all cases, by what has become of the mail."""
    names = ("released", "deleted", "missing", "unsure")
    return {name: [id for case in cases for id in case.queue_ids[name]] for name in names}


def deal_with_mail(
    context: Context,
    options: argparse.Namespace,
    case: Unblocking,
    fate: Callable[[Match], str],
    is_wanted: Callable[[Match], bool] = bool,  # every match
) -> None:
    """Release or delete the account's held mail that is wanted, as far as is possible.

    `fate` returns "released", "deleted" or "" for a mail.
    """
    try:
        if os.geteuid() != 0:
            raise QueueError("releasing and deleting held mail needs root: run this again as root")
        queue = Queue(options.mail_config)
        found = [match for match in find(context, queue, case.account) if is_wanted(match)]
        outcome: dict[Match, str] = {}
        for state in ("released", "deleted"):
            chosen = [
                match for match in found if match.state in (HELD, UNSURE) and fate(match) == state
            ]
            outcome |= _touch(context, case, queue, chosen, state)
        outcome |= {match: ALREADY for match in found if match.state == RELEASED}
        to_release = {match for match in found if fate(match) == "released"}
        if to_release:
            # Postfix delivers released mail now, also that of a run that was interrupted.
            released = [
                match
                for match, state in outcome.items()
                if state in ("released", ALREADY) and match in to_release
            ]
            outcome |= dict.fromkeys(released, "released")
            try:
                queue.deliver(map(_queue_id, released))
            except QueueError as error:
                context.complain(str(error))
    except QueueError as error:
        context.complain(f"{escaped(case.account)}: {error}")
        case.unfinished = True
        return
    _note(context, case, [(match, outcome.get(match, match.state)) for match in found])


def _touch(
    context: Context, case: Unblocking, queue: Queue, chosen: list[Match], state: str
) -> dict[Match, str]:
    """Release or delete mails; return the state of each as the queue then has it."""
    if not chosen:
        return {}
    queue_ids = [_queue_id(match) for match in chosen]
    done = queue.release(queue_ids) if state == "released" else queue.delete(queue_ids)
    if done.error:
        context.complain(f"{escaped(case.account)}: {done.error}")
        case.unfinished = True
    on_hold = {mail.queue_id for mail in queue.mails() if mail.queue_name == HOLD}
    return {
        match: FAILED if queue_id in on_hold else state if queue_id in done.queue_ids else MISSING
        for match, queue_id in zip(chosen, queue_ids, strict=True)
    }


def _note(context: Context, case: Unblocking, states: list[tuple[Match, str]]) -> None:
    """Note what has become of the held mail, and show it mail by mail."""
    database = context.database
    rows: dict[str, list[HeldRow]] = {state: [] for state in _STATES}
    for match, state in states:
        # A mail that is still being received is in no listing; it may yet get there.
        is_final = state != MISSING or match.row.at < context.now - LONGEST_SESSION
        name = state if state in _STATES else MISSING
        if is_final:
            rows[name].append(match.row)
        case.queue_ids[name].append(_queue_id(match))
    for name in ("released", "deleted", MISSING):
        incidents.set_held_states(database, rows[name], name)
    for name, queue_ids in case.queue_ids.items():
        case.queue_ids[name] = [queue_id for queue_id in dict.fromkeys(queue_ids) if queue_id]
    for name, tell in (("released", maillog.released), ("deleted", maillog.deleted)):
        if queue_ids := case.queue_ids[name]:
            told = counted(len(queue_ids))
            incidents.record_event(database, case.account, name, context.by, told, context.now)
            tell(case.account, context.by, queue_ids)
    case.unfinished = case.unfinished or bool(rows[FAILED] or rows[UNSURE])
    lines = [
        [
            state,
            match.row.account,
            _queue_id(match),
            Moment(match.row.at),
            match.row.sender or NULL_SENDER,
        ]
        for match, state in states
    ]
    shorter = [[line[0], *line[2:]] for line in lines]
    context.output.table(
        ["STATE", "ACCOUNT", "QUEUE ID", "HELD", "SENDER"],
        lines,
        [(case.account, (["STATE", "QUEUE ID", "HELD", "SENDER"], shorter))],
    )


def _queue_id(match: Match) -> str:
    return match.mail.queue_id if match.mail else match.row.queue_id


def counted(count: int) -> str:
    """Return a count of held mails in words."""
    return quantity(count, "held mail")
