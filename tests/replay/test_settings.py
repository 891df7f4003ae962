"""The configuration, exemptions and options hold in a replay as for a verdict."""

from __future__ import annotations

import pytest
from checkout import Site, address
from replaying import FAMILIAR, PLAIN, START, hop, replay, run, write
from simulator import DAY, log

pytestmark = pytest.mark.subprocess


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
def test_configuration_holds_as_for_a_verdict(site: Site, toml: str, stopped: int) -> None:
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


def test_accounts_that_were_not_judged_are_counted(site: Site) -> None:
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


def test_replay_blocks_nobody_while_it_learns(site: Site) -> None:
    site.configure(FAMILIAR)
    mails = [*hop("ES FR BR VN", START), *hop("ES FR BR VN DE", START + 8 * DAY)]
    path = write(site, "mail.log", log(mails))
    assert len(replay(site, path)["accounts"]) == 1
    assert replay(site, path, "--learn", "7d")["accounts"] == []
    (stop,) = replay(site, path, "--learn", "7d", "--max-countries", "1")["accounts"]
    assert stop["countries"] == ["ES", "FR", "BR", "VN", "DE"]


def test_replay_needs_no_database(site: Site) -> None:
    path = write(site, "mail.log", log(hop("ES FR BR VN", START)))
    site.database.unlink()
    assert replay(site, path)["settings"][0]["accounts_blocked"] == 1
    assert run(site, "replay", "--import", path).returncode == 4


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
def test_options_that_make_no_sense_are_usage_errors(
    site: Site, arguments: tuple[str, ...]
) -> None:
    assert run(site, "replay", *arguments, "mail.log").returncode == 2
