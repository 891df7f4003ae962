"""The command `replay`: what the limits would have done on mail logs, and learning from them."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pcc.admin import DONE, NOT_DONE, PARTLY
from pcc.admin.commands import add_command
from pcc.admin.output import local_time
from pcc.config.checks import duration_seconds
from pcc.errors import PccError
from pcc.escaping import escaped
from pcc.places.database import COUNTRIES, describe
from pcc.places.memory import LookupOfMany
from pcc.replay.advice import about_unlocated, advice, are_unlocated
from pcc.replay.judging import Replay, pasts
from pcc.replay.logfiles import BACKWARDS_SECONDS, STDIN, Log, in_order
from pcc.replay.outcomes import outcomes_of
from pcc.replay.settings import grid
from pcc.replay.submissions import Tally
from pcc.replay.tables import as_data, heights_table, limits_table, settings_table, stops_table
from pcc.store import exemptions, imports
from pcc.wording import quantity, verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pcc.admin.commands import Commands
    from pcc.admin.context import Context
    from pcc.replay.outcomes import Outcome
    from pcc.replay.settings import Setting

MOST_NAMED = 10
"""Accounts that are named after an import."""

LONGEST_SHOWN = 300
"""Characters of a line that could not be read which are shown."""

TRIED = ("max_countries", "max_networks", "max_hosting_mails", "max_foreign_mails")
"""The keys of a limit of which other numbers can be tried."""

UNREADABLE_ONE_IN = 10
"""The replay has failed in part if more than one submission in that many can't be read."""

_ABOUT = """\
Reads Postfix logs as they come: plain, gzipped or - for stdin (journalctl -u 'postfix*' -o json |
pcc_admin.py replay -), rotated, of several hosts, the files in any order.  A line may have the form
of syslog, RFC 5424, journalctl (short, short-iso, short-full, short-unix, with-unit, json), docker
logs, docker compose logs, CRI or json-file.  A file name that grep put in front is skipped.  Times
without a zone are those of this machine, unless TZ says otherwise.  Dates without a year get one:
the last line is no later than the file's last change.

The submissions in them are judged by the same rule and configuration as mail is, as if mode were
"enforce", from an empty database; exemptions in the database hold.  Without options it judges the
limits that are configured.  --window and the options that begin with --max- are lists.  Each
combination of them replaces the values of [policy] in turn: overrides and further limits hold as
they are.

  pcc_admin.py replay --learn 7d --max-countries 1,2,3,5 --window 1d,2d,7d /var/log/mail.log*

For each limit it prints how high accounts got: the median, the 99th and the 99.9th percentile, the
highest of all, and of those that do not look stolen.  A limit just above that would have blocked
no owner.  It also prints how many accounts one limit blocks that no other does, and accounts that
look stolen over weeks but cross no limit.

--import fills the database with the history, so that pcc knows from the first day on which
countries are familiar for whom.  It blocks nobody.  Accounts that pcc has ever blocked or
observed are left alone.  The days of accounts that the same replay would have blocked are left
out, so that nothing becomes familiar to them.  The same logs may be imported again: mails that the
database has are not counted twice.

Any local user can write a line to syslog that looks like Postfix's (see logger(1)).  Where users
log in to the machine, give --import the journal as JSON: it then takes only entries whose trusted
fields _UID, _SYSTEMD_UNIT and _EXE are those of Postfix."""


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        commands,
        "replay",
        replay,
        "show what the limits would have done on mail logs",
        _ABOUT,
    )
    parser.add_argument("logs", metavar="LOG", nargs="+", help="a mail log, or - for stdin")
    for key in TRIED:
        parser.add_argument(
            f"--{key.replace('_', '-')}",
            type=_numbers,
            default=[],
            metavar="N,...",
            help=f"numbers to try for {key}",
        )
    parser.add_argument(
        "--window", type=_windows, default=[], metavar="TIME,...", help="windows to try, e.g. 1d,2d"
    )
    parser.add_argument(
        "--learn",
        type=_learning_time,
        default=0,
        metavar="TIME",
        help="until then after the first line no account counts as blocked, e.g. 7d (default: 0)",
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="store_true",
        help="add the history to the database",
    )


def replay(context: Context, options: argparse.Namespace) -> int:
    """Judge the mails of logs, show what follows, and import them if asked to."""
    tried = {key: getattr(options, key) for key in TRIED}
    settings = grid(context.config_path, tried, options.window)
    if options.imports:
        with context.database:
            pass  # fails now if the database can't be written, not after all has been read
    logs = _open(context, options.logs)
    if not logs:
        return NOT_DONE
    tally = Tally(only_trusted=options.imports)
    begin = min((log.first for log in logs if log.first is not None), default=0.0)
    learn_until = begin + options.learn
    judge = _replay(context, settings, learn_until, imports_too=options.imports)
    with _progress(context, logs) as advance:
        for mail in in_order(logs, tally, advance):
            judge.mail(mail)
    outcomes = outcomes_of(judge)
    keys = [key for key, numbers in tried.items() if numbers]
    data = as_data(tally, judge, outcomes)
    if options.learn and 0 < judge.latest < learn_until:
        context.complain("the logs span less than --learn: nothing was judged")
    elif tally.parsed and not context.output.json:
        _show(context, judge, outcomes, keys, learnt=options.learn > 0)
    if options.imports:
        data["imported"] = _import(context, judge, outcomes)
    context.output.data(data)
    _complain(context, tally, logs)
    if not tally.parsed:
        return NOT_DONE
    is_whole = len(logs) == len(options.logs) and all(log.is_whole for log in logs)
    is_readable = tally.unparsed * UNREADABLE_ONE_IN <= tally.parsed + tally.unparsed
    return DONE if is_whole and is_readable else PARTLY


def _open(context: Context, paths: Sequence[str]) -> list[Log]:
    """Open the logs, each once, and complain of those that can't be."""
    logs = []
    for path in dict.fromkeys(paths):
        try:
            logs.append(Log(path, context.now))
        except PccError as error:
            context.complain(str(error))
    return logs


def _replay(
    context: Context, settings: list[Setting], learn_until: float, *, imports_too: bool
) -> Replay:
    config = context.config
    describe(config.country_database, COUNTRIES)  # without it nothing can be judged
    lookup = LookupOfMany(*config.files_of_places, context.complain)
    has_database = imports_too or config.is_on_server or os.path.exists(config.store_database)
    rows = exemptions.all_exemptions(context.database) if has_database else []

    def stored(account: str) -> dict[str, imports.Stored]:
        return imports.stored_addresses(context.database, account)

    return Replay(settings, lookup, rows, learn_until, stored if imports_too else None)


@contextmanager
def _progress(context: Context, logs: list[Log]) -> Iterator[Callable[[int], None]]:
    """Show how much has been read, while a person is looking; yield a function that adds bytes."""
    if context.output.json or not sys.stderr.isatty():
        yield lambda _read: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Speed

    sizes = sum(log.size for log in logs)
    total = None if any(log.path == STDIN for log in logs) else sizes
    columns = (BarColumn(), DownloadColumn(), Speed(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda read: progress.advance(task, read)


# The output.


def _show(
    context: Context, judge: Replay, outcomes: list[Outcome], tried: list[str], *, learnt: bool
) -> None:
    """Show people the grid, the accounts, the limits, and what to do."""
    output = context.output
    has_stops = any(outcome.stops for outcome in outcomes)
    shown = [settings_table(outcomes, tried)]
    shown += [stops_table(outcomes, local_time)] if has_stops else []
    shown += [limits_table(judge)] if len(outcomes) == 1 else []
    for columns, rows in (*shown, heights_table(judge, outcomes)):
        output.table(columns, rows)
        output.say("")
    mails, unlocated = judge.mails, judge.unlocated
    sentences = about_unlocated(mails, unlocated, context.config.country_database)
    if judge.without_network and judge.needs_networks:
        without = quantity(judge.without_network, "mail")
        sentences.append(f"{without} had no network: limits on networks could not judge them.")
    if has_stops or not are_unlocated(mails, unlocated):
        sentences += advice(outcomes, tried=tried, learnt=learnt)
    for why, names in (("exempt", judge.exempt), ("outside policy.domains", judge.outside)):
        if names:
            are = verb(len(names), f"is {why}: its", f"are {why}: their")
            sentences.append(f"{quantity(len(names), 'account')} {are} mail was not judged.")
    for sentence in sentences:
        output.say(sentence)


def _complain(context: Context, tally: Tally, logs: list[Log]) -> None:
    """Print what was wrong with the logs, and what was not judged as mail would be."""
    if not tally.parsed:
        context.complain(
            "no line has a submission: is it a log of the Postfix that clients log in to?"
        )
    if tally.unparsed:
        lines = quantity(tally.unparsed, "line")
        look = verb(tally.unparsed, "looks like a submission", "look like submissions")
        context.complain(f"{lines} {look} but can't be read:")
        print(f"  {escaped(tally.unread.rstrip()[:LONGEST_SHOWN])}", file=sys.stderr)
        print(f"  expected: {tally.expected}", file=sys.stderr)
    if tally.forgeable:
        entries = quantity(tally.forgeable, "entry", "entries")
        was = verb(tally.forgeable, "was", "were")
        context.complain(
            f"{entries} of the journal {was} left out: by _UID, _SYSTEMD_UNIT and _EXE it was not"
            " Postfix that wrote them"
        )
    years = sorted(set[int]().union(*[log.years for log in logs]))
    if years:
        span = f"{years[0]}" if len(years) == 1 else f"{years[0]} to {years[-1]}"
        context.complain(f"dates without a year were taken to be of {span}")
    if tally.repeated:
        mails = quantity(tally.repeated, "mail")
        are = verb(tally.repeated, "is", "are")
        context.complain(f"{mails} {are} in two of the logs; each was counted once")
    for log in logs:
        if not log.is_whole:
            context.complain(f"{log.path}: was read only in part: {log.problem}")
        if log.backwards > BACKWARDS_SECONDS:
            hours = quantity(round(log.backwards / 3600), "hour")
            context.complain(
                f"{log.path}: goes back in time by {hours}: logs"
                " that were joined in the wrong order can't be judged; name each by itself instead"
            )
    if context.config.account == "sender":
        context.complain(
            'policy.account is "sender", but these lines of the log name only the login:'
            " it was taken for the account"
        )


# Import.


def _import(context: Context, judge: Replay, outcomes: list[Outcome]) -> dict[str, Any]:
    """Add the history to the database, and say what was added."""
    done = imports.add_past(context.database, pasts(judge))
    say = context.output.say
    say("")
    say(
        f"Imported {quantity(done.mails, 'mail')} of {quantity(done.accounts, 'account')}"
        f" from {quantity(done.sightings, 'address', 'addresses')}.  Nobody was blocked."
    )
    if done.left_alone:
        say(
            f"{quantity(done.left_alone, 'account')} {verb(done.left_alone, 'was', 'were')} left"
            " alone, because pcc has blocked or observed"
            f" {verb(done.left_alone, 'it', 'them')} before: what it has seen itself since then"
            " counts."
        )
    blocked = sorted(account.name for account in judge.accounts if account.stops)
    if blocked:
        accounts = quantity(len(blocked), "account")
        names = ", ".join(escaped(name) for name in blocked[:MOST_NAMED])
        names += f" and {len(blocked) - MOST_NAMED} more" if len(blocked) > MOST_NAMED else ""
        say(f"The days of {accounts} that would have been blocked were left out: {names}.")
    stolen = {stop.account.name for outcome in outcomes for stop in outcome.stolen}
    return {**done._asdict(), "look_stolen": len(stolen), "days_left_out": blocked}


# Options.


def _numbers(text: str) -> list[int]:
    """Return the numbers of a list like `1,2,3`, each once, for argparse."""
    items = [item.strip() for item in text.split(",")]
    if not all(item.isascii() and item.isdigit() and len(item) < 6 for item in items):
        raise argparse.ArgumentTypeError(f'must be numbers such as 1,2,3, got "{text}"')
    return list(dict.fromkeys(int(item) for item in items))


def _windows(text: str) -> list[str]:
    """Return the times of a list like `1d,2d`, each once, for argparse."""
    items = [item.strip() for item in text.split(",")]
    if not all(_seconds(item) for item in items):
        raise argparse.ArgumentTypeError(f'must be times such as 1d,2d,7d, got "{text}"')
    return list(dict.fromkeys(items))


def _learning_time(text: str) -> int:
    seconds = _seconds(text)
    if seconds is None:
        raise argparse.ArgumentTypeError(f'must be a time such as 7d, or 0, got "{text}"')
    return seconds


def _seconds(text: str) -> int | None:
    """Return the seconds of a Postfix time, or of 0, None for anything else."""
    try:
        return 0 if text == "0" else duration_seconds(text)
    except ValueError:
        return None
