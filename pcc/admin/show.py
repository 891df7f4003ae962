"""The command `show`: all that is known of one account."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pcc.admin import DONE, NOT_DONE
from pcc.admin.attempts import Attempts
from pcc.admin.commands import add_command, typed
from pcc.admin.exemption import CONFIGURATION, Shown, of_account
from pcc.admin.incident import crossed, narrow_state, state
from pcc.admin.output import Lines, Moment, local_time, rfc3339
from pcc.admin.whereabouts import COLUMNS, Whereabouts
from pcc.escaping import escaped
from pcc.store import incidents

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.store.incidents import IncidentRow


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        commands,
        "show",
        show,
        "show where an account was seen, its block, and what happened",
        "Shows whether it is blocked or exempt, every address that it sent from, what happened,\n"
        "and who did it.\n\n"
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
    ends = [row.until for row in exempting]
    until = (rfc3339(max(ends)) if all(ends) else "for ever") if ends else None
    where = Whereabouts(context, seen)
    tries = incidents.attempts_of(database, blocking) if blocking else []
    attempts = Attempts(context, tries)
    data = _account_data(account, blocking, until, seen, events, where)
    context.output.data({**data, "attempts": attempts.data()})
    if seen or events or block or exempting:
        _show_to_people(context, account, block, exempting, seen, events, where, attempts)
    by_hand = [row for row in exempting if row.kind == "account" and row.by != CONFIGURATION]
    if not (seen or events or block or by_hand):
        question = context.whole_login(account)
        context.complain(f"nothing is known of {account}: {question}")
        return NOT_DONE
    return DONE


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
    attempts: Attempts,
) -> None:
    output = context.output
    output.title(account)
    if block:
        _show_block(context, block)
        attempts.show()
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
        state(context, block),
        Moment(block.began),
        block.rule,
        block.countries,
        block.action,
        block.held,
        block.tries,
        Moment(block.expires) if block.expires else None,
    ]
    fewer = ["STATE", "SINCE", "RULE", "ACTION", "HELD", "TRIES"]
    shorter = [narrow_state(line[0]), line[1], crossed(block), *line[4:7]]
    context.output.table(columns, [line], [("", (fewer, [shorter]))])
    if block.is_longer(context.config.policy_for(block.account).block_for):
        context.output.say("It lasts longer than block_for: the last block ended by itself.")


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
