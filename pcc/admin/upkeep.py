"""Commands that look after pcc itself: init, move, cleanup, notify."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from pcc import maillog
from pcc.admin import DONE, NOT_DONE, PARTLY
from pcc.admin.commands import add_command
from pcc.config import checks
from pcc.config.databaseurl import shown
from pcc.errors import PccError
from pcc.rule import DAY, Rule
from pcc.store import upkeep
from pcc.store.engine import creation
from pcc.wording import quantity

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context


def add_commands(commands: Commands) -> None:
    """Describe the commands to argparse."""
    add_command(
        commands,
        "init",
        init,
        "create or upgrade the database, ready the configuration and the country database",
        "Run it once after the installation, and again after every change of pcc.toml or\n"
        "upgrade of pcc; what is there already stays as it is.  An upgrade of the database\n"
        "is made in one transaction, and a copy of the old file is kept beside it.",
    )
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
    _add_move(commands)
    notifying = add_command(
        commands,
        "notify",
        notify,
        "send the notices that are still in the outbox",
        "Notices are sent as they arise; this, from cron, sends again what failed.  With --due,\n"
        "as a policy process starts it, what has failed again and again waits longer and\n"
        "longer, at most an hour, and nothing is done while another such process is sending.",
    )
    notifying.add_argument(
        "--due", action="store_true", help="leave out what failed a short while ago"
    )


def _add_move(commands: Commands) -> None:
    moving = add_command(
        commands,
        "move",
        move,
        "copy the database to another one, of another engine, say",
        "FROM and TO are paths of SQLite files, or URLs as store.database has them; TO has to be\n"
        "empty, or not there yet.  Nothing is copied by halves, and all is counted afterwards.\n"
        "Stop Postfix until the configuration names the new database: what is written to the old\n"
        "one after that is not in the new one.  Others can see what stands on a command line, so\n"
        "a password belongs into the file that password_file names.",
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
    if "://" not in options.source and not os.path.lexists(options.source):
        raise PccError(f"FROM does not exist: {options.source}")
    host = context.config.store_host or os.uname().nodename
    moved = moving.move(options.source, options.target, host)
    context.output.data(moved)
    context.output.table(["TABLE", "ROWS"], [[name, rows] for name, rows in moved.items()])
    context.output.say(
        f"All is in {shown(options.target)}, too: name it in store.database, then run init."
    )
    return DONE


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
    _ready_country_database(context)
    return DONE


def _ready_country_database(context: Context) -> None:
    from pcc.places import bundled

    path = context.config.country_database
    if os.path.exists(path):
        context.output.say(f"{path}: there already")
        return
    bundled.unpack(path)
    context.output.say(f"{path}: unpacked from the bundled DB-IP Lite database")


def cleanup(context: Context, options: argparse.Namespace) -> int:
    """Drop what is older than the keep times, or than so many days."""
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
    upkeep.drop_unknown_accounts(database)
    context.output.data(dropped)
    # Something is dropped nearly every hour: cron need not hear of it.
    if any(dropped.values()) and context.output.is_terminal:
        context.output.say(
            f"dropped {quantity(dropped['sightings'], 'sighting')}"
            f" and {quantity(dropped['incidents'], 'incident')}"
        )
    return DONE


def notify(context: Context, options: argparse.Namespace) -> int:
    """Send what is in the outbox."""
    from pcc.notice import outbox as notices

    try:
        send = notices.send_due if options.due else notices.send_outbox
        sent, failures = send(context.config, context.database)
    except PccError as error:
        # A policy process has started this with nobody to read its stderr.
        maillog.open_log(context.config.log_name)
        maillog.error(f"notices wait in the outbox: {error}")
        raise
    context.output.data({"sent": sent, "failed": len(failures)})
    if context.output.is_terminal:  # cron need not hear of what went well
        context.output.say(f"{sent} sent, {len(failures)} failed")
    for failure in failures:
        context.complain(failure)
    if not failures:
        return DONE
    return PARTLY if sent else NOT_DONE


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise argparse.ArgumentTypeError(f'must be a number of days, got "{text}"')
    return int(text)
