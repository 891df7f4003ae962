"""`unblock` of many accounts at once: --all, --domain, --since, --rule and --dry-run."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest
from checkout import Site

pytestmark = pytest.mark.subprocess

STOLEN = ("ann@example.org", "joe@example.org", "eve@partner.example")
BY_HAND = "bob@example.org"


@pytest.fixture(autouse=True)
def blocks(site: Site) -> None:
    for account in STOLEN:
        site.cross(account)
    assert site.admin("block", BY_HAND).returncode == 0
    with closing(sqlite3.connect(site.database)) as connection, connection:
        connection.execute(
            "UPDATE incident SET began = ? WHERE account = ?", (time.time() - 7200, STOLEN[0])
        )


@pytest.mark.parametrize(
    ("options", "unblocked"),
    [
        (["--all"], STOLEN),
        (["--domain", "EXAMPLE.org"], STOLEN[:2]),
        (["--domain", "@partner.example"], STOLEN[2:]),
        (["--since", "1h"], STOLEN[1:]),
        (["--since", "1h", "--domain", "example.org"], STOLEN[1:2]),
        (["--since", "2020-01-01"], STOLEN),
        (["--rule", "max_countries"], STOLEN),
        (["--rule", "max_countries 1 in 2d", "--since", "2020-01-01T10:00"], STOLEN),
        (["--rule", "by hand"], (BY_HAND,)),
        ([BY_HAND, STOLEN[1]], (STOLEN[1], BY_HAND)),
    ],
)
def test_unblock_lifts_exactly_the_blocks_that_are_meant(
    site: Site, options: list[str], unblocked: tuple[str, ...]
) -> None:
    assert sorted(site.data("unblock", "--dry-run", *options)["unblocked"]) == sorted(unblocked)
    assert len(site.blocked()) == 4  # still
    done = site.admin("unblock", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(site.blocked()) == sorted({*STOLEN, BY_HAND} - {*unblocked})


def test_dry_run_shows_what_would_be_unblocked(site: Site) -> None:
    done = site.admin("unblock", "--domain", "partner.example", "--release", "--dry-run")
    header, line = done.stdout.splitlines()
    assert header.split("  ")[0] == "WOULD UNBLOCK"
    assert line.startswith("eve@partner.example  ")
    assert "max_countries 1 in 2d" in line


@pytest.mark.parametrize(
    "options",
    [
        ["--domain", "example.net"],
        ["--rule", "max_count"],
        ["--since", "2099-01-01"],
        ["--dry-run", "nobody@example.org"],
    ],
)
def test_unblock_of_no_block_is_1(site: Site, options: list[str]) -> None:
    done = site.admin("unblock", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pcc_admin.py: no such block is in force\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "name accounts, or blocks by --all, --domain, --since or --rule"),
        (["joe", "--all"], "name accounts, or blocks by --all, --domain, --since or --rule"),
        (["--since", "yesterday"], "must be such as 2026-12-24"),
        (["--since", "0d"], "must be a time such as 7d"),
    ],
)
def test_unblock_of_many_has_usage_errors(site: Site, options: list[str], told: str) -> None:
    done = site.admin("unblock", *options)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(site.blocked()) == 4
