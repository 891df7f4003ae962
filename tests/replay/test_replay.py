"""`replay`: logs as they come, the grid against another computation, and against real verdicts."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, Site, address, is_refusal
from simulator import DAY, HOUR, SentMail, log, log_line, simulate, utc

from pcc.address import address_text
from pcc.places import bundled
from pcc.places.country import CountryDatabase
from pcc.places.memory import CountryMemory

pytestmark = pytest.mark.subprocess

START = 1_730_000_000 // DAY * DAY
"""An autumn day, at midnight UTC, longer ago than a log without years may be."""

FAMILIAR = "familiar_after = 1\n"
PLAIN = "familiar_after = 0\n"

UTC = {**os.environ, "TZ": "UTC"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, PLAIN)
    yield made
    made.close()


def replay(site: Site, *arguments: str, text: bytes = b"", zone: str = "UTC") -> Any:
    """Return what replay says with --json, and what on stderr under "complaints"."""
    import json

    done = run(site, "--json", "replay", *arguments, text=text, zone=zone)
    assert done.stdout, done.stderr
    return {**json.loads(done.stdout), "complaints": done.stderr.decode()}


def run(
    site: Site, *arguments: str, text: bytes = b"", zone: str = "UTC"
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(ROOT / "pcc_admin.py"), "-c", str(site.config), *arguments]
    environment = {**os.environ, "TZ": zone}
    return subprocess.run(
        command, input=text, capture_output=True, timeout=60, check=False, env=environment
    )


def hop(countries: str, at: int, account: str = "joe@example.org", gap: int = 60) -> list[SentMail]:
    """Return one mail from each country, `gap` seconds apart."""
    return [
        SentMail(at + number * gap, account, country, 1)
        for number, country in enumerate(countries.split())
    ]


def write(site: Site, name: str, text: str) -> str:
    path = site.folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


# What a log says.


def test_the_crossing_mail_and_all_after_it_would_be_stopped(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES FR BR VN ES DE", START)))
    said = replay(site, path)
    assert said == {
        "parsed": 6,
        "unparsed": 0,
        "settings": [
            {"max_countries": 3, "window": "2d", "accounts_blocked": 1, "mails_stopped": 3}
        ],
        "accounts": [
            {
                "account": "joe@example.org",
                "max_countries": 3,
                "window": "2d",
                "at": utc(START + 180).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "countries": ["ES", "FR", "BR", "VN"],
                "client_address": address("VN"),
                "mails_stopped": 3,
            }
        ],
        "mails_without_country": 0,
        "complaints": "",
    }


HEAD = "2025-11-22T09:01:02+00:00 mx1 postfix/smtpd[7]: 4F2AB: "
WHO = f"client=unknown[{address('ES')}], sasl_method=PLAIN, sasl_username=joe"


@pytest.mark.parametrize(
    "line",
    [
        HEAD + WHO,
        HEAD.replace("smtpd[7]", "submission/smtpd[7]") + WHO,
        HEAD.replace("postfix/smtpd[7]", "postfix-out/smtps/smtpd[123456]") + WHO,
        HEAD.replace("postfix/smtpd[7]", "outgoing/smtpd[7]") + WHO,
        HEAD.replace("4F2AB", "4dJZ9x1XwqzQ7v") + WHO,
        HEAD.replace("4F2AB", "NOQUEUE") + WHO,
        HEAD.replace("mx1 ", "mx1.example.org ") + WHO,
        HEAD.replace("mx1 ", "") + WHO,
        HEAD.replace("+00:00", "Z") + WHO,
        HEAD.replace("+00:00", "") + WHO,
        HEAD.replace("09:01:02+00:00", "09:01:02.123456+00:00") + WHO,
        HEAD.replace("09:01:02+00:00", "10:01:02+01:00") + WHO,
        HEAD.replace("09:01:02+00:00", "10:01:02+0100") + WHO,
        HEAD.replace("09:01:02+00:00", "04:31:02-0430") + WHO,
        HEAD.replace("2025-11-22T09:01:02+00:00", "Nov 22 09:01:02") + WHO,
        HEAD.replace("2025-11-22T09:01:02+00:00", "Nov 22 09:01:02.654321") + WHO,
        HEAD + WHO + ", sasl_sender=joe@example.net",
        HEAD + WHO + ", orig_queue_id=3E1, orig_client=unknown[192.0.2.1]",
        HEAD + WHO.replace(f"[{address('ES')}]", f"[{address('ES')}]:50123"),
        HEAD + WHO.replace("unknown[", "host.dyn.example.net["),
        HEAD + WHO.replace("=joe", "= Joe "),
        HEAD + WHO + "\r",
    ],
)
def test_a_submission_is_read_whatever_its_date_name_and_additions(site: Site, line: str) -> None:
    site.configure(PLAIN + "max_countries = 1\n")
    other = line.replace(address("ES"), address("FR")).replace("4F2AB", "4F2AC")
    path = write(site, "mail.log", f"{line}\n{other}\n")
    os.utime(path, (1763802062 + HOUR, 1763802062 + HOUR))
    said = replay(site, path)
    assert (said["parsed"], said["unparsed"]) == (2, 0)
    (stop,) = said["accounts"]
    assert (stop["account"], stop["at"]) == ("joe", "2025-11-22T09:01:02Z")
    assert stop["countries"] == ["ES", "FR"]


@pytest.mark.parametrize(
    ("login", "account"),
    [
        ("a, b", "a, b"),
        ("a=b", "a=b"),
        ("jösé@example.org", "jösé@example.org"),
        ("x[192.0.2.1]", "x[192.0.2.1]"),
    ],
)
def test_a_login_may_have_any_character(site: Site, login: str, account: str) -> None:
    site.configure(PLAIN + "max_countries = 1\n")
    path = write(site, "mail.log", log(hop("ES FR", START, login)))
    (stop,) = replay(site, path)["accounts"]
    assert stop["account"] == account


def test_a_login_that_is_not_utf_8_is_read_as_a_verdict_reads_it(site: Site) -> None:
    site.configure(PLAIN + "max_countries = 1\n")
    lines = log(hop("ES FR", START, "j?sé")).encode("utf-8").replace(b"?", b"\xf6")
    (stop,) = replay(site, "-", text=lines)["accounts"]
    assert stop["account"] == "j\\xf6sé"


@pytest.mark.parametrize(
    "line",
    [
        "Feb 31 09:01:02 mx1 postfix/smtpd[7]: 4F2AB: " + WHO,
        "Foo 22 09:01:02 mx1 postfix/smtpd[7]: 4F2AB: " + WHO,
        "2025-13-22T09:01:02Z mx1 postfix/smtpd[7]: 4F2AB: " + WHO,
        "yesterday postfix/smtpd[7]: 4F2AB: " + WHO,
        HEAD + WHO.replace(address("ES"), "nowhere"),
        HEAD + "client=unknown, sasl_method=PLAIN, sasl_username=joe",
        HEAD + WHO.replace("joe", ""),
        HEAD + WHO.replace("name=joe", ""),
    ],
)
def test_what_looks_like_a_submission_and_can_not_be_read_is_counted(site: Site, line: str) -> None:
    path = write(site, "mail.log", log(hop("ES", START)) + line + "\n")
    said = replay(site, path)
    assert (said["parsed"], said["unparsed"]) == (1, 1)
    assert "1 line looks like a submission but can't be read:" in said["complaints"]


@pytest.mark.parametrize(
    "line",
    [
        HEAD + "client=unknown[192.0.2.1]",
        HEAD.replace("4F2AB: ", "")
        + "warning: unknown[192.0.2.1]: SASL PLAIN authentication failed: , sasl_username=joe",
        HEAD.replace("smtpd", "cleanup") + f"warning: header Subject: x: {WHO} from x[192.0.2.1]",
        HEAD.replace("4F2AB", "NOQUEUE")
        + f"reject: RCPT from unknown[192.0.2.1]: 554 5.7.1 <x>: no; helo=<4F2: {WHO}>",
        "    continued: " + WHO.replace("client", "who"),
        "-- Journal begins at Mon 2025-11-03 --",
        "",
        "\0\0\0\0",
    ],
)
def test_other_lines_are_passed_over(site: Site, line: str) -> None:
    path = write(site, "mail.log", line + "\n" + log(hop("ES", START)))
    said = replay(site, path)
    assert (said["parsed"], said["unparsed"]) == (1, 0)


def test_first_unread_line_is_shown_without_its_control_characters(site: Site) -> None:
    lines = "".join(f"n{n}\x1b[2J postfix/smtpd[7]: 4F2AB: {WHO}\n" for n in range(5))
    path = write(site, "mail.log", lines + log(hop("ES", START)))
    done = run(site, "replay", path)
    assert done.returncode == 3
    assert done.stderr.decode() == (
        "pcc_admin.py: 5 lines look like submissions but can't be read:\n"
        f"  n0\\x1b[2J postfix/smtpd[7]: 4F2AB: {WHO}\n"
        "  expected: DATE HOST postfix/smtpd[PID]: in front, the date as in Nov 22 09:01:02\n"
    )


@pytest.mark.parametrize(("unread", "status"), [(1, 0), (2, 3)])
def test_replay_is_done_in_part_where_more_than_a_tenth_is_unread(
    site: Site, unread: int, status: int
) -> None:
    text = log(hop("ES " * 10, START)) + (HEAD + WHO.replace("joe", "") + "\n") * unread
    assert run(site, "replay", write(site, "mail.log", text)).returncode == status


def test_replay_names_the_years_that_it_assumes(site: Site) -> None:
    now = int(time.time())
    path = write(site, "mail.log", log(hop("ES FR", now - 300 * DAY, gap=299 * DAY), "syslog"))
    done = run(site, "replay", path)
    first, last = utc(now - 300 * DAY).year, utc(now - DAY).year
    years = f"{first} to {last}" if first < last else f"{last}"
    assert f"dates without a year were taken to be of {years}\n" in done.stderr.decode()


def test_import_takes_of_a_journal_only_what_postfix_wrote(site: Site) -> None:
    import json

    entry = {
        "__REALTIME_TIMESTAMP": str(START * 1_000_000),
        "SYSLOG_IDENTIFIER": "postfix/submission/smtpd",
        "MESSAGE": f"4F2AB: {WHO}",
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


def test_a_log_without_a_submission_is_a_failure_that_says_so(site: Site) -> None:
    done = run(site, "replay", write(site, "mail.log", HEAD + "client=unknown[192.0.2.1]\n"))
    assert done.returncode == 1
    assert b"no line tells of a submission" in done.stderr


# Files.


def parts(mails: list[SentMail], count: int) -> list[list[SentMail]]:
    size = len(mails) // count + 1
    return [mails[start : start + size] for start in range(0, len(mails), size)]


@pytest.mark.parametrize("style", ["syslog", "rfc3339"])
def test_rotated_files_may_come_in_any_order(site: Site, style: str) -> None:
    mails = hop("ES FR BR VN ES DE PT", START, gap=7 * HOUR)
    expected = replay(site, write(site, "all.log", log(mails)))["accounts"]
    paths = []
    for number, part in enumerate(parts(mails, 3)):
        name = site.folder / f"mail.log.{3 - number}"
        text = log(part, style).encode()
        if number < 2:
            name = name.with_suffix(f".{3 - number}.gz")
            text = gzip.compress(text, mtime=part[-1].at + HOUR)
        name.write_bytes(text)
        os.utime(name, (part[-1].at + HOUR, part[-1].at + HOUR))
        paths.append(str(name))
    for _ in range(3):
        random.shuffle(paths)
        assert replay(site, *paths)["accounts"] == expected
    assert expected


def test_years_follow_from_the_last_change_and_from_line_to_line(site: Site) -> None:
    new_year = 1_735_689_600  # 2025-01-01
    mails = [
        *hop("ES", new_year - 40 * DAY),
        *hop("ES", new_year - 60),
        *hop("FR BR", new_year + 60),
        *hop("VN", new_year + 2 * DAY),
    ]
    path = write(site, "mail.log", log(mails, "syslog"))
    for changed in (new_year + 3 * DAY, new_year + 200 * DAY):
        os.utime(path, (changed, changed))
        (stop,) = replay(site, path, "--window", "3d")["accounts"]
        assert stop["at"] == "2025-01-03T00:00:00Z"
        assert stop["countries"] == ["ES", "FR", "BR", "VN"]


def test_the_29th_of_february_is_found_in_its_year(site: Site) -> None:
    leap = 1_709_164_800  # 2024-02-29
    path = write(site, "mail.log", log(hop("ES FR BR VN", leap), "syslog"))
    os.utime(path, (leap + 300 * DAY, leap + 300 * DAY))
    (stop,) = replay(site, path)["accounts"]
    assert stop["at"] == "2024-02-29T00:03:00Z"


def test_local_times_are_those_of_the_machine_and_its_summer_time(site: Site) -> None:
    end_of_summer = 1_729_990_800  # 2024-10-27T01:00:00Z: 03:00 becomes 02:00 in Madrid
    dates = ["01:50:00", "02:50:00", "02:10:00", "02:50:00"]
    lines = [
        log_line(mail, number, "syslog").replace(f"{utc(mail.at):%H:%M:%S}", date)
        for number, (mail, date) in enumerate(
            zip(hop("ES FR BR VN", end_of_summer - 600, gap=600), dates, strict=True)
        )
    ]
    path = write(site, "mail.log", "".join(lines))
    os.utime(path, (end_of_summer + DAY, end_of_summer + DAY))
    (stop,) = replay(site, path, zone="Europe/Madrid")["accounts"]
    assert stop["at"] == "2024-10-27T01:50:00Z"


def test_logs_of_several_hosts_are_merged_by_time(site: Site) -> None:
    mails = hop("ES FR BR VN DE ES", START, gap=HOUR)
    first = write(site, "mx1.log", log(mails[::2], host="mx1"))
    second = write(site, "mx2.log", log(mails[1::2], host="mx2"))
    (stop,) = replay(site, second, first)["accounts"]
    assert stop["countries"] == ["ES", "FR", "BR", "VN"]
    assert stop["mails_stopped"] == 3


def test_a_mail_that_two_of_the_logs_have_counts_once(site: Site) -> None:
    site.configure(PLAIN + "min_mails = 2\nmax_countries = 1\n")
    mails = hop("ES ES FR", START)
    first = write(site, "mail.log", log(mails, "rfc3339"))
    second = write(site, "mail.info", log(mails, "syslog"))
    os.utime(second, (START + HOUR, START + HOUR))
    said = replay(site, first, second)
    assert said["parsed"] == 3
    assert said["accounts"] == []
    assert "3 mails are in two of the logs" in said["complaints"]


@pytest.mark.parametrize("packed", [False, True])
def test_stdin_is_read_for_a_dash(site: Site, packed: bool) -> None:
    text = log(hop("ES FR BR VN", START)).encode()
    said = replay(site, "-", text=gzip.compress(text) if packed else text)
    assert said["settings"][0]["accounts_blocked"] == 1


def test_journalctl_without_years_is_of_the_last_twelve_months(site: Site) -> None:
    now = int(time.time()) - HOUR
    text = "-- Boot 5 --\n" + log(hop("ES FR BR VN", now), "syslog")
    (stop,) = replay(site, "-", text=text.encode())["accounts"]
    assert stop["at"] == utc(now + 180).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_gzipped_log_that_is_cut_off_is_read_as_far_as_it_goes(site: Site) -> None:
    text = log(hop("ES FR BR VN", START)).encode() + random.randbytes(90_000).hex().encode()
    path = site.folder / "mail.log.gz"
    path.write_bytes(gzip.compress(text)[:-20_000])
    done = run(site, "--json", "replay", str(path))
    assert done.returncode == 3
    assert b"was read only in part" in done.stderr
    assert b'"parsed": 4' in done.stdout


def test_a_log_that_is_missing_is_told_and_the_others_are_read(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES FR BR VN", START)))
    done = run(site, "replay", path, str(site.folder / "mail.log.1"))
    assert done.returncode == 3
    assert b"mail.log.1: can't be read: No such file" in done.stderr
    assert run(site, "replay", str(site.folder / "mail.log.1")).returncode == 1


def test_logs_joined_in_the_wrong_order_are_complained_about(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES FR", START)) + log(hop("ES", START - 9 * DAY)))
    assert "goes back in time by 216 hours" in replay(site, path)["complaints"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-countries", "many"),
        ("--max-countries", "1,,2"),
        ("--window", "2"),
        ("--window", "0d"),
        ("--learn", "x"),
    ],
)
def test_options_that_can_not_be_meant_are_usage_errors(
    site: Site, arguments: tuple[str, ...]
) -> None:
    assert run(site, "replay", *arguments, "mail.log").returncode == 2


# The configuration.


@pytest.mark.parametrize(
    ("toml", "stopped"),
    [
        ("", 2),
        ('exempt_accounts = ["joe@example.org"]', 0),
        ('exempt_accounts = ["@example.org"]', 0),
        ('domains = ["example.net"]', 0),
        ('exempt_clients = ["11.2.0.0/16"]', 0),
        ('ignore_countries = ["FR"]', 0),
        ('country_groups = [["ES", "FR"]]', 0),
        ("min_mails = 2", 0),
        ('mode = "observe"', 2),
        ('[[override]]\naccounts = ["@example.org"]\nmax_countries = 9', 0),
        ('[[override]]\naccounts = ["@example.org"]\nmode = "observe"', 0),
        ('[[limit]]\nmax_countries = 2\nwindow = "1m"', 4),
        ('[[limit]]\nmax_addresses = 1\nwindow = "1m"', 5),
    ],
)
def test_the_configuration_holds_as_for_a_verdict(site: Site, toml: str, stopped: int) -> None:
    site.configure(PLAIN + toml + "\n")
    mails = hop("ES FR BR ES VN VN", START, gap=30)
    path = write(site, "mail.log", log(mails))
    assert replay(site, path)["settings"][0]["mails_stopped"] == stopped


def test_overrides_and_further_limits_hold_under_every_setting(site: Site) -> None:
    site.configure(
        PLAIN + '[[limit]]\nmax_countries = 4\nwindow = "30d"\n'
        '[[override]]\naccounts = ["boss@example.org"]\nmax_countries = 2\n'
    )
    mails = [*hop("ES FR BR VN DE", START), *hop("ES FR BR VN DE", START, "boss@example.org")]
    path = write(site, "mail.log", log(sorted(mails)))
    said = replay(site, path, "--max-countries", "1,3,9", "--window", "1m,1d")
    stopped = {
        (row["account"].partition("@")[0], row["max_countries"], row["window"]): len(
            row["countries"]
        )
        for row in said["accounts"]
    }
    # The override has a limit of its own, but the window of [policy].
    assert {key: n for key, n in stopped.items() if key[0] == "boss"} == {
        ("boss", most, window): 5 if window == "1m" else 3
        for most in (1, 3, 9)
        for window in ("1m", "1d")
    }
    assert {key[1:]: n for key, n in stopped.items() if key[0] == "joe"} == {
        (1, "1m"): 2,
        (1, "1d"): 2,
        (3, "1m"): 5,
        (3, "1d"): 4,
        (9, "1m"): 5,
        (9, "1d"): 5,
    }


def test_who_was_not_judged_is_told(site: Site) -> None:
    site.configure(PLAIN + 'domains = ["example.org"]\nexempt_accounts = ["boss@example.org"]\n')
    assert site.admin("exempt", "add", "account", "eve@example.org").returncode == 0
    names = ("joe@example.org", "boss@example.org", "eve@example.org", "out@example.net")
    text = log([mail for name in names for mail in hop("ES FR", START, name)])
    shown = run(site, "replay", write(site, "mail.log", text)).stdout.decode()
    assert "2 accounts are exempt: their mail was not judged.\n" in shown
    assert "1 account is outside policy.domains: its mail was not judged.\n" in shown
    site.configure(PLAIN)
    assert site.admin("exempt", "remove", "account", "eve@example.org").returncode == 0
    shown = run(site, "replay", str(site.folder / "mail.log")).stdout.decode()
    assert "not judged" not in shown


def test_one_of_a_thing_is_told_in_the_singular(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES", START)))
    shown = run(site, "replay", "--import", path).stdout.decode()
    assert "Imported 1 mail of 1 account from 1 address.  Nobody was blocked.\n" in shown
    path = write(site, "mail.log", log(hop("ES FR", START)))
    shown = run(site, "replay", "--import", path).stdout.decode()
    assert "Imported 1 mail of 1 account from 1 address." in shown  # that is not there already
    path = write(site, "mail.log", log(hop("BR VN", START + 600)))
    shown = run(site, "replay", "--import", path).stdout.decode()
    assert "Imported 2 mails of 1 account from 2 addresses." in shown


def test_exemptions_in_the_database_hold(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES FR BR VN", START)))
    for kind, value in (
        ("account", "joe@example.org"),
        ("domain", "example.org"),
        ("client", address("VN")),
    ):
        assert site.admin("exempt", "add", kind, value).returncode == 0
        assert replay(site, path)["accounts"] == []
        assert site.admin("exempt", "remove", kind, value).returncode == 0
    assert replay(site, path)["accounts"]


def test_nobody_is_blocked_while_replay_learns(site: Site) -> None:
    site.configure(FAMILIAR)
    mails = [*hop("ES FR BR VN", START), *hop("ES FR BR VN DE", START + 8 * DAY)]
    path = write(site, "mail.log", log(mails))
    assert len(replay(site, path)["accounts"]) == 1
    assert replay(site, path, "--learn", "7d")["accounts"] == []
    (stop,) = replay(site, path, "--learn", "7d", "--max-countries", "1")["accounts"]
    assert stop["countries"] == ["ES", "FR", "BR", "VN", "DE"]


def test_nothing_is_written_without_import(site: Site) -> None:
    before = site.database.read_bytes()
    replay(site, write(site, "mail.log", log(hop("ES FR BR VN", START))))
    assert site.database.read_bytes() == before
    assert site.data("stats")["sightings"] == 0


def test_replay_needs_no_database(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES FR BR VN", START)))
    site.database.unlink()
    assert replay(site, path)["settings"][0]["accounts_blocked"] == 1
    assert run(site, "replay", "--import", path).returncode == 4


# The grid against another computation.


class Reckoning:
    """One account under one setting, reckoned from all of its mails anew for every mail."""

    def __init__(self, limits: list[tuple[str, int, int]], familiar_after: int) -> None:
        self.limits = limits
        self.familiar_after = familiar_after
        self.seen: list[tuple[int, str, str]] = []

    def crosses(self, at: int, country: str, client_address: str) -> bool:
        """Add a mail, and tell whether a limit (kind, most, window) is crossed by it."""
        self.seen.append((at, country, client_address))
        for kind, most, window in self.limits:
            field = 1 if kind == "countries" else 2
            places = {mail[field] for mail in self.seen if at - mail[0] <= window}
            familiar = {place for place in places if self._is_familiar(field, place, at)}
            count = len(places - familiar)
            if kind == "countries":
                count += bool(familiar)
            if count > most and (country, client_address)[field - 1] not in familiar:
                return True
        return False

    def _is_familiar(self, field: int, place: object, now: int) -> bool:
        days = {mail[0] // DAY for mail in self.seen if mail[field] == place}
        earlier = [day for day in days if now // DAY - 30 <= day < now // DAY]
        return bool(self.familiar_after) and len(earlier) >= self.familiar_after


GRID = [(most, window) for most in (1, 2, 3, 5) for window in ("1h", "1d", "2d", "7d")]
SECONDS = {"1h": HOUR, "1d": DAY, "2d": 2 * DAY, "7d": 7 * DAY}
FURTHER = """
[[limit]]
max_countries = 2
window = "1h"
[[limit]]
max_addresses = 5
window = "1h"
"""
KINDS = ["stay_at_home", "commuter", "traveller", "cloud_sender", "shared", "stolen"]


@pytest.mark.parametrize(
    ("familiar_after", "learn", "further"), [(0, 0, ""), (1, 7, FURTHER), (2, 3, FURTHER)]
)
def test_the_grid_is_what_another_computation_finds(
    site: Site, familiar_after: int, learn: int, further: str
) -> None:
    site.configure(f"familiar_after = {familiar_after}\n{further}")
    mails = simulate(familiar_after, START, 24, KINDS, 4)
    expected: dict[tuple[str, int, str], list[int]] = {}
    for most, window in GRID:
        limits = [("countries", most, SECONDS[window])]
        if further:
            limits += [("countries", 2, HOUR), ("addresses", 5, HOUR)]
        accounts = {mail.account: Reckoning(limits, familiar_after) for mail in mails}
        for mail in mails:
            stops = expected.get((mail.account, most, window))
            if stops:
                stops[1] += 1
                continue
            crosses = accounts[mail.account].crosses(mail.at, mail.country, mail.client_address)
            if crosses and mail.at >= mails[0].at + learn * DAY:
                expected[mail.account, most, window] = [mail.at, 1]
    path = write(site, "mail.log", log(mails))
    options = ["--max-countries", "1,2,3,5", "--window", "1h,1d,2d,7d", "--learn", f"{learn}d"]
    said = replay(site, path, *options)
    found = {
        (row["account"], row["max_countries"], row["window"]): (row["at"], row["mails_stopped"])
        for row in said["accounts"]
    }
    assert found == {
        key: (utc(at).strftime("%Y-%m-%dT%H:%M:%SZ"), stopped)
        for key, (at, stopped) in expected.items()
    }
    assert len(found) > 30
    for row in said["settings"]:
        stopped = [
            n
            for key, (_, n) in expected.items()
            if key[1:] == (row["max_countries"], row["window"])
        ]
        assert (row["accounts_blocked"], row["mails_stopped"]) == (len(stopped), sum(stopped))


# The parts that only replay has.


def test_countries_by_network_are_those_of_single_look_ups(tmp_path: Path) -> None:
    path = tmp_path / "country.mmdb"
    bundled.unpack(str(path))
    memory, single = CountryMemory(str(path)), CountryDatabase(str(path))
    dice = random.Random(6)
    for _ in range(3000):
        start = dice.choice((b"", b"", b"\x2a\x02", b"\x20\x01", b"\x26\x04"))
        packed = start + dice.randbytes(14) if start else dice.randbytes(4)
        assert memory.country(packed) == (single.country(address_text(packed)) or "")
        neighbour = packed[:-1] + dice.randbytes(1)
        assert memory.country(neighbour) == (single.country(address_text(neighbour)) or "")


# Replay against real verdicts.


LIBFAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

REAL_POLICIES = {
    "as shipped": FURTHER,
    "the original's rule": "familiar_after = 0\n",
    "blocks that end": 'familiar_after = 2\nmax_countries = 2\nblock_for = "20h"\n' + FURTHER,
    "all sorts": 'min_mails = 2\nmax_countries = 2\nignore_countries = ["IN"]\n'
    'country_groups = [["ES", "PT"]]\nexempt_clients = [".google.com"]\n'
    '[[override]]\naccounts = ["shared-0@example.org"]\nmax_countries = 1\nwindow = "1d"\n'
    '[[limit]]\nmax_addresses = 3\nwindow = "6h"\n',
}


@pytest.mark.skipif(LIBFAKETIME is None, reason="needs Debian's package faketime")
@pytest.mark.parametrize("name", REAL_POLICIES)
def test_replay_stops_exactly_the_mails_that_policy_processes_refuse(site: Site, name: str) -> None:
    site.configure(REAL_POLICIES[name])
    mails = simulate(len(name), START, 20, KINDS, 5)
    clock = site.folder / "clock"
    environment = {
        "PATH": "/usr/bin:/bin",
        "LD_PRELOAD": str(LIBFAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TZ": "UTC",
    }
    clock.write_text(f"{utc(mails[0].at):%Y-%m-%d %H:%M:%S}\n", encoding="ascii")
    process = site.policy(environment=environment)
    refused: dict[str, list[SentMail]] = {}
    for mail in mails:
        clock.write_text(f"{utc(mail.at):%Y-%m-%d %H:%M:%S}\n", encoding="ascii")
        attributes = {"client_name": mail.client_name}
        if is_refusal(process.ask(mail.account, mail.client_address, **attributes)):
            refused.setdefault(mail.account, []).append(mail)
    assert process.end() == 0
    said = replay(site, write(site, "mail.log", log(mails)))
    found = {row["account"]: (row["at"], row["mails_stopped"]) for row in said["accounts"]}
    assert found == {
        account: (utc(stopped[0].at).strftime("%Y-%m-%dT%H:%M:%SZ"), len(stopped))
        for account, stopped in refused.items()
    }
    assert refused


# Import.


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
    }
    assert site.blocked() == []
    assert {name: row["mails"] for name, row in sightings(site).items()} == {
        address("ES"): 6,
        address("FR"): 6,
    }
    answers = [site.ask("joe@example.org", address(country)) for country in "ES FR BR".split()]
    assert [is_refusal(answer) for answer in answers] == [False, False, True]


def test_the_same_log_imported_again_changes_nothing(site: Site) -> None:
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


def test_mails_that_pcc_has_counted_itself_are_not_counted_again(site: Site) -> None:
    site.ask("joe@example.org", address("ES"))
    site.ask("joe@example.org", address("ES"))
    now = int(time.time())
    mails = [*hop("ES", now - DAY), *hop("ES ES", now - 1, gap=1), *hop("FR", now - DAY)]
    replay(site, write(site, "mail.log", log(sorted(mails))), "--import")
    seen = sightings(site)
    assert {name: row["mails"] for name, row in seen.items()} == {
        address("ES"): 3,
        address("FR"): 1,
    }
    assert seen[address("ES")]["first_seen"] < seen[address("ES")]["last_seen"]


def test_accounts_that_had_an_incident_are_left_alone(site: Site) -> None:
    site.admin("block", "joe@example.org")
    site.admin("unblock", "joe@example.org")
    said = replay(site, write(site, "mail.log", log(hop("ES FR", START))), "--import")
    assert said["imported"]["left_alone"] == 1
    assert sightings(site) == {}


def test_a_theft_in_the_log_makes_nothing_familiar(site: Site) -> None:
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


# What people read.


def test_people_get_the_grid_the_accounts_and_a_recommendation(site: Site) -> None:
    site.configure(FAMILIAR)
    mails = simulate(3, START, 24, ["stay_at_home", "commuter", "shared", "stolen"], 4)
    path = write(site, "mail.log", log(mails))
    options = ["--max-countries", "1,2,3", "--window", "2d,7d", "--learn", "7d"]
    shown = run(site, "replay", *options, path).stdout.decode()
    assert "MAX COUNTRIES  WINDOW  ACCOUNTS BLOCKED" in shown
    assert "stolen-3@example.org" in shown
    assert "shared" not in shown
    recommended = next(line for line in shown.splitlines() if line.startswith("Recommended"))
    assert "would have blocked only accounts that look stolen" in recommended
    assert "was seen in 7 new countries around it" in shown
    assert "An account looks stolen when" in shown


def test_cloud_senders_are_told_from_thieves_by_their_clients_names(site: Site) -> None:
    path = write(site, "mail.log", log(simulate(1, START, 12, ["cloud_sender"], 2)))
    shown = run(site, "replay", "--learn", "7d", path).stdout.decode()
    assert "Recommended" not in shown
    assert "sends by Google's machines" in shown
    assert 'exempt_clients = [".google.com"]' in shown


def test_where_nobody_is_blocked_that_is_said(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES FR", START)))
    assert b"Nobody would have been blocked." in run(site, "replay", path).stdout


def sent_from(*client_addresses: str) -> str:
    return "".join(
        f"{utc(START + number).isoformat()} mx1 postfix/smtpd[7]: {number + 10:X}:"
        f" client=unknown[{client}], sasl_method=PLAIN, sasl_username=joe\n"
        for number, client in enumerate(client_addresses)
    )


@pytest.mark.parametrize(
    ("clients", "said", "unsaid"),
    [
        (["172.18.0.1"] * 20, "20 of them came from 172.18.0.1, a private address", "Nobody"),
        (["::1"] * 19 + ["10.0.0.1"], "19 of them came from ::1, a private address", "Nobody"),
        ([f"10.0.0.{n}" for n in range(20)], "They came from 20 private addresses", "Nobody"),
        ([f"99.0.0.{n}" for n in range(20)], "is not in country.mmdb", "Nobody"),
        (["172.18.0.1"] * 10 + [address("ES")] * 10, "Nobody would have been blocked.", "of them"),
        ([address("ES")] * 20, "Nobody would have been blocked.", "had no country"),
    ],
)
def test_replay_names_the_cause_where_nearly_all_mail_has_no_country(
    site: Site, clients: list[str], said: str, unsaid: str
) -> None:
    path = write(site, "mail.log", sent_from(*clients))
    shown = run(site, "replay", path).stdout.decode()
    without = sum(not client.startswith("11.") for client in clients)
    assert (f"{without} of 20 mails had no country" in shown) == (without > 0)
    assert said in shown.replace(f"{site.folder}/", "")
    assert unsaid not in shown
    assert replay(site, path)["mails_without_country"] == without


def test_what_is_not_judged_by_sender_is_said(site: Site) -> None:
    site.configure(PLAIN + 'account = "sender"\n')
    path = write(site, "mail.log", log(hop("ES FR", START)))
    assert "it was taken for the account" in replay(site, path)["complaints"]
