"""The command `move`: copies the database to another one."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from pcc.admin import DONE
from pcc.admin.commands import add_command
from pcc.config import checks
from pcc.config.databaseurl import shown
from pcc.errors import PccError

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    moving = add_command(
        commands,
        "move",
        move,
        "copy the database to another one, for example of another engine",
        "FROM and TO are paths of SQLite files, or URLs as in store.database.  TO must be empty,\n"
        "or not there yet.  The copy is complete or is not made; its rows are counted at the end.\n"
        "Stop Postfix until the configuration names the new database: later changes of the old\n"
        "one are not in it.  Other users can see a command line, so write a password into the\n"
        "file that password_file names.",
    )
    moving.add_argument("source", metavar="FROM")
    moving.add_argument("target", metavar="TO")


def move(context: Context, options: argparse.Namespace) -> int:
    """Copy the database to another one."""
    from pcc.store.engine import moving  # with what it needs of servers

    for name in (options.source, options.target):
        try:
            checks.store(name)
        except checks.Wrong as fault:
            raise PccError(str(fault).strip()) from None
    if os.path.realpath(options.source) == os.path.realpath(options.target):
        raise PccError("FROM and TO are the same")
    if "://" not in options.source and not os.path.lexists(options.source):
        raise PccError(f"FROM does not exist: {options.source}")
    host = context.config.store_host or os.uname().nodename
    moved = moving.move(options.source, options.target, host)
    context.output.data(moved)
    context.output.table(["TABLE", "ROWS"], [[name, rows] for name, rows in moved.items()])
    context.output.say(
        f"{shown(options.target)} has everything now: name it in store.database, then run init."
    )
    return DONE
