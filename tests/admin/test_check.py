"""The command `check`."""

from __future__ import annotations

import pytest
from checkout import Site, address

pytestmark = pytest.mark.subprocess


def test_check_shows_the_verdict_and_writes_nothing(site: Site) -> None:
    site.ask("joe", address("ES"))
    before = site.data("show", "joe")
    done = site.admin("--json", "check", "joe", address("FR"))
    assert done.returncode == 1
    verdict = site.data("check", "joe", address("FR"))
    assert verdict["would_block"] is True
    assert verdict["country"] == "FR"
    assert verdict["countries"] == ["ES", "FR"]
    assert verdict["rule"] == "max_countries 1 in 2d"
    assert verdict["action"].startswith("REJECT ")
    done = site.admin("check", "joe", address("ES", 7))
    assert done.returncode == 0
    assert "DUNNO" in done.stdout
    assert site.data("show", "joe") == before
    assert site.data("list") == []


def test_check_agrees_with_the_verdict_that_follows(site: Site) -> None:
    for country in ("ES", "ES", "FR", "ES"):
        foretold = site.data("check", "joe", address(country))["action"]
        assert site.ask("joe", address(country)) == foretold


@pytest.mark.parametrize(
    ("toml", "because"),
    [
        ('exempt_accounts = ["joe"]', "the configuration exempts the account"),
        ('exempt_clients = ["11.0.0.0/8"]', "the client is exempt"),
        ('ignore_countries = ["ES"]', "mail from ES never counts"),
        ('mode = "observe"\nmax_countries = 1', "no limit is crossed"),
    ],
)
def test_check_says_why_a_mail_would_pass(site: Site, toml: str, because: str) -> None:
    site.configure(toml)
    verdict = site.data("check", "joe", address("ES"))
    assert because in verdict["because"]
    assert verdict["would_block"] is False


def test_check_of_a_blocked_account_says_so_and_names_the_country(site: Site) -> None:
    site.cross("joe")
    done = site.admin("check", "joe", address("BR"))
    assert done.returncode == 1
    verdict = site.data("check", "joe", address("BR"))
    assert (verdict["country"], verdict["would_block"]) == ("BR", True)
    assert "is blocked" in verdict["because"]


def test_check_stops_nothing_in_observe_mode(site: Site) -> None:
    site.ask("joe", address("ES"))
    site.configure('familiar_after = 0\nmax_countries = 1\nmode = "observe"\n')
    done = site.admin("check", "joe", address("FR"))
    assert done.returncode == 0
    assert "only observed" in done.stdout


def test_check_refuses_what_is_no_address(site: Site) -> None:
    done = site.admin("check", "joe", "300.1.1.1")
    assert (done.returncode, done.stderr) == (
        2,
        "pcc_admin.py: 300.1.1.1 is not an IP address\n",
    )
    assert site.admin("check", "joe", "unknown").returncode == 0
