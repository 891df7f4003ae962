"""Mails from many countries, the history before, and the block lifted: what `report` shows."""

from __future__ import annotations

import contextlib
import sqlite3
import time

from checkout import Site, address
from simulator import DAY, SentMail, log, utc

JOE = "joe@example.org"
PLAIN = "familiar_after = 0\nmax_countries = 2\n"
TODAY = int(time.time()) // DAY * DAY

HOSTILE = [
    "<script>alert(1)</script>@example.org",
    '"><img src=x onerror=alert(1)>@example.org',
    "</title></style><script src=//evil.example></script>@example.org",
    "\x1b[2J\x1b[31mred@example.org",
    "\u202egro.elpmaxe@eoj",
    "it's `id` $(id) &amp; --@example.org",
    "a" * 500,
]


def send_mails(site: Site, account: str, countries: str, **attributes: str) -> list[str | None]:
    """Send one mail from each country, through one policy process; return the answers."""
    process = site.policy()
    answers = [process.ask(account, address(code), **attributes) for code in countries.split()]
    process.end()
    return answers


def learn(site: Site, sent: list[SentMail]) -> None:
    """Import a log of these mails."""
    path = site.folder / "past.log"
    path.write_text(log(sent), encoding="utf-8")
    done = site.admin("replay", "--import", str(path))
    assert done.returncode == 0, done.stderr


def sql(site: Site, statement: str, *values: object) -> None:
    with contextlib.closing(sqlite3.connect(site.database)) as connection, connection:
        connection.execute(statement, values)


def date(at: float) -> str:
    return f"{utc(at):%Y-%m-%d}"


def lifted(site: Site, account: str = JOE, *options: str) -> None:
    assert site.admin("unblock", account, *options).returncode == 0
