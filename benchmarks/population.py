"""Databases that have been in use: filled with SQL, in the order of their keys, and read back."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from benchmarks.traffic import COUNTRIES
from pcc.config import prepared, time_of
from pcc.store import open_database, sums

DAY = 86400
HOUR = 3600

NUMBERS = """\
WITH RECURSIVE number (n) AS (
    VALUES (:first) UNION ALL SELECT n + 1 FROM number WHERE n < :last
)"""

ACCOUNT = "printf('user%08d@example.org', n)"
COUNTRY = f"substr('{''.join(COUNTRIES)}', n % {len(COUNTRIES)} * 2 + 1, 2)"
# As traffic.known_address() has it; places in the order of the key.
ADDRESS = "(20 + place) || '.' || (n >> 16 & 255) || '.' || (n >> 8 & 255) || '.' || (n & 255)"

SIGHTINGS = f"""
{NUMBERS}, spot (place) AS (
    VALUES (0) UNION ALL SELECT place + 1 FROM spot WHERE place < :places - 1
)
INSERT INTO sighting (account, address, country, client_name, first_seen, last_seen, mails,
    generation, days, runs, instance, hour, looked_up, repeats_until, judged_by)
SELECT {ACCOUNT}, {ADDRESS}, {COUNTRY}, 'host-' || n || '.dyn.example.net', :seen - 86400, :seen, 2,
    0, :days, '', '6f1.69217a3c.0.' || n, CAST(:seen / 3600 AS INTEGER),
    :looked_up, :repeats_until, :judged_by
FROM number CROSS JOIN spot"""

PRESENCES = f"""
{NUMBERS}
INSERT INTO place (account, kind, name, first_seen, last_seen, mails, generation, days, runs)
SELECT {ACCOUNT}, 'country', {COUNTRY}, :seen - 86400, :seen, 2 * :places, 0, :days, ''
FROM number"""

STEP = 100_000
"""Accounts per transaction."""


def fill(database: Path, accounts: int, places: int, *, first: int = 0, days_ago: int = 0) -> None:
    """Add accounts with so many known addresses each, seen on that day and the one before.

    Account numbers begin at `first`.
    """
    seen = time.time() - days_ago * DAY  # in this hour: a repeat is one within an hour
    today = int(seen // DAY)
    made = time_of(str(database.with_name("country.mmdb")))
    config = prepared.load(str(database.with_name("pcc.toml")))
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -262144")
        for start in range(first, first + accounts, STEP):
            values = {
                "first": start,
                "last": min(start + STEP, first + accounts) - 1,
                "places": places,
                "seen": seen,
                "looked_up": made,
                "repeats_until": seen + HOUR,
                "judged_by": config.judged_by(),
                "days": f"{today} {today - 1}",
            }
            connection.execute("BEGIN")
            connection.execute(SIGHTINGS, values)
            connection.execute(PRESENCES, values)
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def add_addresses(database: Path, account: str, country: str, addresses: list[str]) -> None:
    """Add addresses that an account was seen from for the first time just now."""
    seen = time.time() - 60
    day, hour = f"{int(seen // DAY)}", int(seen // 3600)
    made = time_of(str(database.with_name("country.mmdb")))
    rows = [(account, address, country, seen, seen, day, hour, made) for address in addresses]
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany(
            "INSERT INTO sighting (account, address, country, client_name, first_seen, last_seen,"
            " mails, generation, days, runs, instance, hour, looked_up)"
            " VALUES (?, ?, ?, 'unknown', ?, ?, 4, 0, ?, '', '', ?, ?)",
            rows,
        )


class Census:
    """The counts of a database: mails, incidents, and mails that were stopped."""

    def __init__(self, database: Path) -> None:
        with closing(open_database(str(database))) as opened:
            sums.fold(opened, time.time())
        with closing(sqlite3.connect(database)) as connection:
            (self.mails,) = connection.execute("SELECT sum(mails) FROM sighting").fetchone()
            (self.by_country,) = connection.execute(
                "SELECT sum(mails) FROM place WHERE kind = 'country'"
            ).fetchone()
            self.incidents, self.stopped = connection.execute(
                "SELECT count(*), ifnull(sum(tries), 0) FROM incident"
            ).fetchone()
