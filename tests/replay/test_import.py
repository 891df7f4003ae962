"""`replay --import`: history for the database."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from checkout import Site, address, is_refusal
from replaying import FAMILIAR, START, hop, replay, run, write
from simulator import DAY, HOUR, log, utc

pytestmark = pytest.mark.subprocess


def sightings(site: Site, account: str = "joe@example.org") -> dict[str, Any]:
    return {row["address"]: row for row in site.data("show", account)["sightings"]}


def test_import_makes_familiar_what_the_log_has_and_blocks_nobody(site: Site) -> None:
    now = int(time.time()) - 8 * DAY
    site.configure(FAMILIAR + "max_countries = 1\n")
    mails = [mail for day in range(6) for mail in hop("ES FR", now + day * DAY)]
    said = replay(site, write(site, "mail.log", log(mails)), "--import", "--learn", "3d")
    assert said["accounts"] == []
    assert said["imported"] == {
        "accounts": 1,
        "sightings": 2,
        "mails": 12,
        "left_alone": 0,
        "look_stolen": 0,
        "days_left_out": [],
    }
    assert site.blocked() == []
    assert {name: row["mails"] for name, row in sightings(site).items()} == {
        address("ES"): 6,
        address("FR"): 6,
    }
    answers = [site.ask("joe@example.org", address(country)) for country in "ES FR BR".split()]
    assert [is_refusal(answer) for answer in answers] == [False, False, True]


def test_import_of_the_same_log_again_changes_nothing(site: Site) -> None:
    mails = [mail for day in range(6) for mail in hop("ES FR", START + day * DAY)]
    early, late = write(site, "mail.log.1", log(mails[:5])), write(site, "mail.log", log(mails[5:]))
    replay(site, "--import", late)
    replay(site, "--import", early)
    once = sightings(site)
    assert sum(row["mails"] for row in once.values()) == len(mails)
    assert once[address("ES")]["first_seen"] == utc(START).strftime("%Y-%m-%dT%H:%M:%SZ")
    for arguments in ((early,), (late, early)):
        said = replay(site, "--import", *arguments)
        assert said["imported"]["mails"] == said["imported"]["accounts"] == 0
    assert sightings(site) == once


def test_import_does_not_count_what_pcc_has_counted(site: Site) -> None:
    now = int(time.time())
    site.ask("joe@example.org", address("ES"))
    site.ask("joe@example.org", address("ES"))
    mails = [*hop("ES", now - DAY), *hop("ES ES", now - 1, gap=1), *hop("FR", now - DAY)]
    replay(site, write(site, "mail.log", log(sorted(mails))), "--import")
    seen = sightings(site)
    assert {name: row["mails"] for name, row in seen.items()} == {
        address("ES"): 3,
        address("FR"): 1,
    }
    assert seen[address("ES")]["first_seen"] < seen[address("ES")]["last_seen"]


def test_import_leaves_accounts_with_an_incident_alone(site: Site) -> None:
    site.admin("block", "joe@example.org")
    site.admin("unblock", "joe@example.org")
    said = replay(site, write(site, "mail.log", log(hop("ES FR", START))), "--import")
    assert said["imported"]["left_alone"] == 1
    assert sightings(site) == {}


def test_theft_in_the_log_makes_nothing_familiar(site: Site) -> None:
    now = int(time.time()) - 12 * DAY
    site.configure(FAMILIAR)
    home = [mail for day in range(6) for mail in hop("ES", now + day * DAY)]
    theft = hop("FR BR VN DE PT US", now + 5 * DAY + HOUR)
    said = replay(site, write(site, "mail.log", log([*home, *theft])), "--import")
    assert said["imported"]["look_stolen"] == 1
    assert len(sightings(site)) == 7
    answers = [
        site.ask("joe@example.org", address(country)) for country in "ES FR BR VN DE".split()
    ]
    assert [is_refusal(answer) for answer in answers] == [False, False, False, True, True]


def test_import_leaves_out_the_days_of_accounts_that_would_be_blocked(site: Site) -> None:
    now = int(time.time()) - 12 * DAY
    site.configure("familiar_after = 2\nmax_countries = 2\n")
    mails = hop("BR VN DE", now + 4 * DAY, "stolen@example.org")
    for account in ("stolen@example.org", "joe@example.org"):
        mails += [mail for day in range(4) for mail in hop("ES FR", now + day * DAY, account)]
    path = write(site, "mail.log", log(sorted(mails)))
    said = replay(site, path, "--import")
    assert said["imported"]["days_left_out"] == ["stolen@example.org"]
    shown = run(site, "replay", "--import", path).stdout.decode()
    assert "The days of 1 account that would have been blocked were left out: stolen" in shown
    for account, passed in (("stolen@example.org", 2), ("joe@example.org", 3)):
        answers = [site.ask(account, address(country)) for country in "ES FR BR DE".split()]
        assert [is_refusal(answer) for answer in answers] == [False] * passed + [True] * (
            4 - passed
        )


def test_import_of_one_mail_is_reported_in_the_singular(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES", START)))
    shown = run(site, "replay", "--import", path).stdout.decode()
    assert "Imported 1 mail of 1 account from 1 address.  Nobody was blocked.\n" in shown
    path = write(site, "mail.log", log(hop("ES FR", START)))
    shown = run(site, "replay", "--import", path).stdout.decode()
    assert "Imported 1 mail of 1 account from 1 address." in shown  # that is not there already
    path = write(site, "mail.log", log(hop("BR VN", START + 600)))
    shown = run(site, "replay", "--import", path).stdout.decode()
    assert "Imported 2 mails of 1 account from 2 addresses." in shown


def test_replay_writes_nothing_without_import(site: Site) -> None:
    before = site.database.read_bytes()
    replay(site, write(site, "mail.log", log(hop("ES FR BR VN", START))))
    assert site.database.read_bytes() == before
    assert site.data("stats")["sightings"] == 0


def test_import_takes_of_a_journal_only_what_postfix_wrote(site: Site) -> None:
    entry = {
        "__REALTIME_TIMESTAMP": str(START * 1_000_000),
        "SYSLOG_IDENTIFIER": "postfix/submission/smtpd",
        "MESSAGE": (
            f"4F2AB: client=unknown[{address('ES')}], sasl_method=PLAIN, sasl_username=joe"
        ),
        "_UID": "104",
        "_EXE": "/usr/lib/postfix/sbin/smtpd",
        "_SYSTEMD_UNIT": "postfix@-.service",
    }
    forged = {
        **entry,
        "MESSAGE": entry["MESSAGE"].replace("joe", "boss"),
        "_UID": "1000",
        "_EXE": "/usr/bin/logger",
        "_SYSTEMD_UNIT": "session-3.scope",
    }
    text = "\n".join(map(json.dumps, (entry, forged, forged))).encode()
    assert replay(site, "-", text=text)["parsed"] == 3
    said = replay(site, "-", "--import", text=text)
    assert (said["parsed"], said["imported"]["accounts"]) == (1, 1)
    assert "2 entries of the journal were left out" in said["complaints"]
    assert site.admin("show", "boss").returncode == 1
