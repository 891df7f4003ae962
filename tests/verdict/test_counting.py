"""Mails that wait to be counted: what rests on them must not depend on when that is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import NETWORKS, address, new_instance, request_text
from mmdb import write_country_database

from pcc.config import prepared
from pcc.places.lookup import CountryLookup
from pcc.protocol import RequestReader
from pcc.store import open_database
from pcc.store.engine import creation
from pcc.verdict import counting
from pcc.verdict.decision import SETTLED_SECONDS
from pcc.verdict.repeat import Verdicts

WINDOW = 1800
START = 1_900_000_800.0  # the beginning of an hour: what is new in an hour is written at once


@pytest.fixture
def process(tmp_path: Path) -> Callable[[], Verdicts]:
    """Makes what gives the verdicts of one process, all on one database."""
    write_country_database(tmp_path / "country.mmdb", NETWORKS)
    (tmp_path / "pcc.toml").write_text(
        '[policy]\nfamiliar_after = 0\nmax_countries = 1\nwindow = "30m"\n'
        '[country]\ndatabase = "country.mmdb"\n[store]\ndatabase = "pcc.db"\n[notify]\nto = []\n'
    )
    creation.create_or_upgrade(str(tmp_path / "pcc.db"))
    config = prepared.load(str(tmp_path / "pcc.toml"))
    lookup = CountryLookup(config.country_database, lambda complaint: None)
    return lambda: Verdicts(config, open_database(config.store_database), lookup)


def ask(verdicts: Verdicts, country: str, now: float) -> str:
    """Ask about a new mail of joe from a country."""
    reader = RequestReader()
    reader.receive(request_text("joe", address(country), instance=new_instance()).encode())
    request = reader.next_request()
    assert request is not None
    return verdicts.verdict("joe", request, now).action.partition(" ")[0]


@pytest.mark.parametrize("before", [0.1, 2.1, 5, 10])
def test_a_mail_that_waits_to_be_counted_keeps_its_country_in_the_window(
    process: Callable[[], Verdicts], before: float
) -> None:
    one, other = process(), process()
    assert ask(one, "ES", START) == "DUNNO"
    assert ask(one, "ES", START + WINDOW - before) == "DUNNO"  # and not a word to the others yet
    assert ask(other, "FR", START + WINDOW + 0.1) == "REJECT"


def test_a_mail_is_counted_before_its_country_could_leave_a_window() -> None:
    assert counting.LONGEST_SECONDS < SETTLED_SECONDS
    assert counting.GROUP_SECONDS < counting.FAILURE_PAUSE_SECONDS
