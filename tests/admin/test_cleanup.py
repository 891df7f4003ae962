"""The command `cleanup`."""

from __future__ import annotations

import time

import pytest
from checkout import Site
from systemlog import system_log

pytestmark = pytest.mark.subprocess


def test_cleanup_logs_a_block_that_it_ends_as_a_mail_does(site: Site) -> None:
    site.configure('block_for = "1s"\n')
    assert site.admin("block", "ends@example.org").returncode == 0
    time.sleep(1.1)
    with system_log() as log:
        assert site.admin("cleanup").returncode == 0
        told = [line.partition("]: ")[2] for line in log.lines(5, "ends@")]
    assert "unblocked account=<ends@example.org> by=<pcc> reason=<expired>" in told


def test_cleanup_ends_what_was_observed_and_is_no_longer_true(site: Site) -> None:
    site.configure('familiar_after = 0\nmax_countries = 1\nwindow = "1s"\nmode = "observe"\n')
    site.cross("joe")
    assert len(site.data("list", "--observed")) == 1
    time.sleep(1.2)
    site.admin("cleanup")
    assert site.data("list", "--observed") == []
    site.admin("cleanup", "--days", "0")
    assert site.admin("show", "joe").returncode == 1
