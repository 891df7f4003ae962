"""The command `forget`: removes every trace of an account."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.admin import DONE, NOT_DONE
from pcc.admin.commands import add_command, typed
from pcc.escaping import escaped
from pcc.store import upkeep

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
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
