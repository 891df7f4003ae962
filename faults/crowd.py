"""The first mails of an account, from many countries over as many processes at the same instant."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from checkout import PolicyProcess, Site, is_pass, is_refusal, request_text
from mmdb import write_country_database

from pcc.config.iso3166 import CODES

MAX_COUNTRIES = 3
CONFIG = f"familiar_after = 0\nmax_countries = {MAX_COUNTRIES}\n"


class Crowd(NamedTuple):
    """The measurements of a run: `passed` and `refused` over all rounds."""

    rounds: int
    processes: int
    passed: int
    refused: int
    notices: int


def run(rounds: int, processes: int = 40, *, notify: bool = False) -> Crowd:
    """Use a new account in each round, from as many countries as there are processes.

    Raises AssertionError for a round in which not exactly `max_countries` mails pass, or that
    does not leave exactly one block and, with `notify`, one notice.
    """
    # The last notices may still be under way.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        notices = '[notify]\nto = ["postmaster"]\nsendmail = "/bin/true"\n' if notify else ""
        site = Site(Path(folder), CONFIG + notices)
        write_country_database(
            site.countries,
            {f"12.{n}.0.0/16": code for n, code in enumerate(sorted(CODES)[:processes])},
        )
        _log_notices(site.database)
        crowd = [site.policy() for _ in range(processes)]
        try:
            for process in crowd:  # up, its database open
                assert is_pass(process.ask("warm-up", "10.0.0.1"))
            passed = refused = 0
            for number in range(rounds):
                actions = _round(crowd, f"joe{number}@example.org", number)
                assert sum(map(is_pass, actions)) == MAX_COUNTRIES, (number, actions)
                assert sum(map(is_refusal, actions)) == processes - MAX_COUNTRIES, number
                passed += MAX_COUNTRIES
                refused += processes - MAX_COUNTRIES
            for process in crowd:
                process.end()
            _check(site.database, rounds, processes, rounds if notify else 0)
        finally:
            site.close()
    return Crowd(rounds, processes, passed, refused, rounds if notify else 0)


def _log_notices(path: Path) -> None:
    """Make the database itself count the notices, which leave the outbox when they are sent."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE noticed (account TEXT);"
            "CREATE TRIGGER notice AFTER INSERT ON outbox BEGIN"
            " INSERT INTO noticed VALUES (new.account); END;"
        )


def _round(crowd: list[PolicyProcess], account: str, number: int) -> list[str | None]:
    """Send all requests at once, and return the replies; who begins changes with the number."""
    texts = [request_text(account, f"12.{country}.0.1") for country in range(len(crowd))]
    start = number % len(crowd)
    order = [*range(start, len(crowd)), *range(start)]
    half = len(order) // 2
    other = threading.Thread(target=_send, args=(crowd, texts, order[half:]))
    other.start()
    _send(crowd, texts, order[:half])
    other.join()
    return [process.reply() for process in crowd]


def _send(crowd: list[PolicyProcess], texts: list[str], order: list[int]) -> None:
    for place in order:
        crowd[place].send(texts[place])


def _check(path: Path, rounds: int, processes: int, notices: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        read: Callable[[str], Any] = lambda query: connection.execute(query).fetchone()  # noqa: E731
        assert read("PRAGMA integrity_check") == ("ok",)
        assert read("SELECT count(*), count(DISTINCT account) FROM incident") == (rounds, rounds)
        assert read("SELECT min(tries), max(tries) FROM incident") == (
            processes - MAX_COUNTRIES,
            processes - MAX_COUNTRIES,
        )
        assert read("SELECT count(*), count(DISTINCT account) FROM noticed") == (notices, notices)
        # The crossing mail is also recorded; the others are only tries.
        assert read("SELECT count(*), sum(mails) FROM sighting") == (
            rounds * (MAX_COUNTRIES + 1),
            rounds * (MAX_COUNTRIES + 1),
        )
