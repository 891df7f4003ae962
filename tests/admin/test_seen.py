"""The command `seen`: who else was seen from a place."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from checkout import Site, address, address6

pytestmark = pytest.mark.subprocess

KEYS = ["account", "address", "country", "network", "first_seen", "last_seen", "mails", "blocked"]


@pytest.fixture
def crowd(site: Site) -> Site:
    """A site with a thief's four places, one of which two owners share."""
    site.configure("familiar_after = 0\nmax_countries = 3\n")
    process = site.policy()
    for code in ("ES", "FR", "BR", "VN"):
        process.ask("stolen@example.org", address(code))
    process.ask("ann@example.org", address("FR"))
    process.ask("joe@example.org", address("FR", 2))
    process.ask("joe@example.org", address6("DE"))
    process.end()
    with closing(sqlite3.connect(site.database)) as connection, connection:
        connection.execute("UPDATE sighting SET network = 'AS64500' WHERE country = 'FR'")
    return site


@pytest.mark.parametrize(
    ("place", "accounts"),
    [
        (address("FR"), ["ann@example.org", "stolen@example.org"]),
        ("11.2.0.0/24", ["joe@example.org", "ann@example.org", "stolen@example.org"]),
        ("11.2.0.0/31", ["ann@example.org", "stolen@example.org"]),
        ("11.0.0.0/13", [*["joe@example.org", "ann@example.org"], *["stolen@example.org"] * 4]),
        ("AS64500", ["joe@example.org", "ann@example.org", "stolen@example.org"]),
        ("as64500", ["joe@example.org", "ann@example.org", "stolen@example.org"]),
        ("fr", ["joe@example.org", "ann@example.org", "stolen@example.org"]),
        (address6("DE"), ["joe@example.org"]),
        (address6("DE") + "/64", ["joe@example.org"]),
        ("2a05::/56", ["joe@example.org"]),
        ("2a05::/32", ["joe@example.org"]),
        ("64:ff9b::11.2.0.1", ["ann@example.org", "stolen@example.org"]),
    ],
)
def test_seen_lists_accounts_the_latest_first(crowd: Site, place: str, accounts: list[str]) -> None:
    if place.endswith("/64"):
        place = place.partition("::")[0] + "::/64"
    rows = crowd.data("seen", place)
    assert [row["account"] for row in rows] == accounts
    assert {row["blocked"] for row in rows if row["account"] == "stolen@example.org"} <= {True}
    assert {row["blocked"] for row in rows if row["account"] != "stolen@example.org"} <= {False}
    assert list(rows[0]) == KEYS


def test_seen_is_a_table_for_people(crowd: Site) -> None:
    lines = crowd.admin("seen", "AS64500").stdout.splitlines()
    assert lines[0].split("  ")[0] == "STATE"
    assert [line.split()[:5] for line in lines[1:]] == [
        ["-", "joe@example.org", "11.2.0.2", "FR", "AS64500"],
        ["-", "ann@example.org", "11.2.0.1", "FR", "AS64500"],
        ["BLOCKED", "stolen@example.org", "11.2.0.1", "FR", "AS64500"],
    ]


def test_seen_shows_a_hundred_and_how_many_more(crowd: Site) -> None:
    with closing(sqlite3.connect(crowd.database)) as connection, connection:
        for number in range(150):
            connection.execute(
                "INSERT INTO sighting SELECT ?, address, country, looked_up, client_name,"
                " first_seen, last_seen, mails, mails_before, counts_since, generation, days, runs,"
                " instance, hour, repeats_until, judged_by, network FROM sighting"
                " WHERE account = 'ann@example.org'",
                (f"user{number}@example.org",),
            )
    for place in (address("FR"), "11.2.0.0/16"):
        assert len(crowd.data("seen", place)) == 100
        last = crowd.admin("seen", place).stdout.splitlines()[-1]
        more, accounts = (52, 152) if place == address("FR") else (53, 153)
        assert last == f"and {more} more, in all of {accounts} accounts"


@pytest.mark.parametrize("place", ["192.0.2.7", "192.0.2.0/24", "2001:db8::/32", "AS1", "PT"])
def test_seen_finds_nobody(crowd: Site, place: str) -> None:
    done = crowd.admin("--json", "seen", place)
    assert (done.returncode, json.loads(done.stdout)) == (1, [])
    assert done.stderr == f"pcc_admin.py: {place}: nobody was seen from there\n"


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("UK", "must be an ISO 3166 code, here GB, got UK"),
        ("192.0.2.1/24", 'must be a network without host bits, here 192.0.2.0/24,'
         ' got "192.0.2.1/24"'),
        ("joe@example.org", 'must be an address, a range, an autonomous system or a country such'
         ' as 192.0.2.7, 192.0.2.0/24, AS64500 or ES, got "joe@example.org"'),
        ("mail.example.org", 'must be an address, a range, an autonomous system or a country such'
         ' as 192.0.2.7, 192.0.2.0/24, AS64500 or ES, got "mail.example.org"'),
    ],
)  # fmt: skip
def test_seen_refuses_what_is_no_place(site: Site, place: str, complaint: str) -> None:
    done = site.admin("seen", place)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"pcc_admin.py: PLACE {complaint}\n"
