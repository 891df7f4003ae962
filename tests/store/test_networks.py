"""The networks of known addresses, when there is another network database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from checkout import Site, new_instance
from mmdb import write_country_database, write_database

from pcc.config import prepared
from pcc.history import DAY
from pcc.protocol import PolicyRequest
from pcc.store import open_database
from pcc.verdict.repeat import Verdicts

NOON = 20000 * DAY + DAY // 2
ACCOUNT = "joe@example.org"


class Place:
    """A site whose mails are judged at times of the test's own, in this process."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(
            folder,
            "max_countries = 0\nfamiliar_after = 3\nmax_networks = 1\nmax_addresses = 2\n"
            'window = "1d"\n[country]\ndatabase = "country.mmdb"\nnetworks = "networks.mmdb"\n'
            'hosting = ""\n[store]\ndatabase = "pcc.db"\n[notify]\nto = []\n',
        )
        write_country_database(self.site.countries, {"12.0.0.0/8": "ES"})
        self.networks = folder / "networks.mmdb"
        self.problems: list[str] = []

    def number(self, first: int) -> None:
        """Put a network database there in which 12.N.0.0/16 is the system `first` + N."""
        systems = {f"12.{n}.0.0/16": {"autonomous_system_number": first + n} for n in range(1, 20)}
        write_database(self.networks, systems, "GeoLite2-ASN")
        os.utime(self.networks, (first, first))  # another time, however quick the test is

    def passes(self, at: float, *clients: str) -> list[bool]:
        """Judge a mail from each address, a second apart; return which pass."""
        config = prepared.load(str(self.site.config))
        with closing(open_database(str(self.site.database))) as database:
            verdicts = Verdicts(config, database, self.problems.append)
            actions = []
            for number, client in enumerate(clients):
                request = PolicyRequest(
                    {"client_address": client, "instance": new_instance(), "queue_id": "A"}
                )
                actions.append(verdicts.verdict(ACCOUNT, request, at + number).action)
            verdicts.counts.write(verdicts.database)
        return [action == "DUNNO" for action in actions]

    def names(self) -> set[str]:
        """Return the networks that the account is known in."""
        with closing(open_database(str(self.site.database))) as database:
            rows = database.rows("SELECT name FROM place WHERE kind = 'network'")
        return {name for (name,) in rows}

    def at_home(self) -> None:
        """Send mail from two networks on three days, so that both are familiar."""
        for day in (4, 3, 2):
            assert self.passes(NOON - day * DAY, "12.1.0.1") == [True]
            assert self.passes(NOON - day * DAY + 40000, "12.1.0.2") == [True]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.site.close()


def renumber(place: Place) -> None:
    place.number(7000)


def renumber_and_init(place: Place) -> None:
    place.number(7000)
    done = place.site.admin("init")
    assert "networks of known addresses: looked up for 1 account\n" in done.stdout


@pytest.mark.subprocess
@pytest.mark.parametrize("change", [renumber, renumber_and_init])
def test_networks_that_have_other_numbers_stay_familiar(
    place: Place, change: Callable[[Place], None]
) -> None:
    place.number(100)
    place.at_home()
    assert place.names() == {"AS101"}
    change(place)
    # Five new addresses of the familiar network, then one of another network, then a second.
    homes = [f"12.1.1.{n}" for n in range(5)]
    assert place.passes(NOON, *homes, "12.2.0.1", "12.3.0.1") == [True] * 6 + [False]
    assert place.names() == {"AS7001", "AS7002", "AS7003"}


def test_networks_are_filled_in_for_what_was_seen_without_them(place: Place) -> None:
    place.at_home()
    assert place.names() == set()
    assert "limits on networks are off" in place.problems[0]
    place.number(100)
    assert place.passes(NOON, "12.1.1.1", "12.2.0.1", "12.3.0.1") == [True, True, False]


@pytest.mark.parametrize("before", [0, 1])
def test_networks_are_looked_up_again_where_files_always_have_the_same_time(
    place: Place, before: int
) -> None:
    """Images of systems that are built twice alike have it: 0 or 1."""
    if before:
        place.number(100)
        os.utime(place.networks, (before, before))
    place.at_home()
    place.number(7000)
    os.utime(place.networks, (before, before))
    assert place.passes(NOON, "12.1.1.1", "12.2.0.1", "12.3.0.1") == [True, True, False]


def test_networks_that_are_gone_put_their_limits_off_and_come_back(place: Place) -> None:
    place.number(100)
    place.at_home()
    place.networks.unlink()
    assert place.passes(NOON, "12.2.0.1", "12.3.0.1") == [True, True]
    place.number(100)
    assert place.passes(NOON + 60, "12.1.0.1", "12.4.0.1") == [True, False]
    assert place.names() == {"AS101", "AS102", "AS103", "AS104"}
