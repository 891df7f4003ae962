"""The command `list`."""

from __future__ import annotations

import re
import time

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
        "last_try",
        "expires",
    ]
    assert row["since"].endswith("Z")
    assert row["countries"] == ["ES", "FR"]
    header, line = site.admin("list").stdout.splitlines()
    columns = "STATE ACCOUNT SINCE RULE COUNTRIES CLIENT ADDRESS ACTION HELD TRIES LAST TRY EXPIRES"
    assert header.split() == columns.split()
    assert line.startswith("BLOCKED  joe@example.org  ")
    assert "\t" not in line


def test_list_has_lifted_blocks_with_history(site: Site) -> None:
    site.cross("joe@example.org")
    site.admin("unblock", "joe@example.org", "--reason", "a \x1b[31mjourney")
    site.cross("ann@example.org")
    assert [row["account"] for row in site.data("list")] == ["ann@example.org"]
    lifted, blocked = site.data("list", "--history")
    assert lifted["ended"] >= lifted["last_try"]
    assert (lifted["lifted_by"], lifted["reason"]) == ("root", "a \x1b[31mjourney")
    assert (blocked["ended"], blocked["lifted_by"], blocked["reason"]) == (None, None, None)
    header, first, second = site.admin("list", "--history").stdout.splitlines()
    assert header.endswith("  ENDED                    BY    REASON")
    assert first.startswith("lifted") and first.endswith("  root  a \\x1b[31mjourney")
    assert second.startswith("BLOCKED") and re.search(r"  -  +-  +-$", second)


def test_list_says_that_a_block_expired_with_history(site: Site) -> None:
    site.configure('familiar_after = 0\nmax_countries = 1\nblock_for = "1s"')
    site.cross("joe@example.org")
    time.sleep(1.1)
    assert site.admin("cleanup").returncode == 0
    (row,) = site.data("list", "--history")
    assert (row["lifted_by"], row["reason"]) == ("pcc", "expired")
    assert site.admin("list", "--history").stdout.splitlines()[1].startswith("expired ")


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
