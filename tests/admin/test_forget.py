"""The command `forget`."""

from __future__ import annotations

import pytest
from checkout import Site, address

pytestmark = pytest.mark.subprocess


def test_forget_removes_every_trace_and_says_what(site: Site) -> None:
    for account in ("joe", "ann"):
        site.cross(account)
        site.admin("unblock", account)
    site.admin("exempt", "add", "account", "joe")
    done = site.admin("forget", "joe")
    assert (done.returncode, done.stdout) == (
        0,
        "joe is forgotten: 2 sightings, 2 countries, 1 incident, 3 events, 1 exemption.\n",
    )
    assert site.admin("show", "joe").returncode == 1
    assert site.admin("forget", "joe").returncode == 1
    assert site.admin("show", "ann").returncode == 0


def test_forget_counts_each_kind_of_trace(site: Site) -> None:
    site.cross("joe")
    removed = {
        "sightings": 2,
        "countries": 2,
        "held_mails": 0,
        "incidents": 1,
        "events": 1,
        "notices": 0,
        "exemptions": 0,
    }
    assert site.data("forget", "--force", "joe") == {"account": "joe", "removed": removed}
    nothing = dict.fromkeys(removed, 0)
    assert site.data("forget", "joe") == {"account": "joe", "removed": nothing}


def test_forget_refuses_a_blocked_account_and_names_unblock(site: Site) -> None:
    site.cross("joe")
    done = site.admin("forget", "joe")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pcc_admin.py: joe is blocked: first run `")
    assert done.stderr.endswith(" unblock joe`; --force forgets it as it is\n")
    assert site.blocked() == ["joe"]
    done = site.admin("forget", "--force", "joe")
    assert (done.returncode, done.stderr) == (0, "")
    assert "hold" not in done.stdout  # there is no such mail
    assert site.blocked() == []


def test_forget_refuses_an_account_with_mail_on_hold_though_it_is_unblocked(site: Site) -> None:
    site.configure('familiar_after = 0\nmax_countries = 1\naction = "HOLD"')
    site.cross("joe")
    site.ask("joe", address("FR"), queue_id="4F2ABC")
    assert site.admin("unblock", "joe").returncode == 0
    done = site.admin("forget", "joe", "--mail-config", "/nonexistent")
    assert done.returncode == 1
    assert "joe has 2 held mails: first run `" in done.stderr
    for fate in ("--release", "--delete"):
        assert f" unblock joe {fate} --mail-config /nonexistent`" in done.stderr
    done = site.admin("forget", "joe", "--force", "--mail-config", "/nonexistent")
    assert done.returncode == 0
    assert "2 held mails of it stay on hold in the queue" in done.stdout


def test_forget_asks_for_the_whole_login_of_an_unknown_account(site: Site) -> None:
    site.cross("joe@example.org")
    done = site.admin("forget", "--force", "joe")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "pcc_admin.py: nothing is known of joe: is this the whole login? joe@example.org was seen\n"
    )
