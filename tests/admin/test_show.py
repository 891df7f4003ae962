"""The command `show`."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest
from checkout import Site, address

pytestmark = pytest.mark.subprocess


def test_show_has_sightings_block_and_events(site: Site) -> None:
    site.cross("joe@example.org")
    shown = site.data("show", "JOE@example.org")
    assert (shown["account"], shown["blocked"], shown["exempt_until"]) == (
        "joe@example.org",
        True,
        None,
    )
    assert {row["country"] for row in shown["sightings"]} == {"ES", "FR"}
    assert set(shown["sightings"][0]) == {
        "country",
        "address",
        "client_name",
        "mails",
        "first_seen",
        "last_seen",
    }
    assert [event["what"] for event in shown["events"]] == ["blocked"]
    assert "max_countries 1 in 2d" in site.admin("show", "joe@example.org").stdout


def test_show_of_an_account_that_nothing_is_known_of_is_1(site: Site) -> None:
    done = site.admin("show", "nobody@example.org")
    assert done.returncode == 1
    assert (
        done.stderr
        == "pcc_admin.py: nothing is known of nobody@example.org: is this the whole login?\n"
    )
    assert site.data("show", "nobody@example.org")["sightings"] == []


@pytest.mark.parametrize(
    ("exempted", "until"),
    [
        ([("domain", "--until", "2098-01-01T00:00:00Z")], "2098-01-01T00:00:00Z"),
        (
            [
                ("domain", "--until", "2098-01-01T00:00:00Z"),
                ("account", "--until", "2099-01-01T00:00:00Z"),
            ],
            "2099-01-01T00:00:00Z",
        ),
        ([("account", "--for", "1d"), ("domain",)], "for ever"),
    ],
)
def test_show_has_every_exemption_that_lets_the_mail_pass(
    site: Site, exempted: list[tuple[str, ...]], until: str
) -> None:
    value = {"account": "joe@example.org", "domain": "example.org"}
    for kind, *end in exempted:
        assert site.admin("exempt", "add", kind, value[kind], *end).returncode == 0
    assert site.data("show", "joe@example.org")["exempt_until"] == until
    shown = site.admin("show", "joe@example.org").stdout
    assert shown.count("Exempt ") == len(exempted)


def test_show_begins_with_what_happened_and_the_places(site: Site) -> None:
    days = travelled(site, addresses=50)
    assert site.admin("unblock", "joe@example.org").returncode == 0
    lines = site.admin("show", "joe@example.org").stdout.splitlines()
    first = [n for n, line in enumerate(lines) if line.startswith(("AT ", "COUNTRY ", "NETWORK "))]
    assert [lines[n].split()[1] for n in first] == ["WHAT", "FAMILIAR", "FAMILIAR", "ADDRESS"]
    events, countries, networks, seen = first
    told = [line.split()[3] for line in lines[events + 1 : countries]]
    assert told == ["unblocked", "blocked"]
    bars = {line.split()[0]: line.split()[1:4] for line in lines[countries + 1 : networks]}
    assert bars == {
        "FR": ["-", "1", "." * 29 + "#"],
        "ES": ["familiar", str(len(days)), "".join(["#" if n in days else "." for n in range(30)])],
    }
    assert [line.split()[:2] for line in lines[networks + 1 : seen]] == [["AS64500", "familiar"]]
    assert len(lines[seen + 1 :]) == 21
    assert lines[-1] == "and 31 more addresses: see --all"
    every = site.admin("show", "--all", "joe@example.org").stdout.splitlines()
    assert len(every) == len(lines) + 30
    assert "--all" not in every[-1]


def test_show_has_the_same_places_as_data(site: Site) -> None:
    days = travelled(site, addresses=30)
    shown = site.data("show", "joe@example.org")
    assert len(shown["sightings"]) == 31
    places = {(row["kind"], row["name"]): row for row in shown["places"]}
    assert list(places) == [("country", "FR"), ("country", "ES"), ("network", "AS64500")]
    assert set(places["country", "ES"]) == {
        *("kind", "name", "mails", "first_seen", "last_seen", "days", "familiar")
    }
    assert places["country", "ES"]["mails"] == 30
    assert len(places["country", "ES"]["days"]) == len(days)
    assert [row["familiar"] for row in shown["places"]] == [False, True, True]


def travelled(site: Site, addresses: int) -> set[int]:
    """See an account at many addresses, on some of the last thirty days; return their numbers."""
    site.configure("familiar_after = 3\nmax_countries = 5\n")
    process = site.policy()
    for host in range(addresses):
        process.ask("joe@example.org", address("ES", host + 1))
    days = {2, 3, 5, 29}
    today = int(time.time() // 86400)
    text = " ".join([str(today - 29 + day) for day in sorted(days, reverse=True)])
    with closing(sqlite3.connect(site.database)) as connection, connection:
        connection.execute("UPDATE place SET days = ?", (text,))
        connection.execute(
            "INSERT INTO place (account, kind, name, first_seen, last_seen, mails, generation,"
            " days, runs) SELECT account, 'network', 'AS64500', first_seen, last_seen, mails,"
            " generation, days, runs FROM place"
        )
    process.ask("joe@example.org", address("FR"))
    process.end()
    assert site.admin("block", "joe@example.org").returncode == 0
    return days
