"""Dialogues with the commands about accounts: what is typed, what is said, the exit status."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, Site, address
from systemlog import system_log

pytestmark = pytest.mark.subprocess

ODD_LOGINS = [
    "\x1b[2J\x1b[31mjoe@example.org",
    "joe'; drop table incident; --",
    'joe "the boss" <joe@example.org>',
    "joe with blanks",
    "jösé@例え.example",
    "\u202egro.elpmaxe@eoj",
    "a" * 500,
]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, "familiar_after = 0\nmax_countries = 1\n")
    yield made
    made.close()


def crossing(site: Site, account: str) -> None:
    """Let an account cross the limit."""
    process = site.policy()
    for country in ("ES", "FR"):
        process.ask(account, address(country))
    process.end()


def test_list_says_nothing_in_a_pipe_when_nobody_is_blocked(site: Site) -> None:
    done = site.admin("list")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert site.data("list") == []


def test_list_shows_who_is_blocked_since_when_and_why(site: Site) -> None:
    crossing(site, "joe@example.org")
    (row,) = site.data("list")
    assert list(row) == [
        "account",
        "since",
        "rule",
        "countries",
        "client_address",
        "action",
        "held",
        "tries",
        "expires",
    ]
    assert row["since"].endswith("Z")
    assert row["countries"] == ["ES", "FR"]
    header, line = site.admin("list").stdout.splitlines()
    assert header.split() == (
        "STATE ACCOUNT SINCE RULE COUNTRIES CLIENT ADDRESS ACTION HELD TRIES EXPIRES".split()
    )
    assert line.startswith("BLOCKED  joe@example.org  ")
    assert "\t" not in line


def test_history_has_lifted_blocks_too(site: Site) -> None:
    crossing(site, "joe@example.org")
    site.admin("unblock", "joe@example.org")
    assert site.data("list") == []
    (row,) = site.data("list", "--history")
    assert row["ended"]
    assert site.admin("list", "--history").stdout.splitlines()[1].startswith("lifted")


def test_show_has_sightings_block_and_events(site: Site) -> None:
    crossing(site, "joe@example.org")
    shown = site.data("show", "JOE@example.org")
    assert (shown["account"], shown["blocked"], shown["exempt_until"]) == (
        "joe@example.org",
        True,
        None,
    )
    assert {row["country"] for row in shown["sightings"]} == {"ES", "FR"}
    assert set(shown["sightings"][0]) == {
        "country",
        "address",
        "client_name",
        "mails",
        "first_seen",
        "last_seen",
    }
    assert [event["what"] for event in shown["events"]] == ["blocked"]
    assert "max_countries 1 in 2d" in site.admin("show", "joe@example.org").stdout


def test_show_of_an_account_that_nothing_is_known_of_is_1(site: Site) -> None:
    done = site.admin("show", "nobody@example.org")
    assert done.returncode == 1
    assert done.stderr == "pcc_admin.py: nothing is known of nobody@example.org\n"
    assert site.data("show", "nobody@example.org")["sightings"] == []


def test_check_tells_the_verdict_and_writes_nothing(site: Site) -> None:
    site.ask("joe", address("ES"))
    before = site.data("show", "joe")
    done = site.admin("--json", "check", "joe", address("FR"))
    assert done.returncode == 1
    verdict = site.data("check", "joe", address("FR"))
    assert verdict["would_block"] is True
    assert verdict["country"] == "FR"
    assert verdict["countries"] == ["ES", "FR"]
    assert verdict["rule"] == "max_countries 1 in 2d"
    assert verdict["action"].startswith("REJECT ")
    done = site.admin("check", "joe", address("ES", 7))
    assert done.returncode == 0
    assert "DUNNO" in done.stdout
    assert site.data("show", "joe") == before
    assert site.data("list") == []


def test_check_agrees_with_the_verdict_that_follows(site: Site) -> None:
    for country in ("ES", "ES", "FR", "ES"):
        foretold = site.data("check", "joe", address(country))["action"]
        assert site.ask("joe", address(country)) == foretold


@pytest.mark.parametrize(
    ("toml", "because"),
    [
        ('exempt_accounts = ["joe"]', "the configuration exempts the account"),
        ('exempt_clients = ["11.0.0.0/8"]', "the client is exempt"),
        ('ignore_countries = ["ES"]', "mail from ES never counts"),
        ('mode = "observe"\nmax_countries = 1', "no limit is crossed"),
    ],
)
def test_check_says_why_a_mail_would_pass(site: Site, toml: str, because: str) -> None:
    site.configure(toml)
    verdict = site.data("check", "joe", address("ES"))
    assert because in verdict["because"]
    assert verdict["would_block"] is False


def test_check_of_a_blocked_account_says_so_and_names_the_country(site: Site) -> None:
    crossing(site, "joe")
    done = site.admin("check", "joe", address("BR"))
    assert done.returncode == 1
    verdict = site.data("check", "joe", address("BR"))
    assert (verdict["country"], verdict["would_block"]) == ("BR", True)
    assert "is blocked" in verdict["because"]


def test_in_observe_mode_nothing_would_be_stopped(site: Site) -> None:
    site.ask("joe", address("ES"))
    site.configure('familiar_after = 0\nmax_countries = 1\nmode = "observe"\n')
    done = site.admin("check", "joe", address("FR"))
    assert done.returncode == 0
    assert "only observed" in done.stdout


def test_a_block_that_does_not_stop_mail_is_shown_as_such(site: Site) -> None:
    for account in ("joe@example.org", "ann@partner.example", "eve@example.org"):
        assert site.admin("block", account).returncode == 0
    site.configure(
        'domains = ["example.org"]\nexempt_accounts = ["eve@example.org"]\nmode = "observe"\n'
        '[[override]]\naccounts = ["bob@example.org"]\nmode = "enforce"\n'
    )
    site.admin("block", "bob@example.org")
    states = {
        line.split("  ")[1].strip(): line.split("  ")[0]
        for line in re.sub("  +", "  ", site.admin("list").stdout).splitlines()[1:]
    }
    assert states == {
        "joe@example.org": "not enforced: mode is observe",
        "ann@partner.example": "not enforced: outside policy.domains",
        "eve@example.org": "not enforced: account is exempt",
        "bob@example.org": "BLOCKED",
    }
    for account, state in states.items():
        assert site.admin("show", account).stdout.splitlines()[2].startswith(f"{state}  ")
        assert (site.ask(account, address("ES")) == "DUNNO") is (state != "BLOCKED")
        site.admin("unblock", account)
        why = state.partition(": ")[2]
        told = f"pcc_admin.py: mail of {account} passes all the same: {why}\n" if why else ""
        assert site.admin("block", account).stderr == told


def test_who_exempts_a_blocked_account_is_told_that_the_block_stays(site: Site) -> None:
    assert site.admin("block", "joe").returncode == 0
    done = site.admin("exempt", "add", "account", "joe", "--for", "7d")
    told, reminder, command = done.stdout.splitlines()
    assert told.startswith("account joe is exempt until ")
    assert reminder == "It is still blocked, though its mail passes now; to lift that, too:"
    assert command.endswith(f"{site.config} unblock joe")
    assert site.admin("unblock", "joe").returncode == 0
    assert len(site.admin("exempt", "add", "account", "joe").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("exempted", "until"),
    [
        ([("domain", "--until", "2098-01-01T00:00:00Z")], "2098-01-01T00:00:00Z"),
        (
            [
                ("domain", "--until", "2098-01-01T00:00:00Z"),
                ("account", "--until", "2099-01-01T00:00:00Z"),
            ],
            "2099-01-01T00:00:00Z",
        ),
        ([("account", "--for", "1d"), ("domain",)], "for ever"),
    ],
)
def test_show_tells_of_every_exemption_that_lets_the_mail_pass(
    site: Site, exempted: list[tuple[str, ...]], until: str
) -> None:
    value = {"account": "joe@example.org", "domain": "example.org"}
    for kind, *end in exempted:
        assert site.admin("exempt", "add", kind, value[kind], *end).returncode == 0
    assert site.data("show", "joe@example.org")["exempt_until"] == until
    shown = site.admin("show", "joe@example.org").stdout
    assert shown.count("Exempt ") == len(exempted)


def test_a_block_by_hand_stops_mail_until_it_is_lifted(site: Site) -> None:
    done = site.admin("block", "joe", "--reason", "asked for by phone")
    assert (done.returncode, done.stdout) == (0, "joe is blocked.\n")
    assert (site.ask("joe", address("ES")) or "").startswith("REJECT")
    assert site.admin("block", "joe").returncode == 1
    (row,) = site.data("list")
    assert (row["rule"], row["countries"], row["client_address"]) == ("by hand", [], None)
    assert site.data("show", "joe")["events"][0]["detail"] == "asked for by phone"
    assert site.admin("unblock", "joe").returncode == 0
    assert site.ask("joe", address("ES")) == "DUNNO"


def test_who_blocks_an_account_that_was_never_seen_is_asked_for_the_whole_login(site: Site) -> None:
    assert site.ask("joe@example.org", address("ES")) == "DUNNO"
    assert site.admin("block", "joe@example.org").stderr == ""
    done = site.admin("block", "joe")
    assert (done.returncode, done.stdout) == (0, "joe is blocked.\n")
    assert done.stderr == "pcc_admin.py: joe was never seen sending: is this the whole login?\n"


def test_what_is_no_database_is_sent_to_doctor(site: Site) -> None:
    site.database.write_bytes(b"To be, or not to be\n" * 1000)
    done = site.admin("list")
    cure = "file is not a database: run pcc_admin.py doctor"
    assert (done.returncode, done.stderr) == (4, f"pcc_admin.py: {site.database}: {cure}\n")


def test_forget_removes_every_trace_and_says_what(site: Site) -> None:
    crossing(site, "joe")
    crossing(site, "ann")
    site.admin("exempt", "add", "account", "joe")
    done = site.admin("forget", "joe")
    assert (done.returncode, done.stdout) == (
        0,
        "joe is forgotten: 2 sightings, 2 countries, 1 incident, 2 events, 1 exemption.\n",
    )
    assert site.admin("show", "joe").returncode == 1
    assert site.admin("forget", "joe").returncode == 1
    assert site.admin("show", "ann").returncode == 0


def test_forget_counts_each_kind_of_trace(site: Site) -> None:
    crossing(site, "joe")
    removed = {
        "sightings": 2,
        "countries": 2,
        "held_mails": 0,
        "incidents": 1,
        "events": 1,
        "notices": 0,
        "exemptions": 0,
    }
    assert site.data("forget", "joe") == {"account": "joe", "removed": removed}
    nothing = dict.fromkeys(removed, 0)
    assert site.data("forget", "joe") == {"account": "joe", "removed": nothing}


def test_whatever_is_done_leaves_a_line_in_the_mail_log_with_who_did_it(site: Site) -> None:
    odd = "joe <1>\x1b[2J"
    name = f"pcc-{os.getpid()}"  # another pcc of this machine may log, too
    site.configure(f'[log]\nname = "{name}"\n')

    def logged(patience: float = 0) -> list[str]:
        return [line.partition("]: ")[2] for line in log.lines(patience, f" {name}[")]

    with system_log() as log:
        for command, expected in (
            (("block", odd, "--reason", "a\nb"),
             r"blocked account=<joe \x3c1\x3e\x1b[2j> rule=<by hand> by=<root> reason=<a\nb>"),
            (("unblock", odd, "--exempt-for", "1d", "--reason", "phoned"),
             r"unblocked account=<joe \x3c1\x3e\x1b[2j> by=<root> reason=<phoned>"),
            (("exempt", "add", "domain", "example.org", "--until", "2099-01-01T00:00:00Z"),
             "exempted kind=domain value=<example.org> until=2099-01-01T00:00:00Z by=<root>"
             " reason=<>"),
            (("exempt", "add", "client", "192.0.2.0/24", "--reason", "webmail"),
             "exempted kind=client value=<192.0.2.0/24> until=- by=<root> reason=<webmail>"),
            (("exempt", "remove", "domain", "example.org"),
             "exemption_removed kind=domain value=<example.org> by=<root>"),
            (("forget", odd), r"forgotten account=<joe \x3c1\x3e\x1b[2j> by=<root>"),
        ):  # fmt: skip
            assert site.admin(*command).returncode == 0
            lines = logged(5)
            assert lines[0] == expected
            assert len(lines) == (2 if command[0] == "unblock" else 1), lines
        assert site.admin("forget", odd).returncode == 1
        assert site.admin("exempt", "remove", "domain", "example.org").returncode == 1
        assert logged() == []


def test_a_block_that_cleanup_ends_is_logged_like_one_that_a_mail_ends(site: Site) -> None:
    site.configure('block_for = "1s"\n')
    assert site.admin("block", "ends@example.org").returncode == 0
    time.sleep(1.1)
    with system_log() as log:
        assert site.admin("cleanup").returncode == 0
        told = [line.partition("]: ")[2] for line in log.lines(5, "ends@")]
    assert "unblocked account=<ends@example.org> by=<pcc> reason=<expired>" in told


def test_an_account_that_is_not_blocked_can_be_exempted_by_unblock(site: Site) -> None:
    crossing(site, "joe")
    assert site.admin("unblock", "joe").returncode == 0
    done = site.admin("unblock", "joe", "--release", "--exempt-for", "7d", "--reason", "travels")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("joe was not blocked, and is exempt until ")
    (row,) = site.data("exempt", "list")
    assert (row["kind"], row["value"], row["by"], row["reason"]) == (
        "account",
        "joe",
        "root",
        "travels",
    )
    done = site.admin("unblock", "joe", "--release")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pcc_admin.py: joe is not blocked, and none of its mail is on hold\n"


@pytest.mark.parametrize("login", ODD_LOGINS, ids=range(len(ODD_LOGINS)))
def test_odd_logins_are_shown_harmlessly_and_can_be_handled(site: Site, login: str) -> None:
    crossing(site, login)
    (row,) = site.data("list")
    account: Any = row["account"]
    for command in (["list"], ["show", account], ["check", account, address("BR")]):
        said = site.admin(*command)
        assert (said.stdout + said.stderr).replace("\n", "").isprintable()
    assert site.admin("unblock", account).returncode == 0
    assert site.data("list") == []


def test_a_login_that_is_no_utf8_can_be_typed_as_the_client_typed_it(site: Site) -> None:
    login = os.fsdecode(b"j\xf6sef@example.org")
    crossing(site, login)
    assert site.data("list")[0]["account"] == "j\\xf6sef@example.org"
    site.admin("exempt", "add", "account", login, "--reason", login)
    assert site.admin("exempt", "remove", "account", login).returncode == 0
    for command in (["show"], ["unblock", "--reason", login], ["held"], ["block"], ["forget"]):
        done = site.admin(*command, login)
        assert (done.returncode, done.stderr) == (0, ""), command


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["lst"],
        ["show"],
        ["check", "joe"],
        ["unblock"],
        ["cleanup", "--days", "-1"],
        ["unblock", "joe", "--exempt-for", "soon"],
        ["list", "--all"],
    ],
)
def test_wrong_usage_is_2_and_leaves_stdout_to_data(site: Site, arguments: list[str]) -> None:
    done = site.admin(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", ""],
        ["check", " ", "192.0.2.1"],
        ["block", ""],
        ["unblock", "joe", ""],
        ["held", ""],
        ["forget", ""],
    ],
)
def test_an_account_that_is_empty_is_wrong_usage(site: Site, arguments: list[str]) -> None:
    done = site.admin(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "pcc_admin.py: ACCOUNT must not be empty\n"


def test_what_can_not_be_written_is_told_in_a_sentence(site: Site) -> None:
    crossing(site, "joe")
    command = f"{sys.executable} {ROOT / 'pcc_admin.py'} -c {site.config}"
    for arguments in ("list", "--json list"):
        done = subprocess.run(
            f"{command} {arguments} >/dev/full", shell=True, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (
            4,
            "pcc_admin.py: the output can't be written: No space left on device\n",
        )


def test_a_stdout_that_is_closed_is_no_trouble(site: Site) -> None:
    crossing(site, "joe")
    command = f"{sys.executable} {ROOT / 'pcc_admin.py'} -c {site.config} list >&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_locale_that_lacks_a_character_has_it_escaped_but_json_is_utf8(site: Site) -> None:
    crossing(site, "jösé")
    command = [sys.executable, str(ROOT / "pcc_admin.py"), "-c", str(site.config), "list"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    plain = subprocess.run(command, env=ascii_only, capture_output=True, text=True)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert "j\\xf6s\\xe9" in plain.stdout
    data = subprocess.run([*command, "--json"], env=ascii_only, capture_output=True)
    assert json.loads(data.stdout.decode())[0]["account"] == "jösé"


def test_what_is_not_there_cannot_be_moved(site: Site) -> None:
    source, target = site.folder / "none.db", site.folder / "target.db"
    done = site.admin("move", str(source), str(target))
    assert (done.returncode, done.stderr) == (
        4,
        f"pcc_admin.py: FROM does not exist: {source}\n",
    )
    assert not target.exists()


def test_options_stand_before_or_after_the_command(site: Site) -> None:
    assert site.admin("--json", "list").stdout == site.admin("list", "--json").stdout == "[]\n"


def test_the_version_is_told(site: Site) -> None:
    assert site.admin("--version").stdout.startswith("pcc 1.")


def test_the_address_to_check_must_be_one(site: Site) -> None:
    done = site.admin("check", "joe", "300.1.1.1")
    assert (done.returncode, done.stderr) == (
        2,
        "pcc_admin.py: 300.1.1.1 is not an IP address\n",
    )
    assert site.admin("check", "joe", "unknown").returncode == 0


def test_cleanup_ends_what_was_observed_and_is_no_longer_true(site: Site) -> None:
    site.configure('familiar_after = 0\nmax_countries = 1\nwindow = "1s"\nmode = "observe"\n')
    crossing(site, "joe")
    assert len(site.data("list", "--observed")) == 1
    time.sleep(1.2)
    site.admin("cleanup")
    assert site.data("list", "--observed") == []
    site.admin("cleanup", "--days", "0")
    assert site.admin("show", "joe").returncode == 1
