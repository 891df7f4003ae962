"""Repeats: mail that changes nothing but counts is answered after one look, and never wrongly.

Each mail writes down the facts that make a repeat of the next one.  Each test sends a mail, makes
its row older than rows that are too fresh to rely on, changes something, and sends the next.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

import pytest
from checkout import Site, address, is_pass, is_refusal
from mmdb import write_country_database

pytestmark = pytest.mark.subprocess

ACCOUNT = "joe@example.org"
LIMITS = "max_countries = 2\nwindow = '7d'\n"


@pytest.fixture
def limits() -> str:
    """Two countries in a week."""
    return LIMITS


def sql(site: Site, *statements: str) -> None:
    """Carry out statements on the database of a site."""
    with closing(sqlite3.connect(site.database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def pass_minutes(site: Site, minutes: int = 1) -> None:
    """Make all that was recorded a minute older, or more."""
    seconds = 60 * minutes
    for table in ("sighting", "place"):
        times = f"first_seen = first_seen - {seconds}, last_seen = last_seen - {seconds}"
        sql(site, f"UPDATE {table} SET {times}")


def repeats(site: Site) -> list[str]:
    """Return the addresses from which the next mail is a repeat, as far as is written down."""
    with closing(sqlite3.connect(site.database)) as connection:
        rows = connection.execute(
            "SELECT address FROM sighting WHERE abs(repeats_until) > ? ORDER BY address",
            (time.time(),),
        )
        return [address for (address,) in rows]


def test_repeat_is_counted_once_by_any_process(make: Callable[..., Site]) -> None:
    site = make()
    assert is_pass(site.ask(instance="1.1.0"))
    pass_minutes(site)
    process = site.policy()
    for _ in range(3):  # recipients
        assert is_pass(process.ask(instance="1.2.0"))
    process.end()
    assert is_pass(site.ask(instance="1.2.0"))  # Postfix's retry
    assert site.mails() == {address("ES"): 2}


def test_repeat_leaves_the_same_rows_as_a_close_look(make: Callable[..., Site]) -> None:
    site = make()
    assert is_pass(site.ask())
    pass_minutes(site)
    assert repeats(site) == [address("ES")]
    assert is_pass(site.ask(client_name="new.example.net"))
    [seen] = site.data("show", ACCOUNT)["sightings"]
    assert seen["mails"] == 2
    assert seen["client_name"] == "new.example.net"
    assert seen["last_seen"] > seen["first_seen"]


def test_sighting_is_certainly_on_disk_when_a_second_mail_was_counted(
    make: Callable[..., Site],
) -> None:
    """Rows that another process has just recorded may not be: it answers its mail after a sync."""
    site = make()

    def is_certain() -> bool:
        with closing(sqlite3.connect(site.database)) as connection:
            return bool(connection.execute("SELECT repeats_until > 0 FROM sighting").fetchone()[0])

    assert is_pass(site.ask())
    assert not is_certain()
    assert is_pass(site.ask())
    assert site.mails() == {address("ES"): 2}  # a command of an administrator folds the log
    assert is_certain()
    assert is_pass(site.ask())
    assert site.mails() == {address("ES"): 3}


def test_block_stops_the_repeats(make: Callable[..., Site]) -> None:
    site = make()
    assert is_pass(site.ask())
    pass_minutes(site)
    process = site.policy()
    assert is_pass(process.ask())
    assert site.admin("block", ACCOUNT).returncode == 0
    assert is_refusal(process.ask())
    assert site.admin("unblock", ACCOUNT).returncode == 0
    assert is_pass(process.ask())


@pytest.mark.parametrize(
    ("kind", "value"),
    [("account", ACCOUNT), ("domain", "example.org"), ("client", address("ES"))],
)
def test_exemption_ends_the_recording(make: Callable[..., Site], kind: str, value: str) -> None:
    site = make()
    assert is_pass(site.ask())
    pass_minutes(site)
    process = site.policy()
    assert is_pass(process.ask())
    assert site.admin("exempt", "add", kind, value).returncode == 0
    assert is_pass(process.ask())
    process.end()
    assert is_pass(site.ask())
    assert site.mails() == {address("ES"): 2}


def test_second_exemption_ends_the_recording_too(make: Callable[..., Site]) -> None:
    site = make()
    assert is_pass(site.ask())
    pass_minutes(site)
    assert site.admin("exempt", "add", "account", "other@example.org").returncode == 0
    process = site.policy()
    assert is_pass(process.ask())
    assert site.admin("exempt", "add", "account", ACCOUNT).returncode == 0
    assert is_pass(process.ask())
    process.end()
    assert site.mails() == {address("ES"): 2}


def test_client_is_exempt_by_its_name_at_an_address_where_others_are_not(
    make: Callable[..., Site],
) -> None:
    site = make(LIMITS + 'exempt_clients = [".example.net"]\n')
    assert is_pass(site.ask(client_name="host.example.com"))
    pass_minutes(site)
    process = site.policy()
    assert is_pass(process.ask(client_name="mail.example.net"))
    assert is_pass(process.ask(client_name="host.example.com"))
    process.end()
    assert site.mails() == {address("ES"): 2}


def test_tighter_limit_holds_for_the_next_process(make: Callable[..., Site]) -> None:
    site = make()
    for country in ("ES", "FR"):
        assert is_pass(site.ask(client_address=address(country)))
    pass_minutes(site)
    assert is_pass(site.ask(client_address=address("FR")))
    site.configure("max_countries = 1\nwindow = '7d'\n")
    assert is_refusal(site.ask(client_address=address("FR")))


def test_mail_under_the_same_configuration_leaves_the_repeats(make: Callable[..., Site]) -> None:
    site = make()
    for country in ("ES", "FR"):
        assert is_pass(site.ask(client_address=address(country)))
    assert repeats(site) == [address("ES"), address("FR")]


def test_new_country_database_is_asked(make: Callable[..., Site]) -> None:
    site = make()
    for country in ("ES", "FR"):
        assert is_pass(site.ask(client_address=address(country)))
    pass_minutes(site)
    write_country_database(site.countries, {"11.1.0.0/16": "ES", "11.2.0.0/16": "BR"})
    assert is_pass(site.ask(client_address=address("FR")))
    assert {row["country"] for row in site.data("show", ACCOUNT)["sightings"]} == {"ES", "BR"}


def test_mail_from_home_may_leave_a_traveller_at_the_limit(make: Callable[..., Site]) -> None:
    """Mail from a familiar country crosses nothing, but the next from abroad does."""
    site = make()
    assert is_pass(site.ask(client_address=address("ES")))
    yesterday = int(time.time() // 86400) - 1
    sql(
        site,
        *(
            f"UPDATE {table} SET first_seen = first_seen - 864000, last_seen = last_seen - 864000,"
            f" days = '{yesterday - 9}'"
            for table in ("sighting", "place")
        ),
        "UPDATE sighting SET hour = hour - 240, repeats_until = 0",
    )
    for country in ("FR", "BR"):
        assert is_pass(site.ask(client_address=address(country)))
    pass_minutes(site)
    assert is_pass(site.ask(client_address=address("FR")))
    assert is_pass(site.ask(client_address=address("ES")))
    assert is_refusal(site.ask(client_address=address("FR")))


def test_end_of_a_window_ends_the_repeats(make: Callable[..., Site]) -> None:
    site = make("max_countries = 2\nwindow = '30s'\n")
    assert is_pass(site.ask())
    with closing(sqlite3.connect(site.database)) as connection:
        [(until, seen)] = connection.execute("SELECT abs(repeats_until), last_seen FROM sighting")
    assert 0 < until <= seen + 10.1


def test_clock_that_jumps_back_ends_the_repeats(make: Callable[..., Site]) -> None:
    site = make()
    assert is_pass(site.ask())
    for table in ("sighting", "place"):
        sql(site, f"UPDATE {table} SET last_seen = last_seen + 86400")
    sql(site, "UPDATE sighting SET repeats_until = abs(repeats_until) + 86400")
    assert is_pass(site.ask())
    [seen] = site.data("show", ACCOUNT)["sightings"]
    assert seen["last_seen"] < time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    assert seen["mails"] == 2


def test_place_that_goes_on_sending_gives_repeats_again_after_the_hour(
    make: Callable[..., Site],
) -> None:
    site = make()
    assert is_pass(site.ask())
    pass_minutes(site)
    sql(site, f"UPDATE sighting SET repeats_until = {time.time() - 1}")
    assert repeats(site) == []
    assert is_pass(site.ask())
    assert repeats(site) == [address("ES")]
    assert site.mails() == {address("ES"): 2}
    # Where that can't be written, the mail passes as before.
    sql(
        site,
        f"UPDATE sighting SET repeats_until = {time.time() - 1}",
        "CREATE TRIGGER full BEFORE INSERT ON place BEGIN SELECT raise(ABORT, 'disk full'); END",
    )
    assert is_pass(site.ask())
