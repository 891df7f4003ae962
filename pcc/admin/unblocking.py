"""The command `unblock`: lifts blocks, and releases or deletes held mail.

Blocks are lifted first.  Then the held mail of each account is compared with the queue, touched,
and looked for in the queue again; what has become of it is noted last.  So whatever is interrupted
is finished by running the same command again, and held mail of an account that was unblocked
before, or whose block has expired, is dealt with just so.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.admin import DONE, NOT_DONE, PARTLY, USAGE
from pcc.admin.commands import add_command, add_reason, duration
from pcc.admin.held import NULL_SENDER, add_mail_config, by_place, find, unblock_words
from pcc.admin.output import Moment, local_time, rfc3339
from pcc.blocking import notice_channels
from pcc.errors import QueueError
from pcc.escaping import escaped
from pcc.heldmail import HELD, LONGEST_SESSION, MISSING, RELEASED, UNSURE
from pcc.queue import HOLD, Queue
from pcc.store import exemptions, incidents

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.heldmail import Match
    from pcc.store.incidents import HeldRow, IncidentRow

FAILED = "failed"
"""The state of a mail that is on hold still, though it was to be released or deleted."""

ALREADY = "released already"
"""The state of a mail that was to be deleted and has left the hold queue."""

_STATES = ("released", "deleted", MISSING, UNSURE, HELD, FAILED)
"""What becomes of held mail; what was released already or re-used counts as missing."""

_ABOUT = """\
Counting starts afresh for these accounts alone.  An observed incident is cleared the same way.

Held mail is left alone unless --release or --delete is given, which works later, too: for an
account that is not blocked any more they deal with what is still on hold.  Each mail is compared
with what was remembered when it was held (queue id, time and sender) before it is touched.
Mail whose queue id was not known then is listed as unsure; --by-sender takes for it what the
account sent with the same sender in the same minute.  Releasing and deleting need root.

What another host has of it, where several share the database, is released or deleted there:
pcc_admin.py held --settle, from cron, carries out what was decided here."""


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        commands,
        "unblock",
        unblock,
        "lift the block of accounts, and deal with their held mail",
        _ABOUT,
    )
    parser.add_argument("accounts", metavar="ACCOUNT", nargs="+")
    fate = parser.add_mutually_exclusive_group()
    fate.add_argument(
        "--release", action="store_true", help="release their held mail, and have it delivered"
    )
    fate.add_argument("--delete", action="store_true", help="delete their held mail")
    parser.add_argument(
        "--by-sender", action="store_true", help="with --release or --delete: unsure mail, too"
    )
    parser.add_argument(
        "--exempt-for", type=duration, metavar="TIME", help="and exempt them for so long, e.g. 7d"
    )
    add_reason(parser)
    add_mail_config(parser)


def unblock(context: Context, options: argparse.Namespace) -> int:
    """Lift blocks, deal with held mail, leave and send notices."""
    if options.by_sender and not (options.release or options.delete):
        context.complain("--by-sender needs --release or --delete")
        return USAGE
    maillog.open_log(context.config.log_name)
    accounts = list(dict.fromkeys(context.account(text) for text in options.accounts))
    cases = [_lift(context, options, account) for account in accounts]
    for case in cases:
        here, elsewhere = by_place(context, case.account)
        if options.release or options.delete:
            if here:
                _deal_with_mail(context, options, case, lambda match: _fate(options, match))
            _decide_elsewhere(context, options, case, elsewhere)
        _tell(context, options, case, [*here, *elsewhere])
        _leave_notice(context, options, case, [*here, *elsewhere])
    unblocked = [case.account for case in cases if case.lifted]
    context.output.data({"unblocked": unblocked, **_result(cases)})
    for case in cases:
        if case.did_something and notice_channels(context.config):
            _send_notice(context, case.account)
    if any(case.unfinished for case in cases):
        return PARTLY
    done = [case.did_something for case in cases]
    return DONE if all(done) else PARTLY if any(done) else NOT_DONE


class Unblocking:
    """What was done for one account.

    `lifted`: the incident that it ended.  `exempt_until`: UTC seconds, 0 if it was not exempted.
    `queue_ids`: those of its held mail, by what has become of it.  `unfinished`: something that
    was asked for could not be done.  `decided`: how many mails of other hosts it was decided about.
    """

    def __init__(self, account: str, lifted: IncidentRow | None, exempt_until: float) -> None:
        self.account = account
        self.lifted = lifted
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
        return bool(self.lifted or self.exempt_until or self.touched_mail or self.decided)


def _lift(context: Context, options: argparse.Namespace, account: str) -> Unblocking:
    """Lift the block, or clear the observed incident; exempt the account, blocked or not."""
    database, by, reason, now = context.database, context.by, options.reason, context.now
    until = now + options.exempt_for if options.exempt_for else 0
    lifted = incidents.unblock(database, account, by, reason, until, now)
    if lifted:
        maillog.unblocked(account, by, reason)
    elif until:
        exemptions.add(database, "account", account, until, by, reason, now)
    if until:
        maillog.exempted("account", account, rfc3339(until) or "", by, reason)
    return Unblocking(account, lifted, until)


def settle(context: Context, options: argparse.Namespace) -> int:
    """Release and delete this host's held mail as was decided on others."""
    maillog.open_log(context.config.log_name)
    fates = {incidents.TO_RELEASE: "released", incidents.TO_DELETE: "deleted"}
    decided = [row.account for row in by_place(context)[0] if row.state in fates]
    cases = [Unblocking(account, None, 0) for account in dict.fromkeys(decided)]
    for case in cases:
        # Without a queue id it was decided by sender.
        _deal_with_mail(context, options, case, lambda match: fates.get(match.row.state, ""), fates)
    context.output.data(_result(cases))
    return PARTLY if any(case.unfinished for case in cases) else DONE


def _result(cases: list[Unblocking]) -> dict[str, list[str]]:
    names = ("released", "deleted", "missing", "unsure")
    return {name: [id for case in cases for id in case.queue_ids[name]] for name in names}


def _fate(options: argparse.Namespace, match: Match) -> str:
    """Return what is to become of a mail of an account that is unblocked."""
    if match.state == UNSURE and not options.by_sender:
        return ""
    return "released" if options.release else "deleted"


def _decide_elsewhere(
    context: Context, options: argparse.Namespace, case: Unblocking, rows: list[HeldRow]
) -> None:
    """Leave it to the other hosts to do the same with the mail that they have."""
    state = incidents.TO_RELEASE if options.release else incidents.TO_DELETE
    chosen = [row for row in rows if row.queue_id or options.by_sender]
    incidents.set_held_states(context.database, chosen, state)
    case.decided = len(chosen)
    for host in dict.fromkeys(row.host for row in rows):
        decided = sum(row.host == host for row in chosen)
        if decided:
            context.output.say(
                f"{_mails(decided)} {state} on {escaped(host)}, by pcc_admin.py held --settle there"
            )
        if unsure := sum(row.host == host for row in rows) - decided:
            context.complain(f"left on hold on {escaped(host)}, unsure: {_mails(unsure)}")
            case.unfinished = True


def _deal_with_mail(
    context: Context,
    options: argparse.Namespace,
    case: Unblocking,
    fate: Callable[[Match], str],
    states: Container[str] = ("held", incidents.TO_RELEASE, incidents.TO_DELETE),
) -> None:
    """Release or delete the account's held mail, that in `states`, as far as is possible.

    `fate` tells which of that a mail is for, "" for neither.
    """
    try:
        if os.geteuid() != 0:
            raise QueueError("releasing and deleting held mail needs root: run this again as root")
        queue = Queue(options.mail_config)
        found = [match for match in find(context, queue, case.account) if match.row.state in states]
        outcome: dict[Match, str] = {}
        for state in ("released", "deleted"):
            chosen = [
                match for match in found if match.state in (HELD, UNSURE) and fate(match) == state
            ]
            outcome |= _touch(context, case, queue, chosen, state)
        outcome |= {match: ALREADY for match in found if match.state == RELEASED}
        to_release = {match for match in found if fate(match) == "released"}
        if to_release:
            _hasten(context, queue, outcome, to_release)
    except QueueError as error:
        context.complain(f"{escaped(case.account)}: {error}")
        case.unfinished = True
        return
    _note(context, case, [(match, outcome.get(match, match.state)) for match in found])


def _touch(
    context: Context, case: Unblocking, queue: Queue, chosen: list[Match], state: str
) -> dict[Match, str]:
    """Release or delete mails; return what has become of each, as the queue then tells."""
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


def _hasten(
    context: Context, queue: Queue, outcome: dict[Match, str], to_release: set[Match]
) -> None:
    """Have released mail delivered now, also what an interrupted run has left half-way."""
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
            told = _mails(len(queue_ids))
            incidents.record_event(database, case.account, name, context.by, told, context.now)
            tell(case.account, context.by, queue_ids)
    case.unfinished = case.unfinished or bool(rows[FAILED] or rows[UNSURE])
    lines = [
        [state, match.row.account, _queue_id(match), Moment(match.row.at), _sender(match)]
        for match, state in states
    ]
    shorter = [[line[0], *line[2:]] for line in lines]
    context.output.table(
        ["STATE", "ACCOUNT", "QUEUE ID", "HELD", "SENDER"],
        lines,
        [(case.account, (["STATE", "QUEUE ID", "HELD", "SENDER"], shorter))],
    )


def _tell(
    context: Context, options: argparse.Namespace, case: Unblocking, rows: list[HeldRow]
) -> None:
    """Tell in sentences what was done for an account, and what is left to do."""
    account, queue_ids = case.account, case.queue_ids
    state = "is unblocked" if case.lifted else "was not blocked"
    if case.exempt_until:
        until = local_time(case.exempt_until)
        context.output.say(f"{escaped(account)} {state}, and is exempt until {until}.")
    elif case.did_something:
        context.output.say(f"{escaped(account)} {state}.")
    elif not case.unfinished:
        context.complain(f"{escaped(account)} is not blocked{_and_nothing_held(rows)}")
    for name in ("released", "deleted"):
        if queue_ids[name]:
            context.output.say(f"{_mails(len(queue_ids[name]))} {name}.")
    if rows and not (options.release or options.delete):
        words = unblock_words(options)
        context.output.say(f"{_mails(len(rows))} may still be on hold; now or later:")
        context.output.say(f"  {context.command('held', account, *words)}")
        for fate in ("--release", "--delete"):
            context.output.say(f"  {context.command('unblock', account, fate, *words)}")
    if queue_ids[FAILED]:
        context.complain(f"still on hold: {', '.join(queue_ids[FAILED])}")
    if queue_ids[UNSURE]:
        context.complain(
            "left on hold, because its queue id was not known when it was held:"
            f" {', '.join(queue_ids[UNSURE])}; --by-sender takes such mail, too"
        )


def _leave_notice(
    context: Context, options: argparse.Namespace, case: Unblocking, rows: list[HeldRow]
) -> None:
    """Leave a notice about what was done, if anything was."""
    incident = case.lifted
    if incident is None and case.touched_mail:
        incident = incidents.incident(context.database, rows[-1].incident)
    if incident is None:
        return
    detail: dict[str, object] = {
        "by": context.by,
        "reason": options.reason,
        "released": len(case.queue_ids["released"]),
        "deleted": len(case.queue_ids["deleted"]),
    }
    incidents.add_unblock_notice(
        context.database, incident, notice_channels(context.config), detail, context.now
    )


def _send_notice(context: Context, account: str) -> None:
    """Send what waits for this account; what fails is sent again by cron."""
    from pcc import notify  # with its mail and SMTP modules dearer than all the rest

    for failure in notify.send_outbox(context.config, context.database, account=account)[1]:
        context.complain(failure)


def _and_nothing_held(rows: list[HeldRow]) -> str:
    return "" if rows else ", and none of its mail is on hold"


def _queue_id(match: Match) -> str:
    return match.mail.queue_id if match.mail else match.row.queue_id


def _sender(match: Match) -> str:
    return match.row.sender or NULL_SENDER


def _mails(count: int) -> str:
    return f"{count} held mail{'s' if count > 1 else ''}"
