"""`exempt add | list | remove`, on real databases, and what policy processes make of it."""

from __future__ import annotations

import sqlite3
import time
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from checkout import Site, address, is_pass, is_refusal

from pcc.admin.commands import moment
from pcc.admin.output import local_time, rfc3339

CONFIG = """\
exempt_accounts = ["boss@example.org", "@partner.example"]
exempt_clients = ["192.0.2.0/24", "198.51.100.7", "2001:db8::/32", ".google.com"]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("exempt"), CONFIG)
    yield site
    site.close()


@pytest.fixture(autouse=True)
def no_exemptions(site: Site) -> None:
    with closing(sqlite3.connect(site.folder / "pcc.db")) as connection, connection:
        connection.execute("DELETE FROM exemption")


def in_database(site: Site) -> list[tuple[str, str]]:
    rows = site.data("exempt", "list")
    return [(row["kind"], row["value"]) for row in rows if row["by"] != "pcc.toml"]


pytestmark = pytest.mark.subprocess


@pytest.mark.parametrize(
    ("kind", "typed", "kept"),
    [
        ("account", " Joe@Example.ORG ", "joe@example.org"),
        ("account", "joe", "joe"),
        ("account", "two words@example.org", "two words@example.org"),
        ("account", "jürgen@example.org", "jürgen@example.org"),
        ("domain", "Example.ORG", "example.org"),
        ("domain", "@example.org", "example.org"),
        ("client", "203.0.113.0/24", "203.0.113.0/24"),
        ("client", "203.0.113.7/32", "203.0.113.7"),
        ("client", "2001:DB8:0::/48", "2001:db8::/48"),
        ("client", ".Example.org", ".example.org"),
        ("client", "mail.example.org", "mail.example.org"),
    ],
)
def test_exemption_is_kept_as_it_will_be_matched(
    site: Site, kind: str, typed: str, kept: str
) -> None:
    assert site.admin("exempt", "add", kind, typed).returncode == 0
    assert in_database(site) == [(kind, kept)]
    assert site.admin("exempt", "remove", kind, typed).returncode == 0
    assert in_database(site) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("account", ""), "must be a login"),
        (("account", "@example.org"), "a domain is of kind domain"),
        (("domain", "joe@example.org"), 'must be a domain such as "example.org"'),
        (("domain", "@"), "must be a domain"),
        (("client", "203.0.113.7/24"), "without host bits"),
        (("client", "203.0.113.300"), "must be a network, an address or a host name"),
        (("client", "\x1b[2J"), r'got "\x1b[2J"'),
        (("country", "ES"), "invalid choice"),
        (("account", "joe@example.org", "--for", "0d"), "must be a time such as 7d"),
        (
            ("account", "joe@example.org", "--until", "2020-01-01"),
            "pcc_admin.py: --until must be in the future, got 2020-01-01\n",
        ),
        (("account", "joe@example.org", "--until", "1970-01-01T00:00Z"), "must be in the future"),
        (("account", "joe@example.org", "--until", "tomorrow"), "must be such as 2026-12-24"),
        (("account", "joe@example.org", "--until", "2099-01-01", "--for", "1d"), "not allowed"),
    ],
)
def test_exempt_refuses_a_wrong_value_with_the_rule(
    site: Site, arguments: tuple[str, ...], complaint: str
) -> None:
    done = site.admin("exempt", "add", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert in_database(site) == []


def test_unblock_shortens_no_exemption_that_lasts_longer(site: Site) -> None:
    def until(account: str) -> Any:
        [row] = [row for row in site.data("exempt", "list") if row["value"] == account]
        return row["until"]

    joe, ann = "kim@example.org", "lea@example.org"
    assert site.admin("exempt", "add", "account", joe, "--until", "2090-12-24").returncode == 0
    assert site.admin("exempt", "add", "account", ann).returncode == 0
    assert site.admin("block", joe).returncode == 0
    long = until(joe)
    done = site.admin("unblock", joe, ann, "--exempt-for", "1d")
    assert done.returncode == 0
    assert f"{joe} is unblocked, and stays exempt until 2090-12-25" in done.stdout
    assert done.stdout.splitlines()[0].endswith(", as before.")
    assert f"{ann} was not blocked, and stays exempt for good, as before.\n" in done.stdout
    assert (until(joe), until(ann)) == (long, None)
    assert site.admin("exempt", "add", "account", joe, "--for", "1h").returncode == 0
    done = site.admin("unblock", joe, "--exempt-for", "1d")
    assert "and is exempt until " in done.stdout
    assert until(joe) > time.strftime("%FT%TZ", time.gmtime(time.time() + 80_000))


def test_exempt_alone_is_a_usage_error_that_names_the_actions(site: Site) -> None:
    done = site.admin("exempt")
    assert done.returncode == 2
    assert "add|list|remove" in done.stderr


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("2030-12-24", (2030, 12, 25, 0, 0)),
        ("2028-02-29", (2028, 3, 1, 0, 0)),
        ("2030-12-24T18:00", (2030, 12, 24, 18, 0)),
        ("2030-12-24T18:00:00", (2030, 12, 24, 18, 0)),
    ],
)
def test_until_is_local_time_and_a_date_lasts_to_its_end(
    text: str, local: tuple[int, int, int, int, int]
) -> None:
    assert moment(text) == datetime(*local).timestamp()


@pytest.mark.parametrize("text", ["2030-12-24T18:00:00Z", "2030-12-24T20:00:00+02:00"])
def test_until_with_an_offset_is_the_same_everywhere(text: str) -> None:
    assert moment(text) == 1924365600


@pytest.mark.parametrize(
    "text",
    ["", "2030", "20301224", "2030-13-01", "2030-02-30", "9999-12-31", "2030-12-24 18:00",
     "2030-12-24T18", "2030-W01-1", "٢٠٣٠-12-24", "2030-12-24T18:00Z0", "0001-01-01T00:00+14:00x"],
)  # fmt: skip
def test_until_refuses_other_dates(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        moment(text)


def test_exempt_list_shows_both_sources_and_what_has_expired(site: Site) -> None:
    site.admin("exempt", "add", "account", "eve@example.org", "--for", "1s")
    done = site.admin(
        "exempt", "add", "domain", "sales.example", "--until", "2099-05-01T00:00:00Z",
        "--reason", "trade\x1b[31m fair",
    )  # fmt: skip
    end = local_time(moment("2099-05-01T00:00:00Z"))
    assert done.stdout == f"domain sales.example is exempt until {end}.\n"
    time.sleep(1.1)
    rows = {row["value"]: row for row in site.data("exempt", "list")}
    assert list(rows) == [
        "boss@example.org",
        "partner.example",
        "192.0.2.0/24",
        "198.51.100.7",
        "2001:db8::/32",
        ".google.com",
        "eve@example.org",
        "sales.example",
    ]
    assert rows["partner.example"] == {
        "kind": "domain",
        "value": "partner.example",
        "until": None,
        "by": "pcc.toml",
        "reason": None,
    }
    assert rows["sales.example"] == {
        "kind": "domain",
        "value": "sales.example",
        "until": "2099-05-01T00:00:00Z",
        "by": "root",
        "reason": "trade\x1b[31m fair",
    }
    assert rows["eve@example.org"]["until"] <= rfc3339(time.time())
    table = site.admin("exempt", "list").stdout
    assert "expired  account  eve@example.org" in table
    assert r"trade\x1b[31m fair" in table
    assert "\x1b" not in table


def test_exempt_add_again_changes_the_end(site: Site) -> None:
    site.admin("exempt", "add", "account", "joe@example.org", "--for", "1d")
    row = site.data("exempt", "add", "account", "joe@example.org")[0]
    assert row == {
        "kind": "account",
        "value": "joe@example.org",
        "until": None,
        "by": "root",
        "reason": "",
    }
    assert len(in_database(site)) == 1


@pytest.mark.parametrize("exempted", [("account", "joe@example.org"), ("domain", "example.org")])
def test_exemption_of_a_client_lifts_no_block_as_one_of_the_account_does(
    site: Site, exempted: tuple[str, str]
) -> None:
    assert site.admin("block", "joe@example.org").returncode == 0
    site.admin("exempt", "add", "client", "11.1.0.0/16")
    assert is_refusal(site.ask("joe@example.org", address("ES")))
    site.admin("exempt", "add", *exempted)
    assert is_pass(site.ask("joe@example.org", address("ES")))
    site.admin("exempt", "remove", *exempted)
    assert is_refusal(site.ask("joe@example.org", address("ES")))
    site.admin("unblock", "joe@example.org")


def test_exempt_remove_says_where_an_exemption_is(site: Site) -> None:
    done = site.admin("exempt", "remove", "account", "nobody@example.org")
    assert done.returncode == 1
    assert done.stderr == "pcc_admin.py: account nobody@example.org is not exempt\n"
    for kind, value in (("client", "192.0.2.0/24"), ("domain", "partner.example")):
        done = site.admin("exempt", "remove", kind, value)
        assert done.returncode == 1
        assert f"stays exempt by {site.config}: remove it there" in done.stderr
    done = site.admin("--json", "exempt", "remove", "account", "nobody@example.org")
    assert (done.returncode, done.stdout) == (1, "[]\n")


def test_exemption_holds_from_the_next_mail_on_until_it_is_removed(site: Site) -> None:
    def hop(account: str) -> list[str | None]:
        return [site.ask(account, address(country)) for country in ("ES", "FR", "BR", "VN")]

    site.admin("exempt", "add", "account", "ann@example.org")
    assert all(is_pass(action) for action in hop("ann@example.org"))
    assert site.data("show", "ann@example.org")["sightings"] == []
    site.admin("exempt", "remove", "account", "ann@example.org")
    assert is_refusal(hop("ann@example.org")[-1])
    events = site.data("show", "ann@example.org")["events"]
    assert [event["what"] for event in events[:2]] == ["exempted", "exemption removed"]


def test_exempt_without_rights_says_so_and_changes_nothing(site: Site, tmp_path: Path) -> None:
    done: Any = site.admin("-c", str(tmp_path / "none.toml"), "exempt", "list")
    assert done.returncode == 4
    assert "can't be read" in done.stderr
