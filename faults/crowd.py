"""Mails of one account, over many processes at the same instant: exactly a limit's number passes.

They come from as many countries, or networks, as there are processes, or all from one hosting
network.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from checkout import PolicyProcess, Site, is_pass, is_refusal, request_text
from mmdb import write_country_database, write_database

from pcc.config.iso3166 import CODES


class Kind(NamedTuple):
    """A limit, and what its crowd is: `most` mails pass of `mails`, all from one network or not."""

    key: str
    most: int
    mails: int
    is_one_network: bool = False


COUNTRIES = Kind("max_countries", 3, 40)
NETWORKS = Kind("max_networks", 4, 40)
HOSTING = Kind("max_hosting_mails", 25, 60, is_one_network=True)
FOREIGN = Kind("max_foreign_mails", 25, 60, is_one_network=True)
KINDS = (COUNTRIES, NETWORKS, HOSTING, FOREIGN)


class Crowd(NamedTuple):
    """The measurements of a run: `passed` and `refused` over all rounds."""

    rounds: int
    processes: int
    passed: int
    refused: int
    notices: int


def run(rounds: int, processes: int = 40, *, kind: Kind = COUNTRIES, notify: bool = False) -> Crowd:
    """Use a new account in each round; its mails are spread over the processes.

    Raises AssertionError for a round in which not exactly the limit's number of mails pass, or that
    does not leave exactly one block and, with `notify`, one notice.
    """
    # The last notices may still be under way.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        site = _site(Path(folder), kind, notify)
        _log_notices(site.database)
        crowd = [site.policy() for _ in range(processes)]
        stopped = kind.mails - kind.most
        try:
            for process in crowd:  # up, its database open
                assert is_pass(process.ask("warm-up", "10.0.0.1"))
            for number in range(rounds):
                actions = _round(crowd, kind, f"joe{number}@example.org", number)
                assert sum(map(is_pass, actions)) == kind.most, (number, actions)
                assert sum(map(is_refusal, actions)) == stopped, number
            for process in crowd:
                process.end()
            site.admin("stats")  # folds the log of counts first
            _check(site.database, kind, rounds, rounds if notify else 0)
        finally:
            site.close()
    notices = rounds if notify else 0
    return Crowd(rounds, processes, rounds * kind.most, rounds * stopped, notices)


def _site(folder: Path, kind: Kind, notify: bool) -> Site:
    notices = '[notify]\nto = ["postmaster"]\nsendmail = "/bin/true"\n' if notify else ""
    places = '[country]\ndatabase = "country.mmdb"\nnetworks = "networks.mmdb"\n'
    policy = f"familiar_after = 0\nmax_countries = 0\n{kind.key} = {kind.most}\n"
    if kind is COUNTRIES:
        policy = policy.replace("max_countries = 0\n", "")
    store = '[store]\ndatabase = "pcc.db"\n'
    site = Site(folder, f'{policy}{places}hosting = "hosting.txt"\n{store}{notices}')
    countries = [*sorted(CODES)] if kind is COUNTRIES else ["ES"] * kind.mails
    write_country_database(
        site.countries, {f"12.{n}.0.0/16": countries[n] for n in range(kind.mails)}
    )
    write_database(
        folder / "networks.mmdb",
        {f"12.{n}.0.0/16": {"autonomous_system_number": 64500 + n} for n in range(kind.mails)},
        "GeoLite2-ASN",
    )
    (folder / "hosting.txt").write_text("64500\n")
    return site


def _log_notices(path: Path) -> None:
    """Make the database itself count the notices, which leave the outbox when they are sent."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE noticed (account TEXT);"
            "CREATE TRIGGER notice AFTER INSERT ON outbox BEGIN"
            " INSERT INTO noticed VALUES (new.account); END;"
        )


def _round(crowd: list[PolicyProcess], kind: Kind, account: str, number: int) -> list[str | None]:
    """Send all requests at once, and return the replies; who begins changes with the number."""
    networks = [0 if kind.is_one_network else n for n in range(kind.mails)]
    requests = [
        (crowd[(number + n) % len(crowd)], request_text(account, f"12.{network}.0.1"))
        for n, network in enumerate(networks)
    ]
    half = len(requests) // 2
    other = threading.Thread(target=_send, args=(requests[half:],))
    other.start()
    _send(requests[:half])
    other.join()
    return [process.reply() for process, _ in requests]


def _send(requests: list[tuple[PolicyProcess, str]]) -> None:
    for process, text in requests:
        process.send(text)


def _check(path: Path, kind: Kind, rounds: int, notices: int) -> None:
    stopped = kind.mails - kind.most
    with closing(sqlite3.connect(path)) as connection:
        read: Callable[[str], Any] = lambda query: connection.execute(query).fetchone()  # noqa: E731
        assert read("PRAGMA integrity_check") == ("ok",)
        assert read("SELECT count(*), count(DISTINCT account) FROM incident") == (rounds, rounds)
        assert read("SELECT min(tries), max(tries) FROM incident") == (stopped, stopped)
        assert read("SELECT count(*), count(DISTINCT account) FROM noticed") == (notices, notices)
        # The crossing mail is also recorded; the others are only tries.
        seen = 1 if kind.is_one_network else kind.most + 1
        assert read("SELECT count(*), sum(mails) FROM sighting") == (
            rounds * seen,
            rounds * (kind.most + 1),
        )
