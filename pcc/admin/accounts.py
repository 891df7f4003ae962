"""Commands about accounts: list, show, check, block, forget."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pcc import maillog
from pcc.address import packed_address
from pcc.admin import DONE, NOT_DONE, USAGE
from pcc.admin.commands import add_command, add_reason
from pcc.admin.output import Moment, rfc3339
from pcc.escaping import escaped
from pcc.policy import Rule
from pcc.store import exemptions, incidents, upkeep

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.store.incidents import IncidentRow


def add_commands(commands: Commands) -> None:
    """Describe the commands to argparse."""
    _add_list(commands)
    _add_show(commands)
    _add_check(commands)
    _add_block(commands)
    _add_forget(commands)


def _add_list(commands: Commands) -> None:
    parser = add_command(
        commands,
        "list",
        list_accounts,
        "list blocked accounts",
        "Shows since when and why each account is blocked, and how much of its mail was held\n"
        "or refused since.",
    )
    parser.add_argument(
        "--observed",
        action="store_true",
        help="list accounts that would be blocked, had they not only been observed",
    )
    parser.add_argument("--history", action="store_true", help="list lifted blocks, too")


def list_accounts(context: Context, options: argparse.Namespace) -> int:
    """List open incidents, or all that are remembered."""
    mode = "observe" if options.observed else "enforce"
    if options.history:
        rows = incidents.all_incidents(context.database, mode)
    else:
        rows = incidents.open_incidents(context.database, mode, context.now)
    context.output.data([_incident_data(row, history=options.history) for row in rows])
    columns = ["STATE", "ACCOUNT", "SINCE", "RULE", "COUNTRIES", "CLIENT ADDRESS", "ACTION"]
    columns += ["HELD", "TRIES", "EXPIRES"]
    lines = [_incident_line(row, context.now) for row in rows]
    if rows and context.output.is_narrow:  # `show` has the rest
        columns, lines = columns[:5], [line[:5] for line in lines]
    if rows:
        context.output.table(columns, lines)
    elif context.output.is_terminal:
        context.output.say("No account is blocked." if mode == "enforce" else "None is observed.")
    return DONE


def _incident_data(row: IncidentRow, *, history: bool = False) -> dict[str, Any]:
    data = {
        "account": row.account,
        "since": rfc3339(row.began),
        "rule": row.rule,
        "countries": row.countries.split(",") if row.countries else [],
        "client_address": row.client_address or None,
        "action": row.action,
        "held": row.held,
        "tries": row.tries,
        "expires": rfc3339(row.expires),
    }
    return {**data, "ended": rfc3339(row.ended)} if history else data


def _incident_line(row: IncidentRow, now: float) -> list[Any]:
    return [
        _state(row, now),
        row.account,
        Moment(row.began),
        row.rule,
        row.countries,
        row.client_address,
        row.action,
        row.held,
        row.tries,
        Moment(row.expires) if row.expires else None,
    ]


def _state(row: IncidentRow, now: float) -> str:
    if row.ended is not None:
        return "lifted"
    if row.expires and row.expires <= now:
        return "expired"
    return "BLOCKED" if row.mode == "enforce" else "OBSERVED"


def _add_show(commands: Commands) -> None:
    parser = add_command(
        commands,
        "show",
        show,
        "show where an account was seen, its block, and what happened",
        "Every address it sent from, with country, host name, mails, first and last time; whether\n"
        "it is blocked or exempt; what happened, and who did it.\n\n"
        "Exit status 1 if nothing is known of it.",
    )
    parser.add_argument("account", metavar="ACCOUNT")


def show(context: Context, options: argparse.Namespace) -> int:
    """Show all that is known of one account."""
    database = context.database
    account = context.account(options.account)
    seen = incidents.sightings_of(database, account)
    events = incidents.events_of(database, account)
    block = incidents.open_incident(database, account)
    exemption = next(
        (
            row
            for row in exemptions.all_exemptions(database)
            if (row.kind, row.value) == ("account", account)
        ),
        None,
    )
    if not (seen or events or block or exemption):
        context.output.data(_account_data(account, None, None, [], []))
        context.complain(f"nothing is known of {account}")
        return NOT_DONE
    exempt_until = None
    if exemption and (not exemption.until or exemption.until > context.now):
        exempt_until = rfc3339(exemption.until) or "for ever"
    blocking = block if block and block.blocks(context.now) else None
    context.output.data(_account_data(account, blocking, exempt_until, seen, events))
    _show_to_people(context, account, block, exempt_until, seen, events)
    return DONE


def _account_data(
    account: str, block: IncidentRow | None, exempt_until: str | None, seen: Any, events: Any
) -> dict[str, Any]:
    return {
        "account": account,
        "blocked": block is not None,
        "exempt_until": exempt_until,
        "sightings": [
            {
                "country": row.country,
                "address": row.address,
                "client_name": row.client_name,
                "mails": row.mails,
                "first_seen": rfc3339(row.first_seen),
                "last_seen": rfc3339(row.last_seen),
            }
            for row in seen
        ],
        "events": [
            {"at": rfc3339(row.at), "what": row.what, "by": row.by, "detail": row.detail}
            for row in events
        ],
    }


def _show_to_people(
    context: Context,
    account: str,
    block: IncidentRow | None,
    exempt_until: str | None,
    seen: Any,
    events: Any,
) -> None:
    output = context.output
    output.title(account)
    _show_state(context, block, exempt_until)
    if seen:
        output.table(
            ["COUNTRY", "ADDRESS", "CLIENT NAME", "FIRST SEEN", "LAST SEEN", "MAILS"],
            [
                [
                    row.country,
                    row.address,
                    row.client_name,
                    Moment(row.first_seen),
                    Moment(row.last_seen),
                    row.mails,
                ]
                for row in seen
            ],
        )
    if events:
        output.table(
            ["AT", "WHAT", "BY", "DETAIL"],
            [[Moment(row.at), row.what, row.by, row.detail] for row in events],
        )


def _show_state(context: Context, block: IncidentRow | None, exempt_until: str | None) -> None:
    output = context.output
    if block:
        output.table(
            ["STATE", "SINCE", "RULE", "COUNTRIES", "ACTION", "HELD", "TRIES"],
            [
                [
                    _state(block, context.now),
                    Moment(block.began),
                    block.rule,
                    block.countries,
                    block.action,
                    block.held,
                    block.tries,
                ]
            ],
        )
    if exempt_until:
        output.say(f"Exempt until {exempt_until}.")


def _add_check(commands: Commands) -> None:
    parser = add_command(
        commands,
        "check",
        check,
        "tell the verdict that a mail would get now, and why",
        "Writes nothing.  Exit status 1 if the mail would be stopped; in observe mode none is.",
    )
    parser.add_argument("account", metavar="ACCOUNT")
    parser.add_argument("address", metavar="ADDRESS", help="the client's IP address")
    parser.add_argument(
        "--client-name", metavar="NAME", default="unknown", help="the client's verified host name"
    )


def check(context: Context, options: argparse.Namespace) -> int:
    """Tell the verdict that a mail would get now."""
    from pcc.preview import preview

    account = context.account(options.account)
    if packed_address(options.address) is None and options.address != "unknown":
        context.complain(f"{options.address} is not an IP address")
        return USAGE
    seen = preview(
        context.config,
        context.database,
        account,
        options.address,
        options.client_name,
        context.now,
    )
    for problem in seen.problems:
        context.complain(problem)
    context.output.data(
        {
            "account": account,
            "client_address": options.address,
            "country": seen.country or None,
            "action": seen.action,
            "would_block": seen.stopped,
            "rule": seen.rule or None,
            "countries": seen.countries,
            "because": seen.because,
        }
    )
    context.output.table(
        ["ACCOUNT", "CLIENT ADDRESS", "COUNTRY", "ACTION", "BECAUSE"],
        [[account, options.address, seen.country, seen.action, seen.because]],
    )
    return NOT_DONE if seen.stopped else DONE


def _add_block(commands: Commands) -> None:
    parser = add_command(
        commands,
        "block",
        block,
        "block an account by hand",
        "Its mail is answered with policy.action from now on, until it is unblocked.\n\n"
        "--json: blocked: a list with the account.",
    )
    parser.add_argument("account", metavar="ACCOUNT")
    add_reason(parser)


def block(context: Context, options: argparse.Namespace) -> int:
    """Block an account by hand."""
    account = context.account(options.account)
    policy = context.config.policy_for(account)
    expires = context.now + policy.block_for if policy.block_for else 0
    action = policy.action_word
    rule = Rule(policy, context.now, context.config.keep_sightings)
    if not incidents.block(
        context.database,
        account,
        action,
        expires,
        context.by,
        options.reason,
        context.now,
        rule.are_familiar,
    ):
        context.complain(f"{account} is blocked already")
        return NOT_DONE
    maillog.open_log(context.config.log_name)
    maillog.block_by_hand(account, context.by, options.reason)
    context.output.data({"blocked": [account]})
    context.output.say(f"{escaped(account)} is blocked.")
    if policy.observes:
        context.complain(f"mail of {account} passes all the same: policy.mode is observe")
    return DONE


def _add_forget(commands: Commands) -> None:
    parser = add_command(
        commands,
        "forget",
        forget,
        "remove every trace of an account",
        "Its sightings and countries, its block and all incidents, what is known of its held\n"
        "mail, events, notices and its exemption.  Mail in the queue stays, and so does what is\n"
        "in the mail log.  It can't be undone.\n\n"
        "--json: account, removed: how many sightings, countries, held_mails, incidents, events,\n"
        "notices and exemptions.",
    )
    parser.add_argument("account", metavar="ACCOUNT")


def forget(context: Context, options: argparse.Namespace) -> int:
    """Remove every trace of an account."""
    account = context.account(options.account)
    removed = upkeep.forget(context.database, account)
    context.output.data({"account": account, "removed": removed})
    if not any(removed.values()):
        context.complain(f"nothing is known of {account}")
        return NOT_DONE
    maillog.open_log(context.config.log_name)
    maillog.forgotten(account, context.by)
    found = ", ".join(_counted(count, name) for name, count in removed.items() if count)
    context.output.say(f"{escaped(account)} is forgotten: {found}.")
    return DONE


def _counted(count: int, name: str) -> str:
    """Return a number of things: `1 held mail`, `2 countries`."""
    words = name.replace("_", " ")
    if count == 1:
        words = words[:-3] + "y" if words.endswith("ies") else words[:-1]
    return f"{count} {words}"
