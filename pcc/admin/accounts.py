"""Commands about accounts: list, show, check, block, forget."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pcc import maillog
from pcc.address import packed_address
from pcc.admin import DONE, NOT_DONE, USAGE
from pcc.admin.commands import add_command, add_reason, typed
from pcc.admin.exempt import CONFIGURATION, Shown, of_account
from pcc.admin.output import Lines, Moment, local_time, rfc3339
from pcc.admin.whereabouts import COLUMNS, Whereabouts
from pcc.escaping import escaped
from pcc.rule import Rule
from pcc.store import incidents, upkeep

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


_STATES = """\
STATE tells whether the block is in force:
  BLOCKED       mail of the account is stopped
  not enforced  the block is there, but mail passes: pcc only observes by now, or the
                account is exempt or outside policy.domains
  OBSERVED      it would be blocked, had pcc not only observed (--observed)
  expired       over by itself (--history)
  lifted        over (--history)"""


def _add_list(commands: Commands) -> None:
    parser = add_command(
        commands,
        "list",
        list_accounts,
        "list blocked accounts",
        "Shows since when and why each account is blocked, how many mails were held, and how many\n"
        "were stopped (TRIES, held ones included).\n\n" + _STATES,
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
    if rows:
        _show_incidents(context, rows)
    elif context.output.is_terminal:
        context.output.say("No account is blocked." if mode == "enforce" else "None is observed.")
    return DONE


def _show_incidents(context: Context, rows: list[IncidentRow]) -> None:
    columns = ["STATE", "ACCOUNT", "SINCE", "RULE", "COUNTRIES", "CLIENT ADDRESS", "ACTION"]
    columns += ["HELD", "TRIES", "EXPIRES"]
    lines = [_incident_line(context, row) for row in rows]
    fewer = ["STATE", "SINCE", "ACCOUNT AND RULE", "HELD", "TRIES"]
    shorter = [
        [_narrow_state(line[0]), line[2], Lines((line[1], _crossed(row))), *line[7:9]]
        for line, row in zip(lines, rows, strict=True)
    ]
    context.output.table(columns, lines, [("", (fewer, shorter))])
    account = rows[0].account if len(rows) == 1 else "ACCOUNT"
    context.output.hint("Where it was seen, and what happened:", context.command("show", account))


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


def _incident_line(context: Context, row: IncidentRow) -> list[Any]:
    return [
        _state(context, row),
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


def _state(context: Context, row: IncidentRow) -> str:
    """Return the state of an incident, and of a block in force why mail passes all the same."""
    state = row.state(context.now)
    why = _why_not_enforced(context, row.account) if state == "BLOCKED" else ""
    return f"not enforced: {why}" if why else state


def _crossed(row: IncidentRow) -> str:
    """Return the rule, and the countries that counted: `max_countries 2 in 2d: ES,FR,BR`."""
    return f"{row.rule}: {row.countries}" if row.countries else row.rule


def _narrow_state(state: str) -> Any:
    what, colon, why = state.partition(": ")
    return Lines((what + ":", why)) if colon else state


def _why_not_enforced(context: Context, account: str) -> str:
    if of_account(context, account):
        return "account is exempt"
    if not context.config.covers(account):
        return "outside policy.domains"
    return "mode is observe" if context.config.policy_for(account).observes else ""


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
    parser.add_argument("account", type=typed, metavar="ACCOUNT")


def show(context: Context, options: argparse.Namespace) -> int:
    """Show all that is known of one account."""
    database = context.database
    account = context.account(options.account)
    seen = incidents.sightings_of(database, account)
    events = incidents.events_of(database, account)
    block = incidents.open_incident(database, account)
    exempting = of_account(context, account)
    blocking = block if block and block.blocks(context.now) else None
    until = _exempt_until(exempting)
    where = Whereabouts(context, seen)
    context.output.data(_account_data(account, blocking, until, seen, events, where))
    if seen or events or block or exempting:
        _show_to_people(context, account, block, exempting, seen, events, where)
    by_hand = [row for row in exempting if row.kind == "account" and row.by != CONFIGURATION]
    if not (seen or events or block or by_hand):
        context.complain(f"nothing is known of {account}")
        return NOT_DONE
    return DONE


def _exempt_until(exempting: list[Shown]) -> str | None:
    """Return the end of the exemption that lasts longest, RFC 3339."""
    if not exempting:
        return None
    ends = [row.until for row in exempting]
    return rfc3339(max(ends)) if all(ends) else "for ever"


def _account_data(
    account: str,
    block: IncidentRow | None,
    exempt_until: str | None,
    seen: Any,
    events: Any,
    where: Whereabouts,
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
                **where.data_of(row.address),
            }
            for row in seen
        ],
        **where.data(),
        "events": [
            {"at": rfc3339(row.at), "what": row.what, "by": row.by, "detail": row.detail}
            for row in events
        ],
    }


def _show_to_people(
    context: Context,
    account: str,
    block: IncidentRow | None,
    exempting: list[Shown],
    seen: Any,
    events: Any,
    where: Whereabouts,
) -> None:
    output = context.output
    output.title(account)
    if block:
        _show_block(context, block)
    else:
        output.say("Not blocked.")
    for row in exempting:
        end = f"until {local_time(row.until)}" if row.until else "for good"
        domain = f" with its domain {escaped(row.value)}" if row.kind == "domain" else ""
        reason = f": {escaped(row.reason)}" if row.reason else ""
        output.say(f"Exempt {end}{domain}, by {escaped(row.by)}{reason}.")
    if seen:
        _show_sightings(context, seen, where)
    travelled = where.sentences()
    if travelled:
        output.say("\nHow fast one person would have had to travel:")
        for sentence in travelled:
            output.say(f"  {sentence}")
        output.say("")
    if events:
        output.table(
            ["AT", "WHAT", "BY", "DETAIL"],
            [[Moment(row.at), row.what, row.by, row.detail] for row in events],
        )
    if block and block.blocks(context.now):
        _show_what_to_do(context, block)


def _show_sightings(context: Context, seen: Any, where: Whereabouts) -> None:
    lines = [
        [
            row.country,
            row.address,
            row.client_name,
            Moment(row.first_seen),
            Moment(row.last_seen),
            row.mails,
        ]
        for row in seen
    ]
    fewer = ["COUNTRY", "ADDRESS AND NAME", "FIRST SEEN", "LAST SEEN", "MAILS"]
    shorter = [
        [line[0], Lines((line[1], line[2], *filter(None, where.cells(line[1])))), *line[3:]]
        for line in lines
    ]
    columns = ["COUNTRY", "ADDRESS", "CLIENT NAME", "FIRST SEEN", "LAST SEEN", "MAILS"]
    if where.is_known:
        columns += COLUMNS
        lines = [[*line, *where.cells(line[1])] for line in lines]
    context.output.table(columns, lines, [("", (fewer, shorter))])


def _show_block(context: Context, block: IncidentRow) -> None:
    columns = ["STATE", "SINCE", "RULE", "COUNTRIES", "ACTION", "HELD", "TRIES", "EXPIRES"]
    line: list[Any] = [
        _state(context, block),
        Moment(block.began),
        block.rule,
        block.countries,
        block.action,
        block.held,
        block.tries,
        Moment(block.expires) if block.expires else None,
    ]
    fewer = ["STATE", "SINCE", "RULE", "ACTION", "HELD", "TRIES"]
    shorter = [_narrow_state(line[0]), line[1], _crossed(block), *line[4:7]]
    context.output.table(columns, [line], [("", (fewer, [shorter]))])


def _show_what_to_do(context: Context, block: IncidentRow) -> None:
    """Tell a person how to deal with a block."""
    account, hint, command = block.account, context.output.hint, context.command
    if block.held:
        hint("Its held mail:", command("held", account))
    if not block.client_address:  # blocked by hand
        hint("To unblock it:", command("unblock", account))
        return
    hint(
        "It was its owner, travelling: unblock, release held mail, exempt for a week:",
        command("unblock", account, "--release", "--exempt-for", "7d"),
    )
    hint(
        "It was stolen: change its password; then unblock, and delete held mail:",
        command("unblock", account, "--delete"),
    )


def _add_check(commands: Commands) -> None:
    parser = add_command(
        commands,
        "check",
        check,
        "tell the verdict that a mail would get now, and why",
        "Writes nothing.  Exit status 1 if the mail would be stopped; in observe mode none is.",
    )
    parser.add_argument("account", type=typed, metavar="ACCOUNT")
    parser.add_argument("address", metavar="ADDRESS", help="the client's IP address")
    parser.add_argument(
        "--client-name",
        type=typed,
        metavar="NAME",
        default="unknown",
        help="the client's verified host name",
    )


def check(context: Context, options: argparse.Namespace) -> int:
    """Tell the verdict that a mail would get now."""
    from pcc.verdict.preview import preview

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
    context.output.facts(
        ["ACCOUNT", "CLIENT ADDRESS", "COUNTRY", "ACTION", "BECAUSE"],
        [account, options.address, seen.country, seen.action, seen.because],
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
    parser.add_argument("account", type=typed, metavar="ACCOUNT")
    add_reason(parser)


def block(context: Context, options: argparse.Namespace) -> int:
    """Block an account by hand."""
    account = context.account(options.account)
    policy = context.config.policy_for(account)
    expires = context.now + policy.block_for if policy.block_for else 0
    action = policy.action_word
    rule = Rule(policy, context.now, context.config.keep_sightings)
    is_known = bool(
        incidents.sightings_of(context.database, account)
        or incidents.events_of(context.database, account)
    )
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
    if why := _why_not_enforced(context, account):
        context.complain(f"mail of {account} passes all the same: {why}")
    if not is_known:
        context.complain(f"{account} was never seen sending: is this the whole login?")
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
    parser.add_argument("account", type=typed, metavar="ACCOUNT")


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
    if removed["held_mails"]:
        context.output.say("What is on hold of its mail stays in the queue, see postqueue -p.")
    return DONE


def _counted(count: int, name: str) -> str:
    """Return a number of things: `1 held mail`, `2 countries`."""
    words = name.replace("_", " ")
    if count == 1:
        words = words[:-3] + "y" if words.endswith("ies") else words[:-1]
    return f"{count} {words}"
