"""The simulated servers of `make quality`: the same for the same seed, and known to their files."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

from pcc.address import packed_address
from pcc.places.lookup import Lookup
from quality import honest, thieves
from quality.honest import DAY, NO_COUNTRY, Mail, Person
from quality.month import START, accounts
from quality.world import World

DAYS = 60
WORLD = World()


def mails_of(kind: honest.Kind, seed: int = 1) -> list[Mail]:
    return sorted(kind(Person(random.Random(seed), WORLD, START, DAYS)))


def test_server_is_the_same_for_the_same_seed() -> None:
    first, again = (list(accounts(World(), 7, 30, DAYS)) for _ in range(2))
    assert first == again
    assert first != list(accounts(World(), 8, 30, DAYS))


@pytest.mark.parametrize("kind", honest.KINDS, ids=lambda kind: kind.__name__)
def test_honest_kind_sends_mail_in_its_days_and_none_of_it_is_stolen(kind: honest.Kind) -> None:
    found = [mail for seed in range(5) for mail in mails_of(kind, seed)]
    assert len(found) >= 10
    assert all(START <= mail.at < START + (DAYS + 1) * DAY and not mail.stolen for mail in found)


@pytest.mark.parametrize("thief", thieves.KINDS, ids=lambda thief: thief.__name__)
def test_thief_sends_stolen_mail_from_the_theft_on(thief: thieves.Thief) -> None:
    begin = START + 30 * DAY
    found = list(thief(Person(random.Random(1), WORLD, START, DAYS), begin))
    assert len(found) >= 2
    assert all(mail.stolen and mail.at >= begin for mail in found)


def test_world_knows_country_and_network_of_every_address(tmp_path: Path) -> None:
    WORLD.write(tmp_path)
    complaints: list[str] = []
    countries, networks, hosting = (
        str(tmp_path / name) for name in ("country.mmdb", "networks.mmdb", "hosting.txt")
    )
    lookup = Lookup(countries, networks, hosting, complaints.append)
    hosted = set()
    for account in accounts(WORLD, 3, 60, DAYS):
        for mail in account.mails[:40]:
            packed = packed_address(mail.address)
            assert packed is not None
            network = lookup.network(packed)
            if mail.address == NO_COUNTRY:
                assert lookup.country(packed) == ""
                continue
            assert lookup.country(packed)
            assert network.startswith("AS")
            if lookup.is_hosting(network):
                hosted.add(account.thief or account.kind)
    assert complaints == []
    assert "everyday" not in hosted
    assert hosted & {"server", "cloud_sender", "privacy_vpn", "hosting"}


@pytest.mark.subprocess
def test_quality_plays_a_small_server_and_prints_every_kind() -> None:
    command = [sys.executable, "-m", "quality", "--seeds", "1", "--accounts", "40", "--days", "40"]
    path = f"{ROOT}:{ROOT / 'tests' / 'tools'}"
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    for kind in (*honest.KINDS, *thieves.KINDS):
        assert f"\n{kind.__name__.replace('_', ' ')} " in done.stdout
