"""The command `show`: all that is known of one account."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from pcc.admin import DONE, NOT_DONE
from pcc.admin.attempts import Attempts
from pcc.admin.commands import add_command, typed
from pcc.admin.exemption import CONFIGURATION, Shown, of_account
from pcc.admin.glance import Glance
from pcc.admin.incident import crossed, narrow_state, state
from pcc.admin.output import Lines, Moment, local_time, rfc3339
from pcc.admin.whereabouts import COLUMNS, Whereabouts
from pcc.escaping import escaped
from pcc.notice import others
from pcc.notice.notice import MOST_SIGHTINGS
from pcc.store import incidents, outbox

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.notice.others import Other
    from pcc.store.incidents import EventRow, IncidentRow, SightingRow


MOST_SHOWN = 20
"""Rows of each table that are shown without `--all`."""


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        commands,
        "show",
        show,
        "show where an account was seen, its block, and what happened",
        "Shows whether it is blocked or exempt, what happened and who did it, its countries and\n"
        "networks, and the addresses that it sent from, each the latest first.  A place is\n"
        "familiar by policy.familiar_after.  Also seen are other accounts at the addresses of\n"
        "the open incident.\n\n"
        "Exit status 1 if nothing is known of it.",
    )
    parser.add_argument("account", type=typed, metavar="ACCOUNT")
    parser.add_argument(
        "--all", action="store_true", help=f"show all rows, not only the latest {MOST_SHOWN}"
    )


class _Known(NamedTuple):
    """All that is known of an account; `block`: its open incident, which may have expired."""

    account: str
    seen: list[SightingRow]
    events: list[EventRow]
    block: IncidentRow | None
    exempting: list[Shown]
    where: Whereabouts
    attempts: Attempts
    others: list[Other]
    places: Glance


def show(context: Context, options: argparse.Namespace) -> int:
    """Show all that is known of one account."""
    account = context.account(options.account)
    known = _known(context, account)
    _, seen, events, block, exempting, *_ = known
    context.output.data(_account_data(context, known))
    if seen or events or block or exempting:
        _show_to_people(context, known, sys.maxsize if options.all else MOST_SHOWN)
    by_hand = [row for row in exempting if row.kind == "account" and row.by != CONFIGURATION]
    if not (seen or events or block or by_hand):
        question = context.whole_login(account)
        context.complain(f"nothing is known of {account}: {question}")
        return NOT_DONE
    return DONE


def _known(context: Context, account: str) -> _Known:
    database = context.database
    seen = incidents.sightings_of(database, account)
    block = incidents.open_incident(database, account)
    tries = incidents.attempts_of(database, block) if block and block.blocks(context.now) else []
    found: list[Other] = []
    if block:
        counted, _ = outbox.evidence(database, block, MOST_SIGHTINGS)
        addresses = [row.address for row in counted]
        addresses += [row.address for row in tries[:MOST_SIGHTINGS]]
        telling = {*addresses} - others.familiar(context.config, database, block)
        found = others.find(database, account, telling, context.now)
    return _Known(
        account,
        seen,
        incidents.events_of(database, account),
        block,
        of_account(context, account),
        Whereabouts(context, seen),
        Attempts(context, tries),
        found,
        Glance(context, account),
    )


def _account_data(context: Context, known: _Known) -> dict[str, Any]:
    ends = [row.until for row in known.exempting]
    where = known.where
    return {
        "account": known.account,
        "blocked": known.block is not None and known.block.blocks(context.now),
        "exempt_until": (rfc3339(max(ends)) if all(ends) else "for ever") if ends else None,
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
            for row in known.seen
        ],
        **where.data(),
        "events": [
            {"at": rfc3339(row.at), "what": row.what, "by": row.by, "detail": row.detail}
            for row in known.events
        ],
        "attempts": known.attempts.data(),
        "places": known.places.data(),
        "also_seen": others.data(known.others),
    }


def _show_to_people(context: Context, known: _Known, most: int) -> None:
    output = context.output
    output.title(known.account)
    if known.block:
        _show_block(context, known.block)
        known.attempts.say()
    else:
        output.say("Not blocked.")
    for row in known.exempting:
        end = f"until {local_time(row.until)}" if row.until else "for good"
        domain = f" with its domain {escaped(row.value)}" if row.kind == "domain" else ""
        reason = f": {escaped(row.reason)}" if row.reason else ""
        output.say(f"Exempt {end}{domain}, by {escaped(row.by)}{reason}.")
    if known.others:
        output.paragraph(others.sentence(known.others))
        place = others.address_of_most(known.others)
        output.hint("See who else was at one of its addresses:", context.command("seen", place))
    if known.events:
        latest = known.events[::-1]
        output.table(
            ["AT", "WHAT", "BY", "DETAIL"],
            [[Moment(row.at), row.what, row.by, row.detail] for row in latest[:most]],
        )
        output.rest(len(latest) - most, "event", "events")
    known.places.show(known.where, most)
    known.attempts.show(most)
    if known.seen:
        _show_sightings(context, known.seen[:most], known)
        output.rest(len(known.seen) - most, "address", "addresses")
    travelled = known.where.sentences()
    if travelled:
        output.say("\nHow fast one person would have had to travel:")
        for sentence in travelled:
            output.say(f"  {sentence}")
    if known.block and known.block.blocks(context.now):
        _show_what_to_do(context, known.block)


def _show_sightings(context: Context, seen: list[SightingRow], known: _Known) -> None:
    where = known.where
    lines: list[list[Any]] = [
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
    shorter = []
    for country, address, name, *rest in lines:
        notes = [note for note in (name, *where.cells(address)) if note not in ("", "unknown")]
        shorter.append([country, Lines((address, *notes)), *rest])
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
        "It was stolen: change its password, restart Postfix; unblock, delete held mail:",
        command("unblock", account, "--delete"),
    )
