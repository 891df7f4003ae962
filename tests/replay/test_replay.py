"""The output of `replay`, and its exit status."""

from __future__ import annotations

import gzip
import os
import random
import time

import pytest
from checkout import Site, address
from replaying import FAMILIAR, PLAIN, START, hop, replay, run, write
from simulator import DAY, HOUR, log, simulate, utc

pytestmark = pytest.mark.subprocess


def test_replay_stops_the_crossing_mail_and_all_after_it(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES FR BR VN ES DE", START)))
    said = replay(site, path)
    off = dict.fromkeys(("max_networks", "max_addresses", "max_hosting_mails"), 0)
    numbers = {"max_countries": 3, **off, "max_foreign_mails": 0, "window": "2d"}
    assert said == {
        "parsed": 6,
        "unparsed": 0,
        "mails_without_country": 0,
        "mails_without_network": 6,
        "settings": [
            {
                **numbers,
                "accounts_blocked": 1,
                "accounts_look_stolen": 1,
                "mails_stopped": 3,
                "limits": [{"rule": "max_countries 3 in 2d", "accounts_blocked": 1, "alone": 1}],
                "missed": [],
            }
        ],
        "accounts": [
            {
                "account": "joe@example.org",
                **numbers,
                "at": utc(START + 180).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "rule": "max_countries 3 in 2d",
                "countries": ["ES", "FR", "BR", "VN"],
                "networks": [],
                "client_address": address("VN"),
                "mails": 4,
                "mails_stopped": 3,
                "looks_stolen": True,
            }
        ],
        "heights": [
            {
                "key": "max_countries",
                "window": "2d",
                "familiar_after": 0,
                **dict.fromkeys(("median", "p99", "p999", "highest"), 5),
                "honest": 0,
                "accounts": [{"account": "joe@example.org", "height": 5}],
            }
        ],
        "complaints": "",
    }


HEAD = "2025-11-22T09:01:02+00:00 mx1 postfix/smtpd[7]: 4F2AB: "
WHO = f"client=unknown[{address('ES')}], sasl_method=PLAIN, sasl_username=joe"


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


def test_log_without_a_submission_is_a_failure(site: Site) -> None:
    done = run(site, "replay", write(site, "mail.log", HEAD + "client=unknown[192.0.2.1]\n"))
    assert done.returncode == 1
    assert b"no line has a submission" in done.stderr


def test_missing_log_is_named_and_the_others_are_read(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES FR BR VN", START)))
    done = run(site, "replay", path, str(site.folder / "mail.log.1"))
    assert done.returncode == 3
    assert b"mail.log.1: can't be read: No such file" in done.stderr
    assert run(site, "replay", str(site.folder / "mail.log.1")).returncode == 1


def test_logs_joined_in_the_wrong_order_get_a_complaint(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES FR", START)) + log(hop("ES", START - 9 * DAY)))
    assert "goes back in time by 216 hours" in replay(site, path)["complaints"]


def test_gzipped_log_that_is_cut_off_is_read_as_far_as_it_goes(site: Site) -> None:
    text = log(hop("ES FR BR VN", START)).encode() + random.randbytes(90_000).hex().encode()
    path = site.folder / "mail.log.gz"
    path.write_bytes(gzip.compress(text)[:-20_000])
    done = run(site, "--json", "replay", str(path))
    assert done.returncode == 3
    assert b"was read only in part" in done.stderr
    assert b'"parsed": 4' in done.stdout


def test_mail_in_two_of_the_logs_counts_once(site: Site) -> None:
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


def test_advice_knows_cloud_senders_by_their_clients_names(site: Site) -> None:
    path = write(site, "mail.log", log(simulate(1, START, 12, ["cloud_sender"], 2)))
    shown = run(site, "replay", "--learn", "7d", path).stdout.decode()
    assert "Recommended" not in shown
    assert "sends by Google's machines" in shown
    assert 'exempt_clients = [".google.com"]' in shown


def test_advice_says_where_nobody_is_blocked(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES FR", START)))
    assert b"Nobody would have been blocked." in run(site, "replay", path).stdout


def test_replay_of_logs_that_are_shorter_than_it_learns_says_that_nothing_was_judged(
    site: Site,
) -> None:
    path = write(site, "mail.log", log(hop("ES FR BR VN", START, gap=DAY)))
    done = run(site, "replay", "--learn", "7d", path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"pcc_admin.py: the logs span less than --learn: nothing was judged\n"
    assert b"ACCOUNTS BLOCKED" in run(site, "replay", "--learn", "3d", path).stdout


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


def test_replay_says_that_it_judges_logins_not_senders(site: Site) -> None:
    site.configure(PLAIN + 'account = "sender"\n')
    path = write(site, "mail.log", log(hop("ES FR", START)))
    assert "it was taken for the account" in replay(site, path)["complaints"]
