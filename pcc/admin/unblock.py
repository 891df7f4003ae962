"""The command `unblock`: lifts blocks, and releases or deletes held mail.

Blocks are lifted first.  So a run that was interrupted is finished by the same command again.  Held
mail of an account that is not blocked any more is dealt with in the same way.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.admin import DONE, NOT_DONE, PARTLY, USAGE
from pcc.admin.commands import add_command, add_mail_config, add_reason, duration, typed
from pcc.admin.onhold import (
    FAILED,
    Unblocking,
    by_place,
    counted,
    deal_with_mail,
    result,
    unblock_words,
)
from pcc.admin.output import local_time, rfc3339
from pcc.escaping import escaped
from pcc.postfix.heldmail import UNSURE
from pcc.store import exemptions, incidents
from pcc.verdict.incident import notice_channels

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.postfix.heldmail import Match
    from pcc.store.incidents import HeldRow

_ABOUT = """\
Counting starts afresh for these accounts alone.  An observed incident is cleared the same way.

Held mail is left alone unless --release or --delete is given.  They also work later, for an
account that is not blocked any more.  Each mail is compared with the queue id, time and sender
that were recorded when it was held.  Where Postfix had no queue id yet, the mail is listed as
unsure; --by-sender takes for it what the account sent with the same sender in the same minute.
Releasing and deleting need root.

Where several hosts share the database, each releases or deletes its own mail by
`pcc_admin.py held --settle`, from cron."""


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        commands,
        "unblock",
        unblock,
        "lift the block of accounts, and deal with their held mail",
        _ABOUT,
    )
    parser.add_argument("accounts", type=typed, metavar="ACCOUNT", nargs="+")
    fate = parser.add_mutually_exclusive_group()
    fate.add_argument(
        "--release", action="store_true", help="release their held mail, and deliver it"
    )
    fate.add_argument("--delete", action="store_true", help="delete their held mail")
    parser.add_argument(
        "--by-sender", action="store_true", help="with --release or --delete: also unsure mail"
    )
    parser.add_argument(
        "--exempt-for",
        type=duration,
        metavar="TIME",
        help="also exempt them for this time, e.g. 7d, unless they are for longer",
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
                deal_with_mail(context, options, case, lambda match: _fate(options, match))
            _decide_elsewhere(context, options, case, elsewhere)
        _tell(context, options, case, [*here, *elsewhere])
        _leave_notice(context, options, case, [*here, *elsewhere])
    unblocked = [case.account for case in cases if case.lifted]
    context.output.data({"unblocked": unblocked, **result(cases)})
    for case in cases:
        if case.did_something and notice_channels(context.config):
            _send_notice(context, case.account)
    if any(case.unfinished for case in cases):
        return PARTLY
    done = [case.did_something for case in cases]
    return DONE if all(done) else PARTLY if any(done) else NOT_DONE


def _lift(context: Context, options: argparse.Namespace, account: str) -> Unblocking:
    """Lift the block, or clear the observed incident; exempt the account, blocked or not."""
    database, by, reason, now = context.database, context.by, options.reason, context.now
    until = now + options.exempt_for if options.exempt_for else 0
    lifted = incidents.unblock(database, account, by, reason, until, now)
    if lifted:
        maillog.unblocked(account, by, reason)
    elif until:
        exemptions.lengthen(database, account, until, by, reason, now)
    end = exemptions.end_for(database, account) if until else None
    if end == until:
        maillog.exempted("account", account, rfc3339(until) or "", by, reason)
    return Unblocking(account, lifted, until, end)


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
                f"{counted(decided)} {state} on {escaped(host)},"
                " by pcc_admin.py held --settle there"
            )
        if unsure := sum(row.host == host for row in rows) - decided:
            context.complain(f"left on hold on {escaped(host)}, unsure: {counted(unsure)}")
            case.unfinished = True


def _tell(
    context: Context, options: argparse.Namespace, case: Unblocking, rows: list[HeldRow]
) -> None:
    """Tell in sentences what was done for an account, and what is left to do."""
    account, queue_ids = case.account, case.queue_ids
    state = "is unblocked" if case.lifted else "was not blocked"
    if case.asked_until:
        context.output.say(f"{escaped(account)} {state}, and {_exemption(case)}.")
    elif case.did_something:
        context.output.say(f"{escaped(account)} {state}.")
    elif not case.unfinished:
        nothing = "" if rows else ", and none of its mail is on hold"
        question = context.whole_login(account)
        context.complain(
            f"{escaped(account)} is not blocked{nothing}{question and ': '}{escaped(question)}"
        )
    for name in ("released", "deleted"):
        if queue_ids[name]:
            context.output.say(f"{counted(len(queue_ids[name]))} {name}.")
    if rows and not (options.release or options.delete):
        words = unblock_words(options)
        context.output.say(f"{counted(len(rows))} may still be on hold; now or later:")
        context.output.say(f"  {context.command('held', account, *words)}")
        for fate in ("--release", "--delete"):
            context.output.say(f"  {context.command('unblock', account, fate, *words)}")
    if queue_ids[FAILED]:
        context.complain(f"still on hold: {', '.join(queue_ids[FAILED])}")
    if queue_ids[UNSURE]:
        context.complain(
            "left on hold, because its queue id was not known when it was held:"
            f" {', '.join(queue_ids[UNSURE])}; --by-sender also takes such mail"
        )


def _exemption(case: Unblocking) -> str:
    """Return in words until when an account is exempt, as was asked for or already longer."""
    end = case.exempt_until
    if end is None:  # removed by somebody else just now
        return "is not exempt any more"
    told = f"until {local_time(end)}" if end else "for good"
    return f"is exempt {told}" if end == case.asked_until else f"stays exempt {told}, as before"


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
    from pcc.notice.outbox import send_outbox  # expensive: the modules of mail and SMTP

    for failure in send_outbox(context.config, context.database, account=account)[1]:
        context.complain(failure)
