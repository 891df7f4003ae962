"""`report`: its counts against another computation, and what it shows on a terminal."""

from __future__ import annotations

import argparse
import email
import email.policy
import json
import re
import sys
import time
from pathlib import Path

import pytest
from checkout import ROOT, Site
from incidents import JOE, PLAIN, TODAY, date, learn, lifted, send_mails, sql
from simulator import DAY, simulate
from terminal import on_terminal

from pcc.admin.report import beginning
from pcc.report.activity import Day, bucketed
from pcc.report.world import world

pytestmark = pytest.mark.subprocess


# The counts.


def test_report_of_nothing_is_a_sentence(site: Site) -> None:
    done = site.admin("report")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"From \S+ to \S+ nothing was seen and nothing happened\.\n", done.stdout)
    assert site.data("report")["incidents"] == []
    page = site.folder / "page.html"
    assert site.admin("report", "--html", str(page)).returncode == 0
    assert "Nothing was seen and nothing happened." in page.read_text(encoding="utf-8")


def test_days_and_countries_are_those_of_the_mails(site: Site) -> None:
    site.configure("max_countries = 0\n")
    kinds = ["stay_at_home", "commuter", "traveller", "shared", "cloud_sender"]
    now = time.time()
    sent = [m for m in simulate(7, TODAY - 25 * DAY, 26, kinds, each=4) if m.at < now - 60]
    learn(site, sent)
    said = site.data("report")
    assert list(said) == [
        "since",
        "until",
        "blocked",
        "observed",
        "blocked_now",
        "observed_now",
        "accounts",
        "mails",
        "days",
        "countries",
        "networks",
        "network_count",
        "incidents",
        "over",
        "over_count",
        "near",
        "near_count",
        "watch",
        "lifted_soon",
    ]
    for day in said["days"]:
        those = [mail for mail in sent if date(mail.at) == day["day"]]
        assert day["accounts"] == len({mail.account for mail in those}), day
        assert day["countries"] == len({mail.country for mail in those}), day
    assert [day["day"] for day in said["days"]] == [
        date(TODAY - number * DAY) for number in range(25, -1, -1)
    ]
    for country in said["countries"]:
        those = [mail for mail in sent if mail.country == country["country"]]
        assert country["mails"] == len(those)
        assert country["accounts"] == len({mail.account for mail in those})
        assert country["name"] == world().names[country["country"]]
    assert said["accounts"] == len({mail.account for mail in sent})
    assert said["mails"] == len(sent)


def test_incidents_are_counted_on_the_day_they_began(site: Site) -> None:
    send_mails(site, JOE, "ES FR BR DE")
    send_mails(site, "ann@example.org", "ES FR BR")
    site.admin("block", "by-hand@example.org")
    site.admin("unblock", "ann@example.org", "--reason", "it was me")
    three_days = 3 * DAY
    sql(site, "UPDATE incident SET began = began - ? WHERE account = ?", three_days, JOE)
    said = site.data("report")
    by_day = {day["day"]: day["blocked"] for day in said["days"]}
    assert (by_day[date(TODAY - three_days)], by_day[date(TODAY)]) == (1, 2)
    assert (said["blocked"], said["observed"]) == (3, 0)
    assert said["blocked_now"] == [JOE, "by-hand@example.org"]
    joe, ann, by_hand = said["incidents"]
    assert (joe["account"], joe["countries"], joe["tries"]) == (JOE, ["ES", "FR", "BR"], 2)
    assert (joe["rule"], joe["ended"], joe["lifted_by"]) == ("max_countries 2 in 2d", None, None)
    assert (ann["reason"], bool(ann["ended"]), bool(ann["lifted_by"])) == ("it was me", True, True)
    assert (by_hand["rule"], by_hand["client_address"]) == ("by hand", None)


def test_since_is_a_time_or_a_date(site: Site) -> None:
    for account in ("old@example.org", "now@example.org"):
        send_mails(site, account, "ES FR BR")
    began = TODAY - 5 * DAY + 60
    sql(site, "UPDATE incident SET began = ? WHERE account = 'old@example.org'", began)
    for since, accounts in (
        ("1h", ["now@example.org"]),
        ("3d", ["now@example.org"]),
        (date(TODAY - 5 * DAY), ["old@example.org", "now@example.org"]),
        (date(TODAY - 4 * DAY), ["now@example.org"]),
        ("52w", ["old@example.org", "now@example.org"]),
    ):
        said = site.data("report", "--since", since)
        assert [row["account"] for row in said["incidents"]] == accounts, since
        assert said["since"].endswith("T00:00:00Z")


@pytest.mark.parametrize(
    "since", ["30", "d", "-1d", "2026-13-01", "2026-1-1-1", "yesterday", "", "0d", "2026-11-01T10"]
)
def test_since_is_refused_where_it_is_no_time(since: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"a time such as 30d, or a date such as"):
        beginning(since)


def test_since_in_the_future_is_usage(site: Site) -> None:
    done = site.admin("report", "--since", "2199-01-01")
    assert (done.returncode, done.stdout) == (2, "")
    assert site.admin("report", "--since", "soon").returncode == 2
    assert done.stderr == "pcc_admin.py: --since must not be in the future\n"


@pytest.mark.parametrize(
    ("count", "most", "lengths"),
    [
        (31, 31, [1] * 31),
        (32, 31, [4, 7, 7, 7, 7]),
        (35, 31, [7] * 5),
        (365, 31, [1] + [28] * 13),
        (3, 1, [3]),
    ],
)
def test_days_become_weeks_where_there_are_many(count: int, most: int, lengths: list[int]) -> None:
    days = [Day(n, n, 1, 2, n if n > 2 else None, 5) for n in range(count)]
    found = bucketed(days, most)
    assert [day.last - day.day + 1 for day in found] == lengths
    assert sum(day.blocked for day in found) == count
    assert sum(day.observed for day in found) == 2 * count
    assert found[-1].accounts in (count - 1, None)


# Observe mode, from the mail to the report.


def test_observed_incident_is_noticed_listed_and_reported(tmp_path: Path) -> None:
    notices = tmp_path / "notices"
    observing = (
        f'{PLAIN}mode = "observe"\n[notify]\nto = []\n'
        f'command = ["/bin/sh", "-c", "cat >> {notices}"]\n'
    )
    site = Site(tmp_path, observing)
    assert send_mails(site, JOE, "ES FR BR DE VN") == ["DUNNO"] * 5
    site.admin("notify")
    deadline = time.monotonic() + 20
    while not (notices.exists() and notices.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    notice = json.loads(notices.read_text())  # one, though three mails were over the limit
    assert (notice["what"], notice["account"]) == ("observed", JOE)
    assert site.data("list") == []
    (row,) = site.data("list", "--observed")
    assert (row["account"], row["countries"], row["tries"]) == (JOE, ["ES", "FR", "BR"], 0)
    said = site.data("report")
    assert (said["blocked"], said["observed"]) == (0, 1)
    assert (said["blocked_now"], said["observed_now"]) == ([], [JOE])
    assert said["days"][-1]["observed"] == 1
    (incident,) = said["incidents"]
    assert (incident["mode"], incident["rule"]) == ("observe", "max_countries 2 in 2d")
    text = site.admin("report").stdout
    assert "0 blocks, 1 observed incident; now 0 blocked and 1 observed." in text
    assert re.search(rf"^OBSERVED +{JOE} ", text, flags=re.MULTILINE)
    # Cleared soon: the limit was too tight for joe, and that would have helped.
    assert site.admin("unblock", JOE, "--reason", "travels").returncode == 0
    (alarm,) = site.data("report")["lifted_soon"]
    assert (alarm["mode"], alarm["reason"]) == ("observe", "travels")
    assert (
        "[[override]]" in {cure["kind"]: cure["text"] for cure in alarm["prevented_by"]}["override"]
    )
    assert site.data("report")["observed_now"] == []
    site.close()


# For people.


def test_report_is_mailed_to_the_administrators(tmp_path: Path) -> None:
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(
        f'#!/bin/sh\nprintf "%s\n" "$@" >{tmp_path}/arguments\ncat >{tmp_path}/mail\n'
    )
    sendmail.chmod(0o755)
    notify = f'[notify]\nto = ["postmaster", "a@example.org"]\nsendmail = "{sendmail}"\n'
    site = Site(tmp_path, f"{PLAIN}{notify}")
    site.configure(f"{PLAIN}[notify]\nto = []\n")
    send_mails(site, JOE, "ES FR BR")
    done = site.admin("report", "--mail")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pcc_admin.py: notify.to is empty: nobody gets the report\n"
    site.configure(f"{PLAIN}{notify}")
    done = site.admin("report", "--mail")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "arguments").read_text().split()[-2:] == ["postmaster", "a@example.org"]
    message = email.message_from_bytes(
        (tmp_path / "mail").read_bytes(), policy=email.policy.default
    )
    assert str(message["Subject"]).endswith(": 1 block, 1 blocked now, 0 near a limit")
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content() == site.admin("report").stdout
    sendmail.write_text("#!/bin/sh\nexit 75\n")
    done = site.admin("report", "--mail")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"pcc_admin.py: the report was not sent: {sendmail} ended with status 75\n"
    )
    site.close()


def test_report_in_a_pipe_is_plain(site: Site) -> None:
    send_mails(site, JOE, "ES FR BR DE")
    send_mails(site, "ann@example.org", "ES FR")
    done = site.admin("report")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii() and "\t" not in done.stdout and "\x1b" not in done.stdout
    for line in (
        "2 accounts in 3 countries.",
        "1 block, 0 observed incidents; now 1 blocked and 0 observed.",
        "Nearest to their limit, at this moment",
        "ann@example.org  2 of 2  max_countries 2 in 2d  ES,FR",
    ):
        assert line in done.stdout
    assert re.search(r"^BR +Brazil +1 +1 +#+$", done.stdout, flags=re.MULTILINE)


def test_report_fits_a_terminal_of_80_columns(site: Site) -> None:
    send_mails(site, JOE, "ES FR BR DE")
    lifted(site)
    send_mails(site, "ann@example.org", "ES FR")
    text = on_terminal(
        [sys.executable, ROOT / "pcc_admin.py", "-c", site.config, "report"], columns=80
    )
    assert "█" in text and "\x1b[1mBy day" in text
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        assert len(line) <= 80 or "pcc_admin.py -c" in line, line
