"""Where the mail of a blocked account goes on coming from, as it is kept and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from checkout import Site, address, address6, is_refusal

from pcc.store import blocks, incidents, open_database

pytestmark = pytest.mark.subprocess

ACCOUNT = "joe@example.org"
POLICY = "familiar_after = 0\nmax_countries = 1\n"


@pytest.fixture
def blocked(tmp_path: Path) -> Iterator[Callable[[str], Site]]:
    sites = []

    def make(more: str = "") -> Site:
        site = Site(tmp_path, POLICY + more)
        sites.append(site)
        site.ask(ACCOUNT, address("ES"))
        assert site.ask(ACCOUNT, address("BR")) != "DUNNO"
        return site

    yield make
    for site in sites:
        site.close()


@pytest.mark.parametrize("action", ["REJECT", "HOLD"])
def test_attempts_of_a_blocked_account_are_kept_by_address(
    blocked: Callable[[str], Site], action: str
) -> None:
    site = blocked(f'action = "{action}"\n')
    for client in (address("VN"), address("VN"), address6("DE"), "10.0.0.1"):
        site.ask(ACCOUNT, client)
    shown = site.data("show", ACCOUNT)["attempts"]
    assert {row["address"]: (row["country"], row["mails"]) for row in shown} == {
        address("BR"): ("BR", 1),
        address("VN"): ("VN", 2),
        "2a05:0:0:1::/64": ("DE", 1),
    }
    (listed,) = site.data("list")
    assert listed["tries"] == 5  # also that of the private address
    assert listed["last_try"] >= max(row["last_try"] for row in shown)


def test_attempts_are_shown_with_a_word_whether_they_go_on(blocked: Callable[[str], Site]) -> None:
    site = blocked("")
    site.ask(ACCOUNT, address("VN"))
    text = site.admin("show", ACCOUNT).stdout
    assert "Still trying. Its last mail was stopped at" in text
    assert address("VN") in text


def test_attempt_of_a_retry_counts_once(blocked: Callable[[str], Site]) -> None:
    site = blocked("")
    for _ in range(3):
        assert is_refusal(site.ask(ACCOUNT, address("VN"), instance="1.2.3"))
    shown = site.data("show", ACCOUNT)["attempts"]
    assert [row["mails"] for row in shown if row["country"] == "VN"] == [1]


def test_attempts_are_bounded_and_end_with_their_account(blocked: Callable[[str], Site]) -> None:
    site = blocked("")
    with closing(open_database(str(site.database))) as database:
        incident = incidents.open_incident(database, ACCOUNT)
        assert incident is not None
        tries = [
            (f"11.4.{n // 256}.{n % 256}", 1, 1e9 + n, 1e9 + n)
            for n in range(blocks.MOST_ATTEMPTS + 9)
        ]
        with database.turn(ACCOUNT):
            blocks.count_tries(database, ACCOUNT, incident.id, tries, "x")
        kept = incidents.attempts_of(database, incident)
        assert len(kept) == blocks.MOST_ATTEMPTS
        row = database.row("SELECT tries FROM incident WHERE id = ?", (incident.id,))
        assert row == (blocks.MOST_ATTEMPTS + 10,)
    assert site.admin("forget", "--force", ACCOUNT).returncode == 0
    with closing(open_database(str(site.database))) as database:
        assert database.rows("SELECT * FROM attempt") == []
