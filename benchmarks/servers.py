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
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks import population
from benchmarks.bench import ADDRESSES, DIFFERENT_MAILS, MILLISECONDS, Bench, saturated
from benchmarks.installation import BARE, CHECKOUT, Site
from benchmarks.load import Answers, first_verdict, run
from benchmarks.report import Figure, compared, measured
from pcc.config import prepared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from servers import DatabaseServer

PROCESSES = (1, 8, 64)


def servers(bench: Bench) -> list[Figure]:
    """Both servers beside SQLite, by turns."""
    tests = str(CHECKOUT / "tests")
    if tests not in sys.path:
        sys.path.append(tests)
    from servers import MariaDB, PostgreSQL, missing

    figures: list[Figure] = []
    for kind in (PostgreSQL, MariaDB):
        name = kind.__name__
        if reason := missing(kind):
            figures.append(Figure(f"verdicts on {name}", "", missing=f"not measured: {reason}"))
            continue
        server = kind(is_durable=True)
        try:
            for place, of in ((name, _directly), (f"{name} behind a host's file", _site)):
                make = partial(_new, of, bench, server)
                figures += _first_verdict(bench, place, make())
                for processes in PROCESSES:
                    figures += _throughput(bench, place, make, processes)
        finally:
            server.stop(signal.SIGINT if kind is PostgreSQL else signal.SIGTERM)
    return figures


def _site(bench: Bench, url: str) -> Site:
    """Return a site with the ordinary accounts, on a server."""
    site = bench.installation.site()
    text = site.config.read_text(encoding="utf-8")
    site.config.write_text(text.replace('"pcc.db"', f'"{url}"'), encoding="utf-8")
    site.run("init")
    population.fill(site.database, bench.scale.accounts, ADDRESSES)
    site.run("move", str(site.database), url)
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
        mixed = bench.world.mixed_mails(bench.scale.accounts, ADDRESSES, DIFFERENT_MAILS, turn)
        for kind, site in (
            (name, make()),
            ("SQLite", bench.populated_site()),
        ):
            saturated(bench, site.policy(), processes, mixed, answers[kind])
            bench.installation.remove(site)
    rates = [[one.per_second for one in answers[kind]] for kind in (name, "SQLite")]
    p99 = [one.percentile(99) * MILLISECONDS for one in answers[name]]
    what = f"verdicts on {name}, {processes} process{'es' if processes > 1 else ''}"
    return [
        compared(what, "/s", rates[0], rates[1], "SQLite"),
        measured("  p99", "ms", p99),
    ]
