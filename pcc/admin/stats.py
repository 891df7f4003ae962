"""The command `stats`: figures for people, and for Prometheus by node_exporter.

Metrics are gauges and counters in the text exposition format.  A gauge that does not exist
yet (the age of the last sighting where there is none) has no sample.  Counters only grow; those
of errors and of mail without a country are of this host alone (pcc/store/tally.py).
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from pcc import VERSION
from pcc.admin import DONE, PARTLY, USAGE
from pcc.admin.commands import add_command
from pcc.admin.output import local_time
from pcc.errors import CountryError, PccError, StoreError
from pcc.host.files import replace_file
from pcc.places.memory import CountryMemory
from pcc.postfix import recentlog
from pcc.postfix.configuration import Postconf
from pcc.replay.recent import Recent, problem, recent_mails
from pcc.store import counters, tally, upkeep
from pcc.store.engine.hostfile import stamp_of

if TYPE_CHECKING:
    from pcc.admin.commands import Commands
    from pcc.admin.context import Context

    Figures = dict[str, int | None]


class Figure(NamedTuple):
    """A figure: its name in JSON, its metric, and its meaning.

    Figures of one metric differ by the `value` of a `label`.
    """

    name: str
    metric: str
    meaning: str
    label: str = ""
    value: str = ""

    @property
    def is_counter(self) -> bool:
        """Whether it only grows."""
        return self.metric.endswith("_total")

    @property
    def words(self) -> str:
        """Its meaning, for people."""
        return f"{self.meaning}: {self.value}" if self.value else self.meaning


FIGURES = (
    Figure("accounts", "pcc_accounts", "Accounts seen sending, as far as is remembered"),
    Figure("countries", "pcc_countries", "Countries that accounts were seen sending from"),
    Figure("sightings", "pcc_sightings", "Client addresses that accounts were seen at"),
    Figure("mails", "pcc_mails", "Mails counted in what is remembered"),
    Figure("blocked", "pcc_blocked_accounts", "Accounts that are blocked"),
    Figure("observed", "pcc_observed_accounts", "Accounts that would be blocked in enforce mode"),
    Figure("held", "pcc_held_mails", "Mails that were put on hold and not dealt with since"),
    Figure("outbox", "pcc_outbox_notices", "Notices still to be sent"),
    Figure("outbox_age", "pcc_outbox_age_seconds", "Age of the oldest notice still to be sent"),
    Figure("log_age", "pcc_log_age_seconds", "Age of the oldest mail that is not yet in the sums"),
    Figure(
        "server_age",
        "pcc_server_age_seconds",
        "Time since this host last had all that a shared server has",
    ),
    Figure("last_sighting_age", "pcc_last_sighting_age_seconds", "Time since the latest mail"),
    Figure(
        "oldest_sighting_age",
        "pcc_oldest_sighting_age_seconds",
        "Time since the first mail that is remembered",
    ),
    Figure("database_size", "pcc_database_size_bytes", "Size of the database and its log"),
    Figure(
        "country_database_age",
        "pcc_country_database_age_seconds",
        "Time since the country database was built",
    ),
    Figure(
        "recent_mails",
        "pcc_recent_mails",
        "Last mails in the mail log that could be read, at most 200",
    ),
    Figure(
        "recent_mails_without_country",
        "pcc_recent_mails_without_country",
        "Those of them that had no country and were not recorded",
    ),
    *[
        Figure(
            f"incidents_{mode}_total",
            "pcc_incidents_total",
            "Incidents ever, by the mode",
            "mode",
            mode,
        )
        for mode in ("enforce", "observe")
    ],
    Figure("stopped_total", "pcc_mails_stopped_total", "Mails ever stopped, held ones included"),
    Figure("held_total", "pcc_mails_held_total", "Mails ever put on hold"),
    Figure("released_total", "pcc_mails_released_total", "Held mails ever released"),
    Figure("deleted_total", "pcc_mails_deleted_total", "Held mails ever deleted"),
    Figure("notices_sent_total", "pcc_notices_sent_total", "Notices ever sent"),
    Figure(
        "notices_failed_total",
        "pcc_notices_failed_total",
        "Failures ever to send a notice",
    ),
    Figure(
        "without_country_total",
        "pcc_mails_without_country_total",
        "Mails ever on this host that had no country",
    ),
    *[
        Figure(
            f"errors_{kind}_total",
            "pcc_errors_total",
            "Errors ever of policy processes on this host, by their kind",
            "kind",
            kind,
        )
        for kind in tally.KINDS
    ],
)


NAMES = ", ".join(figure.name for figure in FIGURES)


def add_commands(commands: Commands) -> None:
    """Describe the command to argparse."""
    parser = add_command(
        commands,
        "stats",
        stats,
        "show figures, for people and for monitoring",
        "For node_exporter's textfile collector, from cron:\n"
        "  pcc_admin.py stats --prometheus /var/lib/prometheus/node-exporter/pcc.prom\n"
        "The file is replaced as a whole; node_exporter also exports its age.\n\n"
        f"--json: {NAMES}.\n"
        "Ages are seconds, null where there is nothing (0 for an empty outbox); the size is in\n"
        "bytes.  Figures in _total count since ever, although `cleanup` and `forget` remove rows.",
    )
    parser.add_argument(
        "--prometheus",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write metrics in the Prometheus text format to FILE (default: stdout)",
    )


def stats(context: Context, options: argparse.Namespace) -> int:
    """Show figures."""
    if options.prometheus == "-" and context.output.json:
        context.complain("--json and --prometheus can't both write to stdout: name a FILE")
        return USAGE
    recent = Recent(0, Counter())
    # Without Postfix there is no log; without a country database, collect() complains.
    with contextlib.suppress(PccError):
        log = recentlog.read(Postconf().values(["maillog_file"], {})["maillog_file"])
        memory = CountryMemory(context.config.country_database)
        recent = recent_mails(context.config, log.lines, memory.country, context.now)
    figures = collect(context, recent)
    status = DONE if figures["accounts"] is not None else PARTLY
    if options.prometheus == "-":
        print(exposition(figures), end="")
        return status
    if options.prometheus:
        replace_file(options.prometheus, exposition(figures), 0o644)
    context.output.data(figures)
    if not options.prometheus:
        context.output.table(
            ["FIGURE", "VALUE"],
            [
                [figure.words, _text(figure, figures[figure.name], context.now)]
                for figure in FIGURES
            ],
        )
        if wrong := problem(recent, context.config.country_database):
            context.output.say(f"\n{wrong}")
    return status


def collect(context: Context, recent: Recent) -> Figures:
    """Return all figures by name; ages in seconds, None where there is nothing to measure."""
    from pcc.places.database import COUNTRIES, describe

    figures: Figures = dict.fromkeys([figure.name for figure in FIGURES])
    figures["server_age"] = _server_age(context)
    totals = dict(tally.tally(context.config.state_path))
    try:
        figures.update(upkeep.figures(context.database, context.now))
        totals.update(counters.totals(context.database))
    except StoreError as error:
        if figures["server_age"] is None:
            raise
        context.complain(str(error))  # the age of what this host has is known all the same
    if not figures["sightings"]:
        figures["last_sighting_age"] = figures["oldest_sighting_age"] = None
    config = context.config
    size = 0
    for path in (config.store_database, config.store_database + "-wal"):
        with contextlib.suppress(FileNotFoundError):
            size += os.path.getsize(path)
    figures["database_size"] = None if config.is_on_server else size
    try:
        built = describe(config.country_database, COUNTRIES).build_epoch
        figures["country_database_age"] = max(0, int(context.now - built))
    except CountryError as error:
        context.complain(str(error))
        figures["country_database_age"] = None
    figures["recent_mails"] = recent.mails
    figures["recent_mails_without_country"] = recent.unlocated.total()
    for name, total in totals.items():
        figures[f"{name.replace(' ', '_')}_total"] = total
    return figures


def _server_age(context: Context) -> int | None:
    """Return the age of the stamp of this host's own file, None where there is none."""
    if not context.config.is_on_server:
        return None
    with contextlib.suppress(StoreError):
        if stamp := stamp_of(context.config):
            return max(0, int(context.now - stamp))
    return None


def exposition(figures: Figures) -> str:
    """Return the figures in the text exposition format 0.0.4 of Prometheus."""
    lines = [
        "# HELP pcc_build_info The version of pcc that wrote these metrics.",
        "# TYPE pcc_build_info gauge",
        f'pcc_build_info{{version="{VERSION}"}} 1',
    ]
    told = ""
    for figure in FIGURES:
        if figure.metric != told:
            told = figure.metric
            lines.append(f"# HELP {told} {figure.meaning}.")
            lines.append(f"# TYPE {told} {'counter' if figure.is_counter else 'gauge'}")
        value = figures[figure.name]
        if value is not None:
            labels = f'{{{figure.label}="{figure.value}"}}' if figure.label else ""
            lines.append(f"{figure.metric}{labels} {value}")
    return "\n".join(lines) + "\n"


def _text(figure: Figure, value: int | None, now: float) -> str:
    """Return a figure as people read it, an age with the local time when it began."""
    if value is None:
        return "-"
    if figure.metric.endswith("_seconds"):
        return f"{_duration(value)} ({local_time(now - value)})" if value else _duration(0)
    if figure.metric.endswith("_bytes"):
        return f"{value / 1_000_000:.1f} MB"
    return f"{value:,}"


def _duration(seconds: int) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"
