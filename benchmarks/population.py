"""Databases that have been in use: filled as a real run would have left them, and read back."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.traffic import Block, World, account
from pcc.address import recorded
from pcc.config import prepared, time_of
from pcc.store import open_database, repeats, sums
from pcc.verdict.decision import JUDGED_SECONDS, SETTLED_SECONDS

DAY = 86400
HOUR = 3600
DAYS = 5
"""Days that each place has been seen on: its country and its network are familiar."""

SIGHTING = (
    "INSERT INTO sighting (account, address, country, network, looked_up, client_name, first_seen,"
    " last_seen, mails, generation, days, runs, instance, hour, repeats_until, judged_by)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 4, 0, ?, '', '6f1.69217a3c.0.0', ?, ?, ?)"
)
PLACE = (
    "INSERT INTO place (account, kind, name, first_seen, last_seen, mails, generation, days, runs)"
    " VALUES (?, ?, ?, ?, ?, 4, 0, ?, '') ON CONFLICT DO UPDATE SET mails = mails + 4,"
    " last_seen = max(last_seen, excluded.last_seen)"
)
ACCOUNT = "INSERT INTO account (account, generation, turns, networks_made) VALUES (?, 0, 0, ?)"

STEP = 50_000
"""Accounts per transaction."""

GOLDEN = 0.6180339887
"""Its multiples lie evenly in every stretch: moments of their own for all places."""

SPREAD, LASTING, OVER = "spread", "lasting", "over"
"""When the repeats of places end.

Each at a moment of its own, as it was judged at one.  None within the run.  All at once, as at a
full hour in version 1.0.0.
"""


class Filling:
    """Fills a database, for a configuration."""

    def __init__(self, config: Path, database: Path, world: World) -> None:
        self._config = prepared.load(str(config))
        self._database = database  # on a server, what is copied there
        self._world = world
        narrowest = min(policy.narrowest_window for policy in self._config.policies)
        self._judged_seconds = min(JUDGED_SECONDS, narrowest - SETTLED_SECONDS)
        self._made = [time_of(path) for path in self._config.files_of_places]

    def add(
        self,
        accounts: int,
        places: int,
        *,
        first: int = 0,
        days_ago: int = 0,
        ending: str = SPREAD,
        hours_ago: int = 0,
    ) -> None:
        """Add accounts with so many known addresses each, last seen so many days ago.

        Account numbers begin at `first`.  `ending`: see SPREAD.  `hours_ago`: 1 for rows as they
        are when the hour has just turned.
        """
        with closing(self._open()) as database:
            indexes = _drop_indexes(database) if accounts > STEP else []
            for start in range(first, first + accounts, STEP):
                numbers = range(start, min(start + STEP, first + accounts))
                now = time.time() - days_ago * DAY
                known = [
                    (account(number), *self._world.known(number, place, places))
                    for number in numbers
                    for place in range(places)
                ]
                self._insert(database, known, now, DAYS, ending, hours_ago)
                made = self._made[1]
                database.executemany(ACCOUNT, ((account(number), made) for number in numbers))
                database.execute("COMMIT")
            for index in indexes:
                database.execute(index)
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if not days_ago and ending != OVER:
            self._check(first, places)

    def add_addresses(self, number: int, known: Iterable[tuple[Block, str]]) -> None:
        """Add addresses that an account was first seen from in the last minutes."""
        with closing(self._open()) as database:
            rows = [(account(number), *place) for place in known]
            self._insert(database, rows, time.time(), 1, SPREAD, 0)
            database.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._database, isolation_level=None)
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA cache_size = -262144")
        return database

    def _insert(
        self,
        database: sqlite3.Connection,
        known: list[tuple[str, Block, str]],
        now: float,
        days: int,
        ending: str,
        hours_ago: int,
    ) -> None:
        """Begin a transaction with the rows of accounts at addresses."""
        first_seen = now - (days - 1) * DAY
        seen_on = " ".join([str(int(now // DAY) - day) for day in range(days)])
        looked_up, judged_by = self._made[0], self._config.judged_by()
        sightings: list[tuple[Any, ...]] = []
        sums_of: list[tuple[Any, ...]] = []
        for number, (name, block, address) in enumerate(known):
            # Judged at a moment of its own, its latest mail.
            seen = now - number * GOLDEN % 1 * self._judged_seconds
            until = {SPREAD: seen + self._judged_seconds, LASTING: now + HOUR, OVER: now}[ending]
            hour = int(seen // HOUR) - hours_ago
            place = recorded(address), block.country, block.network
            row = (name, *place, looked_up, f"host-{number}.example.net", min(first_seen, seen))
            sightings.append((*row, seen, seen_on, hour, until, judged_by))
            for kind, place_name in (("country", block.country), ("network", block.network)):
                sums_of.append((name, kind, place_name, min(first_seen, seen), seen, seen_on))
        database.execute("BEGIN")
        database.executemany(SIGHTING, sightings)
        database.executemany(PLACE, sums_of)

    def _check(self, first: int, places: int) -> None:
        """See that known mail goes the quick path: otherwise the figures would be others."""
        judged_by, now = self._config.judged_by(), time.time()
        with closing(open_database(str(self._database))) as opened:
            found = [
                repeats.find(opened, account(number), recorded(address), judged_by, now)
                for number in range(first, first + 20)
                for _, address in [self._world.known(number, 0, places)]
            ]
        assert sum(instance is not None for instance in found) > 15, "known mails are no repeats"


def _drop_indexes(database: sqlite3.Connection) -> list[str]:
    """Drop the indexes of sightings; return how to make them again, which is quicker at the end."""
    query = (
        "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'sighting' AND sql LIKE 'CREATE I%'"
    )
    indexes = database.execute(query).fetchall()
    for name, _ in indexes:
        database.execute(f"DROP INDEX {name}")
    return [statement for _, statement in indexes]


class Census:
    """The counts of a database: mails, incidents, and mails that were stopped."""

    def __init__(self, database: Path) -> None:
        with closing(open_database(str(database))) as opened:
            sums.fold(opened, time.time())
        with closing(sqlite3.connect(database)) as connection:
            (self.mails,) = connection.execute("SELECT sum(mails) FROM sighting").fetchone()
            self.by_kind: dict[str, int] = dict(
                connection.execute("SELECT kind, sum(mails) FROM place GROUP BY kind").fetchall()
            )
            self.incidents, self.stopped = connection.execute(
                "SELECT count(*), ifnull(sum(tries), 0) FROM incident"
            ).fetchone()
