"""The command `cleanup`: drops what is too old."""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.admin import DONE
from pcc.admin.commands import add_command
from pcc.history import DAY
from pcc.rule import Rule
from pcc.store import upkeep
from pcc.store.engine.sqlite import SQLiteDatabase
from pcc.wording import quantity

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    cleaning = add_command(
        commands,
        "cleanup",
        cleanup,
        "drop what is older than the configured keep times",
        "Blocks and exemptions in force stay.  Meant for cron; may run while mail flows, and\n"
        "twice at once.",
    )
    cleaning.add_argument(
        "--days", type=_days, metavar="N", help="drop what is older than N days instead"
    )


def cleanup(context: Context, options: argparse.Namespace) -> int:
    """Drop what is older than the keep times, or than --days."""
    config, database, now = context.config, context.database, context.now
    keep_sightings, keep_incidents = config.kept_sightings, config.keep_incidents
    if options.days is not None:
        keep_sightings = keep_incidents = options.days * DAY
    maillog.open_log(config.log_name)
    for account in upkeep.end_expired(database, now):
        maillog.unblocked(account, "pcc", "expired")
    for account in upkeep.end_untrue(
        database, lambda name: Rule(config.policy_for(name), now, config.keep_sightings), now
    ):
        maillog.unblocked(account, "pcc", "no longer true")
    dropped = {
        "sightings": upkeep.drop_old_sightings(database, now - keep_sightings),
        "incidents": upkeep.drop_old_incidents(database, now - keep_incidents),
    }
    upkeep.drop_unknown_accounts(database, now)
    if config.is_on_server and os.path.exists(config.host_file):
        with closing(SQLiteDatabase(config.host_file)) as file:
            upkeep.drop_old_sightings(file, now - keep_sightings)
            upkeep.drop_unknown_accounts(file, now)
    context.remember_host()
    context.output.data(dropped)
    # Something is dropped nearly every hour: cron need not mail it.
    if any(dropped.values()) and context.output.is_terminal:
        context.output.say(
            f"dropped {quantity(dropped['sightings'], 'sighting')}"
            f" and {quantity(dropped['incidents'], 'incident')}"
        )
    return DONE


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise argparse.ArgumentTypeError(f'must be a number of days, got "{text}"')
    return int(text)
