"""The command `list`."""

from __future__ import annotations

import re

import pytest
from checkout import Site, address

pytestmark = pytest.mark.subprocess


def test_list_says_nothing_in_a_pipe_when_nobody_is_blocked(site: Site) -> None:
    done = site.admin("list")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert site.data("list") == []


def test_list_shows_who_is_blocked_since_when_and_why(site: Site) -> None:
    site.cross("joe@example.org")
    (row,) = site.data("list")
    assert list(row) == [
        "account",
        "since",
        "rule",
        "countries",
        "client_address",
        "action",
        "held",
        "tries",
        "expires",
    ]
    assert row["since"].endswith("Z")
    assert row["countries"] == ["ES", "FR"]
    header, line = site.admin("list").stdout.splitlines()
    assert header.split() == (
        "STATE ACCOUNT SINCE RULE COUNTRIES CLIENT ADDRESS ACTION HELD TRIES EXPIRES".split()
    )
    assert line.startswith("BLOCKED  joe@example.org  ")
    assert "\t" not in line


def test_list_has_lifted_blocks_with_history(site: Site) -> None:
    site.cross("joe@example.org")
    site.admin("unblock", "joe@example.org")
    assert site.data("list") == []
    (row,) = site.data("list", "--history")
    assert row["ended"]
    assert site.admin("list", "--history").stdout.splitlines()[1].startswith("lifted")


def test_list_and_show_say_why_a_block_stops_no_mail(site: Site) -> None:
    for account in ("joe@example.org", "ann@partner.example", "eve@example.org"):
        assert site.admin("block", account).returncode == 0
    site.configure(
        'domains = ["example.org"]\nexempt_accounts = ["eve@example.org"]\nmode = "observe"\n'
        '[[override]]\naccounts = ["bob@example.org"]\nmode = "enforce"\n'
    )
    site.admin("block", "bob@example.org")
    states = {
        line.split("  ")[1].strip(): line.split("  ")[0]
        for line in re.sub("  +", "  ", site.admin("list").stdout).splitlines()[1:]
    }
    assert states == {
        "joe@example.org": "not enforced: mode is observe",
        "ann@partner.example": "not enforced: outside policy.domains",
        "eve@example.org": "not enforced: account is exempt",
        "bob@example.org": "BLOCKED",
    }
    for account, state in states.items():
        assert site.admin("show", account).stdout.splitlines()[2].startswith(f"{state}  ")
        assert (site.ask(account, address("ES")) == "DUNNO") is (state != "BLOCKED")
        site.admin("unblock", account)
        why = state.partition(": ")[2]
        told = f"pcc_admin.py: mail of {account} passes all the same: {why}\n" if why else ""
        assert site.admin("block", account).stderr == told
