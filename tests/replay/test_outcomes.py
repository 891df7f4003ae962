"""Heights, what each limit does alone, patient thieves: what helps to choose limits."""

from __future__ import annotations

import pytest
from checkout import COUNTRIES, Site
from replaying import PLAIN, START, configure_networks, hop, replay, run, write
from simulator import DAY, HOUR, SentMail, log

pytestmark = pytest.mark.subprocess


def at_home(account: str, days: int = 20, country: str = "ES") -> list[SentMail]:
    return [SentMail(START + day * DAY + HOUR, account, country, 1) for day in range(days)]


def test_heights_are_the_most_that_counted_at_a_time(site: Site) -> None:
    site.configure(PLAIN + 'max_countries = 9\n[[limit]]\nmax_addresses = 9\nwindow = "1h"\n')
    mails = at_home("still")
    mails += hop("ES FR ES FR BR", START, "hopper", gap=DAY)  # three within two days
    mails += [SentMail(START + n * 600, "phone", "ES", n % 4) for n in range(30)]
    said = replay(site, write(site, "mail.log", log(sorted(mails))))
    heights = {row["key"]: row for row in said["heights"]}
    assert heights["max_countries"]["accounts"] == [
        {"account": "hopper", "height": 3},
        {"account": "phone", "height": 1},
        {"account": "still", "height": 1},
    ]
    assert heights["max_addresses"]["accounts"][0] == {"account": "phone", "height": 4}
    assert [heights["max_countries"][key] for key in ("median", "p99", "highest")] == [1, 3, 3]


def test_heights_of_mails_are_exact_beyond_the_limit(site: Site) -> None:
    configure_networks(site, '[[limit]]\nmax_foreign_mails = 5\nwindow = "1h"\n')
    mails = at_home("joe")
    mails += [SentMail(START + 20 * DAY + n * 30, "joe", "BR", 1) for n in range(300)]
    said = replay(site, write(site, "mail.log", log(mails)))
    (row,) = [row for row in said["heights"] if row["key"] == "max_foreign_mails"]
    assert row["highest"] == 121  # both ends of an hour count
    (stop,) = said["accounts"]
    assert (stop["rule"], stop["mails"], stop["mails_stopped"]) == (
        "max_foreign_mails 5 in 1h",
        26,
        295,
    )


def test_heights_tell_the_highest_of_those_that_do_not_look_stolen(site: Site) -> None:
    site.configure(PLAIN + "max_countries = 4\n")
    mails = hop(" ".join(COUNTRIES), START, "thief", gap=HOUR)
    mails += hop("ES FR ES FR BR", START, "hopper", gap=DAY)
    mails += at_home("still")
    said = replay(site, write(site, "mail.log", log(sorted(mails))))
    (row,) = said["heights"]
    assert (row["highest"], row["honest"]) == (8, 3)


def test_limits_that_stop_an_account_alone_are_counted(site: Site) -> None:
    site.configure(
        PLAIN + 'max_countries = 3\n[[limit]]\nmax_countries = 5\nwindow = "7d"\n'
        '[[limit]]\nmax_addresses = 3\nwindow = "1h"\n'
        '[[limit]]\nmax_addresses = 1\nwindow = "1h"\nmode = "observe"\n'
    )
    mails = hop("ES FR BR VN", START, "quick", gap=6 * HOUR)
    mails += hop("ES FR BR VN DE PT", START, "both", gap=6 * HOUR)
    mails += hop("ES FR BR VN DE PT", START, "slow", gap=DAY)
    mails += [SentMail(START + n * 60, "phone", "ES", n) for n in range(9)]
    mails += [SentMail(START + n * 60, "pair", "ES", n % 2) for n in range(9)]
    said = replay(site, write(site, "mail.log", log(sorted(mails))))
    assert said["settings"][0]["limits"] == [
        {"rule": "max_countries 3 in 2d", "accounts_blocked": 2, "alone": 1},
        {"rule": "max_countries 5 in 7d", "accounts_blocked": 2, "alone": 1},
        {"rule": "max_addresses 3 in 1h", "accounts_blocked": 1, "alone": 1},
    ]
    assert {row["account"] for row in said["accounts"]} == {"quick", "both", "slow", "phone"}
    heights = {(row["key"], row["window"]): row for row in said["heights"]}
    assert heights["max_addresses", "1h"]["highest"] == 9  # a limit that observes is shown as well


def patient(country_count: int) -> list[SentMail]:
    countries = COUNTRIES[:country_count]
    return [SentMail(START + n * 2 * DAY, "joe", country, 7) for n, country in enumerate(countries)]


def test_patient_thief_is_named_where_no_limit_stops_it(site: Site) -> None:
    site.configure("max_countries = 3\n")
    path = write(site, "mail.log", log(patient(8)))
    assert [row["account"] for row in replay(site, path)["settings"][0]["missed"]] == ["joe"]
    shown = run(site, "replay", path).stdout.decode()
    assert "1 account looks stolen for long and would not have been blocked:" in shown
    assert "joe was seen in 8 countries within 30 days, each on one day only" in shown
    assert "Recommended" not in shown
    assert "looks stolen" not in run(
        site, "replay", write(site, "honest.log", log(patient(7)))
    ).stdout.decode().replace("An account looks stolen when", "")
    assert "stops such thieves" in shown
    site.configure('max_countries = 3\n[[limit]]\nmax_countries = 15\nwindow = "14d"\n')
    shown = run(site, "replay", path).stdout.decode()
    assert "looks stolen for long" in shown
    assert "stops such thieves" not in shown


def test_patient_thief_that_a_limit_stops_looks_stolen(site: Site) -> None:
    site.configure('familiar_after = 3\nmax_countries = 6\nwindow = "14d"\n')
    (stop,) = replay(site, write(site, "mail.log", log(patient(8))))["accounts"]
    assert (stop["rule"], stop["looks_stolen"]) == ("max_countries 6 in 14d", True)


def test_mails_without_a_network_are_counted_where_a_limit_needs_one(site: Site) -> None:
    path = write(site, "mail.log", log(at_home("joe")))
    assert "had no network" not in run(site, "replay", path).stdout.decode()
    shown = run(site, "replay", "--max-networks", "3", path).stdout.decode()
    assert "20 mails had no network: limits on networks could not judge them." in shown
    configure_networks(site, "")
    shown = run(site, "replay", "--max-networks", "3", path).stdout.decode()
    assert "had no network" not in shown
    assert replay(site, path)["mails_without_network"] == 0


def test_stop_by_networks_names_them(site: Site) -> None:
    configure_networks(site, 'max_networks = 3\nwindow = "10m"\n')
    mails = [SentMail(START + n * 60, "joe", "ES", n * 4096) for n in range(6)]
    said = replay(site, write(site, "mail.log", log(mails)))
    (stop,) = said["accounts"]
    assert stop["rule"] == "max_networks 3 in 10m"
    assert stop["networks"] == ["AS64500", "AS64501", "AS64502", "AS64503"]
    assert (stop["mails"], stop["mails_stopped"]) == (4, 3)
    shown = run(site, "replay", str(site.folder / "mail.log")).stdout.decode()
    assert "AS64500, AS64501, AS64502, AS64503" in shown


def test_grid_shows_a_column_for_each_key_that_is_tried(site: Site) -> None:
    path = write(site, "mail.log", log(at_home("joe")))
    options = ["--max-networks", "3,4", "--max-hosting-mails", "5"]
    shown = run(site, "replay", *options, path).stdout.decode()
    assert "MAX COUNTRIES  WINDOW  MAX NETWORKS  MAX HOSTING MAILS  ACCOUNTS BLOCKED" in shown
