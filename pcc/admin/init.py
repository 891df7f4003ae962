"""The command `init`: readies the database, the configuration and the country database."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from pcc.admin import DONE
from pcc.admin.commands import add_command
from pcc.config.databaseurl import shown
from pcc.store.engine import creation

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    add_command(
        commands,
        "init",
        init,
        "create or upgrade the database, ready the configuration and the country database",
        "Run it once after the installation, and again after every change of pcc.toml or\n"
        "upgrade of pcc; what is there already stays as it is.  An upgrade of the database\n"
        "is made in one transaction, and a copy of the old file is kept beside it.",
    )


def init(context: Context, options: argparse.Namespace) -> int:
    """Create or upgrade the database; ready configuration and country database."""
    say = context.output.say
    _, problem = context.prepare()  # from the file itself, whatever was prepared before
    if problem:
        context.complain(f"{context.config_path}: can't be prepared for quick loading: {problem}")
    else:
        say(f"{context.config_path}: prepared for quick loading")
    database = context.config.store_database
    done = creation.create_or_upgrade(database)
    say(f"{shown(database)}: {done}")
    path = context.config.country_database
    if os.path.exists(path):
        say(f"{path}: there already")
        return DONE
    from pcc.places import bundled  # which most runs don't need

    bundled.unpack(path)
    say(f"{path}: unpacked from the bundled DB-IP Lite database")
    return DONE
