"""Accounts near a limit or over it, the watch list, and the networks in a report."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkout import Site, address, is_refusal
from incidents import JOE, TODAY, learn, send_mails
from mmdb import write_database
from simulator import DAY, SentMail
from systemlog import system_log

pytestmark = pytest.mark.subprocess

LIMITS = """
familiar_after = 1
max_countries = 3
[[limit]]
max_addresses = 4
window = "1h"
[[override]]
accounts = ["ceo@example.org"]
max_countries = 4
"""


def test_near_account_is_blocked_by_its_next_country(tmp_path: Path) -> None:
    site = Site(tmp_path, LIMITS)
    learn(site, [SentMail(TODAY - 3 * DAY, "known@example.org", c, 1) for c in ("ES", "PT")])
    for account, countries in [
        ("home@example.org", "ES"),
        ("two@example.org", "ES FR"),
        ("three@example.org", "ES FR BR"),
        ("known@example.org", "ES PT FR BR"),
        ("ceo@example.org", "ES FR BR"),
        ("exempt@example.org", "ES FR BR"),
        ("over@example.org", "ES FR BR VN"),
    ]:
        send_mails(site, account, countries)
    process = site.policy()
    for host in range(4):
        process.ask("hosts@example.org", address("ES", host))
    process.end()
    site.admin("exempt", "add", "account", "exempt@example.org")
    said = site.data("report")
    near = {
        row["account"]: (f"{row['counted']} of {row['allowed']}", row["rule"])
        for row in said["near"]
    }
    assert near == {
        "hosts@example.org": ("4 of 4", "max_addresses 4 in 1h"),
        "known@example.org": ("3 of 3", "max_countries 3 in 2d"),
        "three@example.org": ("3 of 3", "max_countries 3 in 2d"),
        "ceo@example.org": ("3 of 4", "max_countries 4 in 2d"),
        "two@example.org": ("2 of 3", "max_countries 3 in 2d"),
    }
    assert said["near_count"] == 5
    assert said["near"][1]["countries"] == ["ES", "PT", "FR", "BR"]
    for account, (count, _) in near.items():
        is_full = count[0] == count[-1]
        assert is_refusal(send_mails(site, account, "DE")[0]) == is_full, account
    site.close()


def test_account_over_a_limit_that_was_tightened_is_listed_apart(site: Site) -> None:
    site.configure("max_countries = 9\nfamiliar_after = 0\n")
    send_mails(site, JOE, "ES FR BR VN")
    send_mails(site, "ann@example.org", "ES FR")
    site.configure("max_countries = 3\nfamiliar_after = 0\n")
    said = site.data("report")
    (over,) = said["over"]
    assert (over["account"], over["counted"], over["allowed"]) == (JOE, 4, 3)
    assert (over["mode"], over["countries"]) == ("enforce", ["ES", "FR", "BR", "VN"])
    assert [row["account"] for row in said["near"]] == ["ann@example.org"]
    assert (said["over_count"], said["near_count"]) == (1, 1)
    text = site.admin("report").stdout
    assert "Over a limit by what is remembered\n" in text
    assert f"{JOE}  4 of 3  max_countries 3 in 2d  ES,FR,BR,VN" in text
    assert is_refusal(send_mails(site, JOE, "DE")[0])
    assert site.data("report")["over"] == []


OBSERVING = """
max_countries = 4
familiar_after = 0
[[limit]]
max_countries = 3
window = "7d"
mode = "observe"
"""


def test_limit_that_observes_is_shown_beside_one_in_force(site: Site) -> None:
    site.configure(OBSERVING)
    send_mails(site, JOE, "ES FR BR")
    near = {row["mode"]: (row["rule"], row["counted"]) for row in site.data("report")["near"]}
    assert near == {
        "observe": ("max_countries 3 in 7d", 3),
        "enforce": ("max_countries 4 in 2d", 3),
    }
    assert "3 of 3  max_countries 3 in 7d (observes)  ES,FR,BR" in site.admin("report").stdout


def test_watch_list_has_the_accounts_with_the_most_unfamiliar_places(site: Site) -> None:
    site.configure("max_countries = 0\nfamiliar_after = 3\n")
    home = [SentMail(TODAY - days * DAY, "home@example.org", "ES", 1) for days in (5, 4, 3)]
    past = [SentMail(TODAY - 40 * DAY, "home@example.org", "DE", 1)]
    learn(site, past + home)
    send_mails(site, "home@example.org", "ES FR BR")
    send_mails(site, JOE, "ES FR BR VN DE")
    send_mails(site, "ann@example.org", "ES FR BR VN")
    send_mails(site, "exempt@example.org", "ES FR BR VN")
    site.admin("exempt", "add", "account", "exempt@example.org")
    watch = site.data("report")["watch"]
    assert [(row["account"], row["mails"]) for row in watch] == [(JOE, 5), ("ann@example.org", 4)]
    assert sorted(watch[0]["countries"]) == ["BR", "DE", "ES", "FR", "VN"]
    text = site.admin("report").stdout
    assert "Watch list: most unfamiliar countries and networks in 30 days\n" in text


def test_network_of_the_crossing_mail_is_in_the_log(tmp_path: Path) -> None:
    records = {"11.2.0.0/16": {"autonomous_system_number": 24940}}
    write_database(tmp_path / "asn.mmdb", records, "GeoLite2-ASN")
    databases = '[country]\ndatabase = "country.mmdb"\nnetworks = "asn.mmdb"\nhosting = ""\n'
    policy = "[policy]\nmax_countries = 1\nfamiliar_after = 0\n"
    site = Site(tmp_path, f'{policy}{databases}[store]\ndatabase = "pcc.db"\n[notify]\nto = []\n')
    with system_log() as log:
        for account, countries in (("log-1@example.org", "ES FR"), ("log-2@example.org", "ES BR")):
            send_mails(site, account, countries)
        lines = log.lines(5, of="blocked account=<log-")
    assert [line.rpartition(" ")[2] for line in lines] == ["network=AS24940", "network=11.3.0.0/16"]
    site.close()


def test_networks_are_counted_and_named(tmp_path: Path) -> None:
    databases = '[country]\ndatabase = "country.mmdb"\nnetworks = "asn.mmdb"\nhosting = "h.txt"\n'
    names = {"11.1.0.0/16": (3352, "<Telefonica>"), "11.2.0.0/16": (24940, "Rented")}
    records = {
        network: {"autonomous_system_number": number, "autonomous_system_organization": name}
        for network, (number, name) in names.items()
    }
    write_database(tmp_path / "asn.mmdb", records, "GeoLite2-ASN")
    (tmp_path / "h.txt").write_text("24940\n")
    policy = "[policy]\nmax_countries = 0\nmax_networks = 4\nfamiliar_after = 0\n"
    site = Site(tmp_path, f'{policy}{databases}[store]\ndatabase = "pcc.db"\n')
    send_mails(site, JOE, "ES ES FR BR")
    send_mails(site, "ann@example.org", "ES")
    said = site.data("report")
    assert said["networks"] == [
        {"network": "AS3352", "name": "<Telefonica>", "hosting": False, "accounts": 2, "mails": 3},
        {"network": "11.3.0.0/16", "name": None, "hosting": None, "accounts": 1, "mails": 1},
        {
            "network": "AS24940",
            "name": "Rented",
            "hosting": True,
            "accounts": 1,
            "mails": 1,
        },
    ]
    assert said["network_count"] == 3
    (near,) = said["near"]
    assert (near["rule"], near["counted"]) == ("max_networks 4 in 2d", 3)
    assert sorted(near["networks"]) == ["11.3.0.0/16", "AS24940", "AS3352"]
    text = site.admin("report").stdout
    assert "AS3352       2         3      \\x3cTelefonica\\x3e\n" in text
    assert "AS24940      1         1      Rented, hosting\n" in text
    page = tmp_path / "page.html"
    assert site.admin("report", "--html", str(page)).returncode == 0
    assert 'title="Rented, hosting">AS24940</abbr>' in page.read_text()
    site.close()
