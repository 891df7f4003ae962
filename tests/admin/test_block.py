"""The command `block`, and its end by `exempt` and `unblock`."""

from __future__ import annotations

import pytest
from checkout import Site, address

pytestmark = pytest.mark.subprocess


def test_block_by_hand_stops_mail_until_it_is_lifted(site: Site) -> None:
    done = site.admin("block", "joe", "--reason", "asked for by phone")
    assert (done.returncode, done.stdout) == (0, "joe is blocked.\n")
    assert (site.ask("joe", address("ES")) or "").startswith("REJECT")
    assert site.admin("block", "joe").returncode == 1
    (row,) = site.data("list")
    assert (row["rule"], row["countries"], row["client_address"]) == ("by hand", [], None)
    assert site.data("show", "joe")["events"][0]["detail"] == "asked for by phone"
    assert site.admin("unblock", "joe").returncode == 0
    assert site.ask("joe", address("ES")) == "DUNNO"


def test_block_by_hand_says_when_block_for_ends_it(site: Site) -> None:
    site.configure('block_for = "12h"')
    assert site.admin("block", "joe").stdout.startswith("joe is blocked until 20")


def test_block_asks_for_the_whole_login_of_an_account_never_seen(site: Site) -> None:
    assert site.ask("joe@example.org", address("ES")) == "DUNNO"
    assert site.admin("block", "joe@example.org").stderr == ""
    done = site.admin("block", "joe")
    assert (done.returncode, done.stdout) == (0, "joe is blocked.\n")
    assert done.stderr == (
        "pcc_admin.py: joe was never seen sending: is this the whole login?"
        " joe@example.org was seen\n"
    )


def test_exempt_says_that_the_block_of_an_account_stays(site: Site) -> None:
    assert site.admin("block", "joe").returncode == 0
    done = site.admin("exempt", "add", "account", "joe", "--for", "7d")
    told, reminder, command = done.stdout.splitlines()
    assert told.startswith("account joe is exempt until ")
    assert reminder == "It is still blocked, though its mail passes now.  To lift the block:"
    assert command.endswith(f"{site.config} unblock joe")
    assert site.admin("unblock", "joe").returncode == 0
    assert len(site.admin("exempt", "add", "account", "joe").stdout.splitlines()) == 1


def test_unblock_exempts_an_account_that_is_not_blocked(site: Site) -> None:
    site.cross("joe")
    assert site.admin("unblock", "joe").returncode == 0
    done = site.admin("unblock", "joe", "--release", "--exempt-for", "7d", "--reason", "travels")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("joe was not blocked, and is exempt until ")
    (row,) = site.data("exempt", "list")
    assert (row["kind"], row["value"], row["by"], row["reason"]) == (
        "account",
        "joe",
        "root",
        "travels",
    )
    done = site.admin("unblock", "joe", "--release")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pcc_admin.py: joe is not blocked, and none of its mail is on hold\n"


def test_login_without_its_domain_gets_a_hint_from_every_command(site: Site) -> None:
    site.cross("joe@example.org")
    site.cross("ann@example.org")
    question = "is this the whole login? joe@example.org was seen\n"
    for command, status in (
        (["show", "joe"], 1),
        (["unblock", "joe"], 1),
        (["exempt", "add", "account", "joe"], 0),
    ):
        done = site.admin(*command)
        assert (done.returncode, done.stderr.partition(": ")[2].partition(": ")[2]) == (
            status,
            question,
        )
    assert site.admin("block", "ann").stderr.endswith(question.replace("joe", "ann"))
    for command in (["exempt", "add", "account", "joe@example.org"], ["show", "joe@example.org"]):
        assert site.admin(*command).stderr == ""
