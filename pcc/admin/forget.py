"""The command `forget`: removes every trace of an account."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.admin import DONE, NOT_DONE
from pcc.admin.commands import add_command, add_mail_config, typed
from pcc.admin.onhold import counted, on_hold, unblock_words
from pcc.escaping import escaped
from pcc.store import incidents, upkeep

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
        "Removes its sightings and places, its block and all incidents, the records of its held\n"
        "mail, events, notices and its exemption.  It can't be undone.  Mail in the queue\n"
        "and lines in the mail log stay.\n\n"
        "Exit status 1, and nothing is removed, if the account is blocked or has mail on hold:\n"
        "`unblock` it first.\n\n"
        "--json: account, removed: how many sightings, countries, held_mails, incidents, events,\n"
        "notices and exemptions.",
    )
    parser.add_argument("account", type=typed, metavar="ACCOUNT")
    parser.add_argument(
        "--force",
        action="store_true",
        help="also forget an account that is blocked or has mail on hold",
    )
    add_mail_config(parser)


def forget(context: Context, options: argparse.Namespace) -> int:
    """Remove every trace of an account."""
    account = context.account(options.account)
    block = incidents.open_incident(context.database, account)
    mails = on_hold(context, options, account)
    hindrances = ["is blocked"] if block and block.blocks(context.now) else []
    hindrances += [f"has {counted(mails)}"] if mails else []
    if hindrances and not options.force:
        fates = ("--release", "--delete") if mails else ()
        commands = [
            f"`{context.command('unblock', account, *words)}`"
            for words in ([unblock_words(options, fate) for fate in fates] or [[]])
        ]
        context.complain(
            f"{account} {' and '.join(hindrances)}: first run {' or '.join(commands)};"
            " --force forgets it as it is"
        )
        return NOT_DONE
    question = context.whole_login(account)
    removed = upkeep.forget(context.database, account)
    context.output.data({"account": account, "removed": removed})
    if not any(removed.values()):
        context.complain(f"nothing is known of {account}: {question}")
        return NOT_DONE
    maillog.open_log(context.config.log_name)
    maillog.forgotten(account, context.by)
    found = []
    for name, count in removed.items():
        words = name.replace("_", " ")
        if count == 1:
            words = words[:-3] + "y" if words.endswith("ies") else words[:-1]
        found += [f"{count} {words}"] if count else []
    context.output.say(f"{escaped(account)} is forgotten: {', '.join(found)}.")
    if mails:
        context.output.say(
            f"{counted(mails)} of it stay on hold in the queue: see postqueue -p, and release"
            " or delete them with postsuper."
        )
    return DONE
