"""The command `exempt`: accounts, domains and clients that pcc leaves alone for a while.

Exemptions of pcc.toml are for good and are only shown here; those in the
database can end by themselves, and are dropped by `cleanup` some time after.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pcc import maillog
from pcc.address import network_text
from pcc.admin import DONE, NOT_DONE, USAGE
from pcc.admin.commands import add_command, duration, moment, typed
from pcc.admin.exemption import (
    KINDS,
    Shown,
    in_configuration,
    in_database,
    is_expired,
    wait_until_known,
)
from pcc.admin.output import Lines, Moment, local_time, rfc3339
from pcc.config import checks
from pcc.escaping import escaped
from pcc.store import exemptions, incidents

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.config import Config

DETAILS = """\
  pcc_admin.py exempt add account joe@example.org --for 14d --reason "a fair"
  pcc_admin.py exempt add domain sales.example.org --until 2026-12-31
  pcc_admin.py exempt list

pcc neither judges nor records exempt mail.  KIND and VALUE:
  account user@example.org  this login
  domain example.org        every login of the domain
  client 192.0.2.0/24       every login from these addresses; or one address, an
                            autonomous system such as AS64500, or the verified
                            name of a client: mail.example.org, or .example.org
                            for all names below it
A blocked account's mail is stopped wherever it is sent from; only an exemption of the account
or of its domain lets it pass.
"""

ADD_DETAILS = (
    DETAILS
    + """
Without --until and --for it is for good.  Adding it again changes it.  When the command ends,
all policy processes know of it.  Where hosts may share the database, that takes two seconds.

--until takes
  2026-12-24                 to the end of that day, local time
  2026-12-24T18:00           that minute, local time
  2026-12-24T18:00:00Z       RFC 3339, with any offset from UTC
"""
)


def add_commands(commands: Commands) -> None:
    """Describe the commands to argparse."""
    summary = "exempt accounts, domains or clients, for a while or for good"
    parser = add_command(commands, "exempt", show, summary, DETAILS)
    actions = parser.add_subparsers(metavar="add|list|remove", title="actions", required=True)
    adding = add_command(actions, "add", add, "add an exemption, or change it", ADD_DETAILS)
    _add_what(adding)
    end = adding.add_mutually_exclusive_group()
    end.add_argument("--until", type=_end, metavar="DATE", help="when it ends, see above")
    end.add_argument(
        "--for",
        type=duration,
        metavar="TIME",
        dest="seconds",
        help="how long it lasts, e.g. 14d",
    )
    adding.add_argument(
        "--reason", type=typed, metavar="TEXT", default="", help="kept for administrators"
    )
    add_command(
        actions,
        "list",
        show,
        "list exemptions, those of pcc.toml too",
        "BY is who added it, pcc.toml for those of the configuration.  Expired ones are listed\n"
        "until `cleanup` drops them.",
    )
    removing = add_command(
        actions,
        "remove",
        remove,
        "remove an exemption from the database",
        "Exit status 1 if it is not there.  Those of pcc.toml are removed in pcc.toml.",
    )
    _add_what(removing)


def _add_what(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", metavar="KIND", choices=KINDS, help="account, domain or client")
    parser.add_argument("value", type=typed, metavar="VALUE")


def add(context: Context, options: argparse.Namespace) -> int:
    """Add an exemption, or change it."""
    try:
        value = normalised(context.config, options.kind, options.value)
    except checks.Wrong as fault:
        context.complain(f"{options.kind} {fault.rule}")
        return USAGE
    until = context.now + options.seconds if options.seconds else 0
    if options.until:
        typed, until = options.until
        if until <= context.now:
            context.complain(f"--until must be in the future, got {typed}")
            return USAGE
    # Asked first: the exemption itself is an event.
    question = context.whole_login(value) if options.kind == "account" else ""
    exemptions.add(
        context.database, options.kind, value, until, context.by, options.reason, context.now
    )
    wait_until_known(context.config)
    maillog.open_log(context.config.log_name)
    maillog.exempted(options.kind, value, rfc3339(until) or "", context.by, options.reason)
    context.output.data([_data(Shown(options.kind, value, until, context.by, options.reason))])
    end = f"until {local_time(until)}" if until else "for good"
    context.output.say(f"{options.kind} {escaped(value)} is exempt {end}.")
    block = incidents.open_incident(context.database, value) if options.kind == "account" else None
    if block and block.blocks(context.now):
        context.output.say("It is still blocked, though its mail passes now.  To lift the block:")
        context.output.say(f"  {context.command('unblock', value)}")
    if question:
        context.complain(f"{value} was never seen sending: {question}")
    return DONE


def remove(context: Context, options: argparse.Namespace) -> int:
    """Remove an exemption from the database."""
    kind, value = options.kind, options.value
    try:
        value = normalised(context.config, kind, value)
    except checks.Wrong:
        pass  # it can't be there then, unless an older pcc took it
    rows = [row for row in in_database(context) if (row.kind, row.value) == (kind, value)]
    removed = exemptions.remove(context.database, kind, value, context.by, context.now)
    if removed:
        maillog.open_log(context.config.log_name)
        maillog.exemption_removed(kind, value, context.by)
    context.output.data([_data(row) for row in rows] if removed else [])
    name = f"{kind} {escaped(value)}"
    if any((row.kind, row.value) == (kind, value) for row in in_configuration(context.config)):
        context.complain(f"{name} stays exempt by {context.config.path}: remove it there")
    elif removed:
        context.output.say(f"{name} is no longer exempt.")
    else:
        context.complain(f"{name} is not exempt")
    return DONE if removed else NOT_DONE


def show(context: Context, options: argparse.Namespace) -> int:
    """List the exemptions of pcc.toml and of the database."""
    rows = [*in_configuration(context.config), *in_database(context)]
    context.output.data([_data(row) for row in rows])
    if rows:
        lines = [
            [
                "expired" if is_expired(row, context.now) else "exempt",
                row.kind,
                row.value,
                Moment(row.until) if row.until else "for good",
                row.by,
                row.reason,
            ]
            for row in rows
        ]
        fewer = ["STATE", "KIND", "VALUE AND REASON", "UNTIL", "BY"]
        shorter = [[*line[:2], Lines(filter(None, line[2::3])), *line[3:5]] for line in lines]
        context.output.table(
            ["STATE", "KIND", "VALUE", "UNTIL", "BY", "REASON"], lines, [("", (fewer, shorter))]
        )
    elif context.output.is_terminal:
        context.output.say("Nothing is exempt.")
    return DONE


def _data(row: Shown) -> dict[str, Any]:
    return {**row._asdict(), "until": rfc3339(row.until)}


def normalised(config: Config, kind: str, value: str) -> str:
    """Return a value as it is kept and matched.  Raises checks.Wrong with the rule it breaks."""
    if kind == "domain":
        return str(checks.domain(value))
    if kind == "client":
        client = checks.client(value)
        if isinstance(client, int):
            return f"AS{client}"
        return client if isinstance(client, str) else network_text(client)
    account = config.normalised_account(value)
    user, at, domain = account.rpartition("@")
    if not account or (at and not (user and domain)):
        raise checks.wrong(
            'must be a login such as "user@example.org"; a domain is of kind domain', value
        )
    return account


def _end(text: str) -> tuple[str, float]:
    """Return a date or time as it was typed, and its moment, for argparse."""
    return text, moment(text)
