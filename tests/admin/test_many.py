"""`unblock` of many accounts at once: --all, --domain, --since, --rule and --dry-run."""

from __future__ import annotations

import email
import email.policy
import getpass
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path

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
    ("accounts", "status"),
    [
        (["nobody@example.org"], 1),
        (["joe@example.com", BY_HAND], 3),
        (["nobody@example.org", "--exempt-for", "7d"], 0),
    ],
)
def test_dry_run_says_of_accounts_that_are_not_blocked_what_unblock_says(
    site: Site, accounts: list[str], status: int
) -> None:
    would, done = [site.admin("unblock", *accounts, *more) for more in (["--dry-run"], [])]
    assert (would.returncode, would.stderr) == (done.returncode, done.stderr)
    assert done.returncode == status
    assert ("is this the whole login?" in would.stderr) == (status > 0)


def test_dry_run_shows_an_observed_incident_that_unblock_clears(site: Site) -> None:
    site.configure('mode = "observe"\nmax_countries = 1')
    site.cross("carl@example.org")
    would, done = [site.admin("unblock", "carl@example.org", *more) for more in (["--dry-run"], [])]
    assert (would.returncode, done.returncode, would.stderr) == (0, 0, "")
    assert "\ncarl@example.org " in would.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--domain", "example.net"],
        ["--rule", "max_count"],
        ["--since", "2099-01-01"],
        ["--dry-run", "--since", "2099-01-01"],
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
        (["--since", "yesterday"], "must be such as 2h, 2026-12-24,"),
        (["--since", "0d"], "must be a time such as 7d"),
    ],
)
def test_unblock_of_many_has_usage_errors(site: Site, options: list[str], told: str) -> None:
    done = site.admin("unblock", *options)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(site.blocked()) == 4


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def recording(site: Site, limits: str) -> Path:
    """Give the site programs that keep mails, and the JSON of commands, in this folder."""
    got = site.folder / "got"
    got.mkdir()
    sendmail = program(site.folder / "sendmail", f"cat >$(mktemp {got}/mail.XXXXXX)")
    command = program(site.folder / "command", f"cat >>{got}/told")
    site.configure(
        f'{limits}\n[notify]\nto = ["ann@example.net"]\nsendmail = "{sendmail}"\n'
        f'command = ["{command}"]\n'
    )
    return got


def test_block_by_hand_runs_the_command_and_sends_no_mail(site: Site, limits: str) -> None:
    got = recording(site, limits)
    done = site.admin("block", "dan@example.org", "--reason", "phoned")
    assert done.returncode == 0
    assert [path.name for path in got.iterdir()] == ["told"]
    told = json.loads((got / "told").read_text())
    assert (told["what"], told["account"], told["blocked"]) == ("blocked", "dan@example.org", True)
    assert (told["rule"], told["countries"], told["country"]) == ("by hand", [], None)
    assert (told["by"], told["reason"]) == (getpass.getuser(), "phoned")


def test_block_by_hand_that_stops_no_mail_runs_no_command(site: Site, limits: str) -> None:
    got = recording(site, limits)
    assert site.admin("exempt", "add", "account", "dan@example.org").returncode == 0
    done = site.admin("block", "dan@example.org")
    assert "passes all the same: account is exempt" in done.stderr
    assert list(got.iterdir()) == []


def test_failing_command_leaves_a_block_by_hand_in_force(site: Site, limits: str) -> None:
    recording(site, limits)
    program(site.folder / "command", "exit 3")
    done = site.admin("block", "dan@example.org")
    assert done.returncode == 0
    assert "ended with status 3" in done.stderr
    assert "dan@example.org" in site.blocked()


def test_unblock_of_many_is_one_mail_and_runs_the_command_for_each(site: Site, limits: str) -> None:
    got = recording(site, limits)
    done = site.admin("unblock", "--all", "--dry-run")
    assert (done.returncode, list(got.iterdir())) == (0, [])
    done = site.admin("unblock", "--all", "--reason", "phishing")
    assert (done.returncode, done.stderr) == (0, "")
    assert site.blocked() == [BY_HAND]
    [path] = got.glob("mail.*")
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    names = ", ".join(STOLEN)
    assert mail["Subject"] == f"[pcc] 3 accounts unblocked by {getpass.getuser()}: {names}"
    body = mail.get_body()
    assert body is not None
    text = body.get_content()
    assert text.startswith(f"{getpass.getuser()} has unblocked 3 accounts.\n")
    assert "Reason: phishing\n" in text
    lines = [line.split() for line in text.splitlines()]
    assert [line[0] for line in lines if line and "@" in line[0]] == [*STOLEN]
    assert BY_HAND not in text
    told = [json.loads(line) for line in (got / "told").read_text().splitlines()]
    assert sorted(row["account"] for row in told) == sorted(STOLEN)
    assert {row["what"] for row in told} == {"unblocked"}
    assert not any(row["blocked"] for row in told)


def test_unblock_of_many_that_cannot_be_told_of_is_told_of_together_later(
    site: Site, limits: str
) -> None:
    got = recording(site, limits)
    before = (site.folder / "sendmail").read_text()
    program(site.folder / "sendmail", "exit 1")
    done = site.admin("unblock", "--rule", "max_countries")
    assert done.returncode == 0
    assert "by mail: " in done.stderr
    (site.folder / "sendmail").write_text(before)
    assert site.admin("notify").returncode == 0
    assert len([*got.glob("mail.*")]) == 1
    assert len((got / "told").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "words", [["--domain", "partner.example"], [STOLEN[0], STOLEN[1]]], ids=["one", "named"]
)
def test_unblock_of_one_or_of_named_accounts_is_a_mail_for_each(
    site: Site, limits: str, words: list[str]
) -> None:
    got = recording(site, limits)
    assert site.admin("unblock", *words).returncode == 0
    mails = [path.read_text() for path in got.glob("mail.*")]
    assert len(mails) == (2 if "--domain" not in words else 1)
    assert all("In-Reply-To: " in mail for mail in mails)
