"""The command `forget`."""

from __future__ import annotations

import pytest
from checkout import Site

pytestmark = pytest.mark.subprocess


def test_forget_removes_every_trace_and_says_what(site: Site) -> None:
    site.cross("joe")
    site.cross("ann")
    site.admin("exempt", "add", "account", "joe")
    done = site.admin("forget", "joe")
    assert (done.returncode, done.stdout) == (
        0,
        "joe is forgotten: 2 sightings, 2 countries, 1 incident, 2 events, 1 exemption.\n",
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
    assert site.data("forget", "joe") == {"account": "joe", "removed": removed}
    nothing = dict.fromkeys(removed, 0)
    assert site.data("forget", "joe") == {"account": "joe", "removed": nothing}
