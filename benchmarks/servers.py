"""A database server for several hosts: verdicts per second, their times, the first verdict.

The servers are those of the tests: private ones with Debian's settings for the disk, on the same
two cores as all the rest.  The figures do not include the time of a network between.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.bench import ADDRESSES, MILLISECONDS, Bench, saturated
from benchmarks.burst import burst_figures
from benchmarks.installation import BARE, CHECKOUT, Site
from benchmarks.load import Answers, BrokenPolicyError, first_verdict, run
from benchmarks.report import Figure, Goal, compared, measured
from pcc.config import prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from servers import DatabaseServer

PROCESSES = (1, 8, 64, 256)

CONNECTIONS = 300
"""That a server takes, more than any measurement needs."""

OF_POSTGRESQL = {
    8: (Goal(5000, at_least=True, of_figure=True),),
    64: (Goal(4000, at_least=True, of_figure=True),),
    256: (Goal(2500, at_least=True, of_figure=True),),
}
P99_OF_POSTGRESQL = {64: (Goal(60, of_figure=True),)}
BORN_AT_ONCE = 128
MEDIAN_OF_POSTGRESQL = 2500
"""The goal for the median of their first verdicts, in milliseconds."""

BEHIND_A_FILE = Goal(0.9, at_least=True)
"""The goal beside a single host."""


def servers(bench: Bench) -> Iterator[Figure]:
    """Both servers beside SQLite, by turns."""
    tests = str(CHECKOUT / "tests" / "tools")
    if tests not in sys.path:
        sys.path.append(tests)
    from servers import MariaDB, PostgreSQL, missing

    for kind in (PostgreSQL, MariaDB):
        name = kind.__name__
        if reason := missing(kind):
            yield Figure(f"verdicts on {name}", "", missing=f"not measured: {reason}")
            continue
        server = kind(is_durable=True, connections=CONNECTIONS)
        try:
            for place, of in ((name, _directly), (f"{name} behind a host's file", _site)):
                make = partial(_new, of, bench, server)
                yield from _first_verdict(bench, place, make())
                for processes in PROCESSES:
                    try:
                        yield from _throughput(bench, place, make, processes)
                    except BrokenPolicyError as error:
                        what = f"verdicts on {place}, {processes} processes"
                        yield Figure(what, "", missing=f"NOT met: {error}")
                what = f"{BORN_AT_ONCE} processes at once on {place}"
                longest = MEDIAN_OF_POSTGRESQL if place == "PostgreSQL" else 0
                yield from burst_figures(
                    bench, what, make().policy(), BORN_AT_ONCE, longest_median=longest
                )
        finally:
            server.stop(signal.SIGINT if kind is PostgreSQL else signal.SIGTERM)


def _site(bench: Bench, url: str) -> Site:
    """Return a site with the ordinary accounts, on a server."""
    site = bench.installation.site()
    text = site.config.read_text(encoding="utf-8")
    site.config.write_text(text.replace('"pcc.db"', f'"{url}"'), encoding="utf-8")
    bench.filling(site).add(bench.scale.accounts, ADDRESSES)
    site.run("move", str(site.database), url)
    site.run("init")
    _fill_host_file(site)
    return site


def _new(of: Callable[[Bench, str], Site], bench: Bench, server: DatabaseServer) -> Site:
    return of(bench, server.new_database())


def _directly(bench: Bench, url: str) -> Site:
    """Return a site that has no file of its own in front of the server."""
    site = _site(bench, url)
    Path(prepared.load(str(site.config)).host_file).unlink()
    return site


def _fill_host_file(site: Site) -> None:
    """Give a host all accounts, as if they had sent mail by it before."""
    config = prepared.load(str(site.config))
    shutil.copyfile(site.database, config.host_file)
    with closing(sqlite3.connect(config.host_file)) as file, file:
        values = (config.shown_database, time.time())
        file.execute("INSERT INTO followed (server, at, mailed) VALUES (?, ?, 0)", values)


def _first_verdict(bench: Bench, name: str, site: Site) -> list[Figure]:
    known = bench.mails(bench.mails_from_home())
    times: dict[str, list[float]] = {"bare": [], "known": []}
    for _ in range(bench.scale.first_verdicts):
        times["bare"].append(run(BARE) * MILLISECONDS)
        times["known"].append(first_verdict(site.policy(), next(known)) * MILLISECONDS)
    what = f"first verdict on {name}, known account and address"
    return [compared(what, "ms", times["known"], times["bare"], "bare Python")]


def _throughput(bench: Bench, name: str, make: Callable[[], Site], processes: int) -> list[Figure]:
    answers: dict[str, list[Answers]] = {name: [], "SQLite": []}
    for turn in range(bench.scale.rounds):
        mixed = bench.mixed_mails(turn)
        for kind, site in (
            (name, make()),
            ("SQLite", bench.populated_site()),
        ):
            saturated(bench, site.policy(), processes, mixed, answers[kind])
            bench.installation.remove(site)
    rates = [[one.per_second for one in answers[kind]] for kind in (name, "SQLite")]
    p99 = [one.percentile(99) * MILLISECONDS for one in answers[name]]
    what = f"verdicts on {name}, {processes} process{'es' if processes > 1 else ''}"
    goals: tuple[Goal, ...] = (BEHIND_A_FILE,) if name.endswith("file") else ()
    p99_goals: tuple[Goal, ...] = ()
    if name == "PostgreSQL":
        goals, p99_goals = OF_POSTGRESQL.get(processes, ()), P99_OF_POSTGRESQL.get(processes, ())
    return [
        compared(what, "/s", rates[0], rates[1], "SQLite", *goals),
        measured("  p99", "ms", p99, *p99_goals),
    ]
