"""The command `unblock`: lifts blocks, and releases or deletes held mail.

Blocks are lifted first.  So a run that was interrupted is finished by the same command again.  Held
mail of an account that is not blocked any more is dealt with in the same way.
"""

from __future__ import annotations

import argparse
from secrets import token_hex
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.admin import DONE, NOT_DONE, PARTLY, USAGE
from pcc.admin.commands import add_command, add_mail_config, add_reason, duration, since, typed
from pcc.admin.exemption import wait_until_known
from pcc.admin.notify import send_at_once
from pcc.admin.onhold import (
    Unblocking,
    by_place,
    complain_of_rest,
    counted,
    deal_with_mail,
    decide_elsewhere,
    fate_by,
    result,
    unblock_words,
)
from pcc.admin.output import Moment, local_time, rfc3339
from pcc.escaping import escaped
from pcc.store import exemptions, incidents
from pcc.store.outbox import Wanted
from pcc.verdict.incident import notice_channels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.store.incidents import HeldRow, IncidentRow

BY_HAND = "by hand"
"""The rule of a block that an administrator began."""

_ABOUT = """\
  pcc_admin.py unblock joe@example.org --delete
  pcc_admin.py unblock --since 2h --rule max_networks --dry-run

Name accounts, or blocks by --all, or by --domain, --since and --rule, which all must hold.  A block
by hand is lifted only if its account is named, or by --rule "by hand".  The time of --since is one
ago such as 2h, a date, or a time as `exempt add --until` has it.

There is one notice for all that --all, --domain, --since and --rule unblock; notify.command runs
for each account.

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
    parser.add_argument("accounts", type=typed, metavar="ACCOUNT", nargs="*")
    parser.add_argument("--all", action="store_true", help="all blocks, except those by hand")
    parser.add_argument(
        "--domain", type=typed, metavar="DOMAIN", help="the blocks of accounts of this domain"
    )
    parser.add_argument(
        "--since", type=since, metavar="TIME", help="the blocks that began since, see above"
    )
    parser.add_argument(
        "--rule", metavar="RULE", help='the blocks by this rule, e.g. max_networks or "by hand"'
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only list the blocks that would be lifted"
    )
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
    is_bulk = bool(options.all or options.domain or options.since or options.rule)
    if bool(options.accounts) == is_bulk:
        context.complain("name accounts, or blocks by --all, --domain, --since or --rule")
        return USAGE
    accounts = list(dict.fromkeys(context.account(text) for text in options.accounts))
    if not accounts or options.dry_run:
        rows = _chosen(context, options, accounts)
        if options.dry_run or not rows:
            return _list_only(context, options, rows, accounts)
        accounts = [row.account for row in rows]
    maillog.open_log(context.config.log_name)
    cases = _lift_all(context, options, accounts)
    finished: list[tuple[IncidentRow, dict[str, object]]] = []
    together = token_hex(8) if is_bulk and len(cases) > 1 else ""
    try:
        for case in cases:
            finished += _finish(context, options, case)
    finally:
        channels = notice_channels(context.config)
        incidents.add_unblock_notices(context.database, finished, channels, context.now, together)
    unblocked = [case.account for case in cases if case.lifted]
    context.output.data({"unblocked": unblocked, **result(cases)})
    changed = [case.account for case in cases if case.did_something]
    if changed and channels:
        send_at_once(context, [Wanted(together=together)] if together else map(Wanted, changed))
    if any(case.unfinished for case in cases):
        return PARTLY
    return DONE if len(changed) == len(cases) else PARTLY if changed else NOT_DONE


def _chosen(
    context: Context, options: argparse.Namespace, accounts: list[str]
) -> list[IncidentRow]:
    """Return the incidents that are meant; blocks by hand only where they are named."""
    if accounts:
        found = [incidents.open_incident(context.database, account) for account in accounts]
        return [row for row in found if row is not None]
    rows = incidents.open_incidents(context.database, "enforce", context.now)
    domain = f"@{options.domain.removeprefix('@').lower()}" if options.domain else ""
    rule = options.rule or ""
    return [
        row
        for row in rows
        if row.account.endswith(domain)
        and row.began >= (options.since or 0)
        and f"{row.rule} ".startswith(f"{rule} " if rule else "")
        and (row.rule != BY_HAND or rule == BY_HAND)
    ]


def _list_only(
    context: Context, options: argparse.Namespace, rows: list[IncidentRow], accounts: list[str]
) -> int:
    """List the blocks that would be lifted, and name the accounts that nothing would change."""
    blocked = [row.account for row in rows]
    context.output.data({"unblocked": blocked, **result([])})
    if not rows and not accounts:
        context.complain("no such block is in force")
        return NOT_DONE
    if rows:
        columns = ["WOULD UNBLOCK", "SINCE", "RULE", "COUNTRIES", "HELD"]
        lines = [
            [row.account, Moment(row.began), row.rule, row.countries, row.held] for row in rows
        ]
        context.output.table(columns, lines)
    idle = 0
    for account in accounts:
        has_mail = any(by_place(context, account))
        deals_with_mail = has_mail and (options.release or options.delete)
        if account not in blocked and not options.exempt_for and not deals_with_mail:
            _complain_of_no_block(context, account, has_mail=has_mail)
            idle += 1
    return DONE if not idle else PARTLY if idle < len(accounts) else NOT_DONE


def _complain_of_no_block(context: Context, account: str, *, has_mail: bool) -> None:
    nothing = "" if has_mail else ", and none of its mail is on hold"
    question = context.whole_login(account)
    context.complain(
        f"{escaped(account)} is not blocked{nothing}{question and ': '}{escaped(question)}"
    )


def _lift_all(
    context: Context, options: argparse.Namespace, accounts: Sequence[str]
) -> list[Unblocking]:
    cases = [_lift(context, options, account) for account in accounts]
    if options.exempt_for:
        wait_until_known(context.config)
    return cases


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


def _finish(
    context: Context, options: argparse.Namespace, case: Unblocking
) -> list[tuple[IncidentRow, dict[str, object]]]:
    """Deal with the held mail of an account, and say what was done; return what to notify of."""
    here, elsewhere = by_place(context, case.account)
    if options.release or options.delete:
        fate = "released" if options.release else "deleted"
        if here:
            deal_with_mail(context, options, case, fate_by(options, fate))
        decide_elsewhere(context, case, elsewhere, fate, by_sender=options.by_sender)
    rows = [*here, *elsewhere]
    _report(context, options, case, rows)
    incident = case.lifted
    if incident is None and case.touched_mail:
        incident = incidents.incident(context.database, case.account, rows[-1].incident)
    if incident is None:
        return []
    detail: dict[str, object] = {
        "by": context.by,
        "reason": options.reason,
        "released": len(case.queue_ids["released"]),
        "deleted": len(case.queue_ids["deleted"]),
    }
    return [(incident, detail)]


def _report(
    context: Context, options: argparse.Namespace, case: Unblocking, rows: list[HeldRow]
) -> None:
    """Say what was done for an account, and what is left to do."""
    account, queue_ids = case.account, case.queue_ids
    state = "is unblocked" if case.lifted else "was not blocked"
    if case.asked_until:
        end = case.exempt_until  # as was asked for, or already longer
        told = f"until {local_time(end)}" if end else "for good"
        exempt = (
            f"is exempt {told}" if end == case.asked_until else f"stays exempt {told}, as before"
        )
        if end is None:  # removed by somebody else just now
            exempt = "is not exempt any more"
        context.output.say(f"{escaped(account)} {state}, and {exempt}.")
    elif case.did_something:
        context.output.say(f"{escaped(account)} {state}.")
    elif not case.unfinished:
        _complain_of_no_block(context, account, has_mail=bool(rows))
    for name in ("released", "deleted"):
        if queue_ids[name]:
            context.output.say(f"{counted(len(queue_ids[name]))} {name}.")
    if rows and not (options.release or options.delete):
        words = unblock_words(options)
        context.output.say(f"{counted(len(rows))} may still be on hold; now or later:")
        context.output.say(f"  {context.command('held', account, *words)}")
        for fate in ("--release", "--delete"):
            context.output.say(f"  {context.command('unblock', account, fate, *words)}")
    complain_of_rest(context, case)
