"""Blocks that were lifted soon: what is said to prevent each is tried on real verdicts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
from checkout import Site, is_pass
from incidents import HOSTILE, JOE, PLAIN, TODAY, learn, lifted, send_mails, sql
from simulator import DAY, SentMail

pytestmark = pytest.mark.subprocess


def cures(site: Site, account: str = JOE) -> dict[str, str]:
    """Return what would have prevented the one block of an account, by kind."""
    (alarm,) = [row for row in site.data("report")["lifted_soon"] if row["account"] == account]
    return {cure["kind"]: cure["text"] for cure in alarm["prevented_by"]}


EARLIER = [(TODAY - days * DAY, code) for days in (5, 4) for code in ("ES", "FR")]

AT_HOME = [(TODAY - days * DAY, "ES") for days in (5, 4, 3)]

CURES = [
    ("client", PLAIN, [], "ES FR BR", "mail-1.google.com"),
    ("familiar_after", PLAIN, EARLIER, "ES FR BR", "unknown"),
    ("familiar_after", PLAIN.replace("= 0", "= 3"), EARLIER, "ES FR BR", "unknown"),
    ("country_groups", PLAIN, [], "ES PT BR", "unknown"),
    ("country_groups", PLAIN + 'country_groups = [["FR", "DE"]]\n', [], "ES BR PT", "unknown"),
    ("override", PLAIN, [], "ES FR BR", "unknown"),
    (
        "override",
        'familiar_after = 0\n[[limit]]\nmax_addresses = 9\nwindow = "2h"\n'
        '[[limit]]\nmax_countries = 2\nwindow = "1h"\n',
        [],
        "ES FR BR",
        "unknown",
    ),
    ("override", "max_countries = 0\nmax_addresses = 2\n", [], "ES FR BR", "unknown"),
    ("override", "max_countries = 0\nmax_foreign_mails = 2\n", AT_HOME, "FR BR DE", "unknown"),
    (
        "override",
        f'{PLAIN}[[override]]\naccounts = ["@example.org"]\nmax_countries = 2\n',
        [],
        "ES FR BR",
        "unknown",
    ),
    ("account", PLAIN, [], "ES FR BR", "unknown"),
]


@pytest.mark.parametrize(
    ("kind", "toml", "past", "countries", "client_name"),
    CURES,
    ids=[f"{n}-{case[0]}" for n, case in enumerate(CURES)],
)
def test_cure_would_have_prevented_the_block(
    shared_site: Site,
    request: pytest.FixtureRequest,
    kind: str,
    toml: str,
    past: list[tuple[int, str]],
    countries: str,
    client_name: str,
) -> None:
    site, name = shared_site, request.node.callspec.id
    blocked, same = f"{name}@example.org", f"{name}-again@example.org"
    site.configure(toml)
    if past:
        learn(site, [SentMail(at, who, code, 1) for who in (blocked, same) for at, code in past])
    answers = send_mails(site, blocked, countries, client_name=client_name)
    assert [is_pass(answer) for answer in answers] == [True, True, False]
    lifted(site, blocked)
    send_mails(site, blocked, " ".join(countries.split()[:2]))
    if kind == "country_groups":
        send_mails(site, blocked, countries.split()[2])
    cure = cures(site, blocked)[kind].replace(blocked, same)
    site.configure(with_setting(toml, kind, cure))
    if kind in ("client", "account"):
        run_commands(cure)
    assert send_mails(site, same, countries, client_name=client_name) == ["DUNNO"] * 3


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site that each case configures for itself."""
    site = Site(tmp_path_factory.mktemp("shared"), PLAIN)
    yield site
    site.close()


def with_setting(toml: str, kind: str, cure: str) -> str:
    """Return the configuration with what an alarm says about it."""
    if kind in ("familiar_after", "country_groups"):
        kept = [line for line in toml.splitlines() if not line.startswith(kind)]
        return f"{cure}\n" + "\n".join(kept) + "\n"
    if kind != "override":
        return toml
    return f"{toml}\n{cure}\n" if "[[override]]" in cure else f"{toml.rsplit('max_', 1)[0]}{cure}\n"


def run_commands(*commands: str) -> None:
    """Type commands as they were printed."""
    script = "\n".join(["set -e", *commands])
    subprocess.run(["bash", "-c", script], check=True, stdout=subprocess.DEVNULL)


def test_group_is_suggested_for_neighbours_alone(site: Site) -> None:
    send_mails(site, JOE, "ES FR BR")
    lifted(site)
    send_mails(site, JOE, "ES BR")
    assert "country_groups" not in cures(site)
    send_mails(site, JOE, "FR")
    assert cures(site)["country_groups"] == 'country_groups = [["ES", "FR"]]'


def test_alarm_stays_one_when_a_later_block_was_a_theft(site: Site) -> None:
    deletion = "INSERT INTO event VALUES (?, ?, ?, ?, 'root', '')"
    for is_theft in (False, True):
        send_mails(site, JOE, "ES FR BR")
        lifted(site)
        sql(site, deletion, is_theft, time.time(), JOE, "deleted" if is_theft else "released")
        time.sleep(1.1)  # times are shown in whole seconds
    first, _ = site.data("report")["incidents"]
    assert [row["since"] for row in site.data("report")["lifted_soon"]] == [first["since"]]


def test_alarm_is_no_block_that_expired_or_whose_mail_was_deleted(site: Site) -> None:
    site.configure(PLAIN + 'block_for = "1s"\n')
    send_mails(site, "expired@example.org", "ES FR BR")
    site.configure(PLAIN + 'mode = "observe"\n')
    send_mails(site, "by-itself@example.org", "ES FR BR")
    site.configure(PLAIN)
    later = "UPDATE place SET last_seen = last_seen - 300000 WHERE account = ?"
    sql(site, later, "by-itself@example.org")
    time.sleep(1.1)
    site.admin("cleanup")
    for account in ("deleted@example.org", "late@example.org", "blocked@example.org"):
        send_mails(site, account, "ES FR BR")
    site.admin("block", "by-hand@example.org")
    lifted(site, "deleted@example.org", "late@example.org", "by-hand@example.org")
    earlier = "UPDATE incident SET began = began - 172800 WHERE account = ?"
    sql(site, earlier, "late@example.org")
    sql(
        site,
        "INSERT INTO event SELECT 1, ended, account, 'deleted', 'root', '2 held mails'"
        " FROM incident WHERE account = 'deleted@example.org'",
    )
    said = site.data("report")
    assert len(said["incidents"]) == 6
    assert [row["account"] for row in said["incidents"] if not row["ended"]] == [
        "blocked@example.org"
    ]
    assert said["lifted_soon"] == []


def test_commands_name_even_odd_logins_exactly(hostile: Site) -> None:
    alarms = hostile.data("report")["lifted_soon"]
    assert len(alarms) == len(HOSTILE)
    commands = [
        cure["text"]
        for alarm in alarms
        for cure in alarm["prevented_by"]
        if cure["kind"] == "account"
    ]
    run_commands(*commands)
    rows = hostile.data("exempt", "list")
    assert {row["value"] for row in rows} == {alarm["account"] for alarm in alarms}
    for alarm in alarms:
        hostile.admin("exempt", "remove", "account", "--", alarm["account"])
    text = hostile.admin("report").stdout
    assert text.replace("\n", "").isprintable()
