"""The command `seen`: who else was seen from a place."""

from __future__ import annotations

import json
import sqlite3
import time
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


def add_neighbours(site: Site, count: int) -> None:
    """Add accounts that were seen where one of the owners was."""
    with closing(sqlite3.connect(site.database)) as connection, connection:
        for number in range(count):
            connection.execute(
                "INSERT OR REPLACE INTO sighting"
                " SELECT ?, address, country, looked_up, client_name, first_seen, last_seen, mails,"
                " mails_before, counts_since, generation, days, runs, instance, hour,"
                " repeats_until, judged_by, network FROM sighting"
                " WHERE account = 'ann@example.org'",
                (f"user{number}@example.org",),
            )


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
    add_neighbours(crowd, 150)
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


def also_seen(site: Site) -> dict[str, tuple[int, bool]]:
    """The other accounts at a thief's addresses: at how many each, and whether it is blocked."""
    return {
        row["account"]: (len(row["addresses"]), row["blocked"])
        for row in site.data("show", "stolen@example.org")["also_seen"]
    }


def test_show_names_other_accounts_at_the_addresses_of_an_incident(crowd: Site) -> None:
    process = crowd.policy()
    process.ask("ann@example.org", address("VN"))
    for code in ("US", "ES", "FR", "BR"):
        process.ask("eve@example.org", address(code))
    assert process.ask("stolen@example.org", address("US")) != "DUNNO"  # seen after the block
    process.end()
    assert also_seen(crowd) == {"eve@example.org": (4, True), "ann@example.org": (2, False)}
    told = "eve@example.org (blocked, at 4 of them), ann@example.org (at 2 of them)."
    assert (
        f"Also seen from these addresses: {told}\n"
        in crowd.admin("show", "stolen@example.org").stdout
    )
    assert crowd.data("show", "ann@example.org")["also_seen"] == []


def test_show_leaves_out_crowded_and_familiar_addresses(crowd: Site) -> None:
    assert also_seen(crowd) == {"ann@example.org": (1, False)}
    add_neighbours(crowd, 18)  # twenty accounts in all
    assert len(also_seen(crowd)) == 19
    add_neighbours(crowd, 19)
    assert also_seen(crowd) == {}
    process = crowd.policy()
    process.ask("joe@example.org", address("VN"))
    process.end()
    assert also_seen(crowd) == {"joe@example.org": (1, False)}
    crowd.configure("familiar_after = 2\nmax_countries = 3\n")
    today = int(time.time() // 86400)
    with closing(sqlite3.connect(crowd.database)) as connection, connection:
        days = f"{today} {today - 1} {today - 2}"
        connection.execute("UPDATE sighting SET days = ? WHERE country = 'VN'", (days,))
    assert also_seen(crowd) == {}
