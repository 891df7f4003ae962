"""The command `show`."""

from __future__ import annotations

import pytest
from checkout import Site

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
