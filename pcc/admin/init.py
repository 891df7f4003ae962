"""The command `init`: readies the database, the configuration, and the files about places."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from pcc.admin import DONE, PARTLY
from pcc.admin.commands import add_command
from pcc.config.databaseurl import shown
from pcc.errors import CountryError
from pcc.store.engine import creation
from pcc.wording import quantity

MOST_SHOWN = 10
"""Accounts that were joined, and names of each, that are printed."""

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    add_command(
        commands,
        "init",
        init,
        "create or upgrade the database, ready the configuration and the data that comes along",
        "Run it once after the installation, and again after every change of pcc.toml or\n"
        "upgrade of pcc; what is there already stays as it is.  An upgrade of the database\n"
        "is made in one transaction, and a copy of the old file is kept beside it.",
    )


def init(context: Context, options: argparse.Namespace) -> int:
    """Create or upgrade the database; ready the configuration and the files about places."""
    from pcc.config import NEVER
    from pcc.places.memory import LookupOfMany
    from pcc.store import networks

    say = context.output.say
    _, problem = context.prepare()  # from the file itself, whatever was prepared before
    if problem:
        context.complain(f"{context.config_path}: can't be prepared for quick loading: {problem}")
    else:
        say(f"{context.config_path}: prepared for quick loading")
    database = context.config.store_database
    done = creation.create_or_upgrade(database)
    say(f"{shown(database)}: {done}")
    if context.config.is_on_server:
        file = context.config.host_file
        say(f"{file}: {creation.create_or_upgrade(file)}")
    _join_accounts(context)
    context.remember_host()
    status = _unpack_places(context)
    # Known addresses are looked up again where another database said what network they are in.
    lookup = LookupOfMany("", context.config.networks_database, "", context.complain)
    made = lookup.networks_made()
    if made != NEVER and (
        renewed := networks.renew_all(context.database, lookup.network_of_recorded, made)
    ):
        say(f"networks of known addresses: looked up for {quantity(renewed, 'account')}")
    return status


def _unpack_places(context: Context) -> int:
    """Put the files that say where an address is where there is none yet; return the status."""
    from pcc.places import bundled  # which most commands don't need

    status = DONE
    for file in bundled.FILES.values():
        path = file.path(context.config)
        if path and os.path.exists(path):
            context.output.say(f"{path}: there already")
        elif file is not bundled.COUNTRIES and not os.path.isdir(os.path.dirname(path)):
            # The default, in an installation that has everything in another folder.
            if path:
                context.output.say(f"{path}: not unpacked, because its folder is missing")
        elif path:
            try:
                bundled.unpack(path, file)
            except CountryError as error:
                if file is bundled.COUNTRIES:  # without which pcc sees nothing
                    raise
                context.complain(str(error))
                status = PARTLY
            else:
                context.output.say(f"{path}: unpacked from the bundled {file.noun}")
    return status


def _join_accounts(context: Context) -> None:
    """Join what is remembered of accounts that the configuration takes for one."""
    from pcc.invocation import command_line
    from pcc.store import joining

    account_of = context.config.normalised_account
    joined = joining.join_accounts(context.database, account_of, context.by, context.now)
    for account, names, blocked in joined[:MOST_SHOWN]:
        were = names if len(names) <= MOST_SHOWN else [*names[:MOST_SHOWN], "..."]
        text = f"{account}: joined with what is remembered of {', '.join(were)}"
        context.output.say(f"{text}; it is blocked" if blocked else text)
    if len(joined) > MOST_SHOWN:
        context.output.say(f"and {len(joined) - MOST_SHOWN} more accounts")
    dropped = joining.drop_exemptions(context.database, account_of, context.by, context.now)
    for name, account in dropped:
        words = ("exempt", "add", "account", account)
        context.complain(
            f"the exemption of {name} is removed, because its mail counts for {account} now; "
            f"to exempt that: {command_line(context.config_path, *words)}"
        )
