"""Every step of a verdict, asked of real policy processes on a real database."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from checkout import (
    ROOT,
    PolicyProcess,
    Site,
    address,
    address6,
    is_pass,
    is_refusal,
    new_instance,
    request_text,
)
from deployment import public_folder, service_python
from mmdb import write_country_database

from pcc.config.iso3166 import CODES
from pcc.config.prepared import load

pytestmark = pytest.mark.subprocess

PLAIN = "familiar_after = 0\n"


@pytest.fixture
def limits() -> str:
    """No country is familiar."""
    return PLAIN


def hop(process: PolicyProcess, countries: str, account: str = "joe@example.org") -> list[bool]:
    """Send a mail from each country; return which were refused."""
    return [is_refusal(process.ask(account, address(country))) for country in countries.split()]


def test_mail_from_one_country_too_many_is_refused_and_all_after_it(make: Any) -> None:
    site = make()
    process = site.policy()
    assert hop(process, "ES FR BR VN ES") == [False, False, False, True, True]
    assert process.end() == 0
    process = site.policy()
    assert hop(process, "ES") == [True]
    assert process.end() == 0  # the try is counted by then
    (block,) = site.data("list")
    assert block["countries"] == ["ES", "FR", "BR", "VN"]
    assert block["rule"] == "max_countries 3 in 2d"
    assert block["client_address"] == address("VN")
    assert block["tries"] == 3


def test_reason_follows_the_action(make: Any) -> None:
    site = make(PLAIN + 'max_countries = 1\nreason = "5.7.1 Ask Ann."\n')
    process = site.policy()
    process.ask("joe", address("ES"))
    assert process.ask("joe", address("FR")) == "REJECT 5.7.1 Ask Ann."


@pytest.mark.parametrize(
    ("action", "reply"),
    [
        ("DEFER_IF_PERMIT", "DEFER_IF_PERMIT 5.7.1 Ask Ann."),
        ("reject", "REJECT 5.7.1 Ask Ann."),
        ("550 5.7.1 No.", "550 5.7.1 No."),
        ("HOLD", "HOLD"),
    ],
)
def test_action_of_access_5_is_answered(make: Any, action: str, reply: str) -> None:
    site = make(PLAIN + f'max_countries = 1\naction = "{action}"\nreason = "5.7.1 Ask Ann."\n')
    process = site.policy()
    process.ask("joe", address("ES"))
    assert process.ask("joe", address("FR")) == reply


@pytest.mark.parametrize(
    ("toml", "attributes"),
    [
        ("", {"sasl_username": ""}),
        ("", {"sasl_username": "  "}),
        ("", {"client_address": "unknown"}),
        ("", {"client_address": ""}),
        ("", {"client_address": "10.1.2.3"}),
        ("", {"client_address": "::1"}),
        ("", {"client_address": "203.0.113.77"}),
        ('domains = ["example.net"]', {}),
        ('exempt_accounts = ["joe@example.org"]', {}),
        ('exempt_accounts = ["@example.org"]', {}),
        ('exempt_clients = ["11.0.0.0/8"]', {}),
        ('exempt_clients = [".google.com"]', {"client_name": "mail-1.GOOGLE.com"}),
        ('ignore_countries = ["ES"]', {}),
    ],
)
def test_mail_that_pcc_does_not_look_at_passes_and_leaves_no_trace(
    make: Any, toml: str, attributes: dict[str, str]
) -> None:
    site = make(PLAIN + toml)
    assert is_pass(site.ask("joe@example.org", **attributes))
    assert site.admin("show", "joe@example.org").returncode == 1


@pytest.mark.parametrize(
    ("toml", "attributes", "account"),
    [
        ("", {"sasl_username": "Joe@Example.ORG"}, "joe@example.org"),
        ("", {"sasl_username": " joe@example.org "}, "joe@example.org"),
        ("", {"sasl_username": "a=b=c"}, "a=b=c"),
        ("", {"sasl_username": "jösé@example.org"}, "jösé@example.org"),
        ("", {"sasl_username": "J'; DROP TABLE sighting; --"}, "j'; drop table sighting; --"),
        ('default_domain = "example.org"', {"sasl_username": "joe"}, "joe@example.org"),
        ("", {"sender": "forged@example.net"}, "joe@example.org"),
        ('account = "sender"', {"sender": "Ann@example.net"}, "ann@example.net"),
        ('account = "sender"', {"sender": ""}, "joe@example.org"),
        (
            'exempt_clients = [".google.com"]',
            {"client_name": "google.com.example"},
            "joe@example.org",
        ),
    ],
)
def test_account_is_the_normalised_login(
    make: Any, toml: str, attributes: dict[str, str], account: str
) -> None:
    site = make(PLAIN + toml)
    site.ask("joe@example.org", **attributes)
    assert site.mails(account) == {address("ES"): 1}


def test_case_null_sender_and_other_domains_do_not_hide_an_account(make: Any) -> None:
    site = make()
    process = site.policy()
    process.ask("joe@example.org", address("ES"), sender="")
    process.ask("JOE@example.org", address("FR"), sender="other@elsewhere.example")
    process.ask("joe@EXAMPLE.org", address("BR"), sender="JOE@EXAMPLE.ORG")
    assert is_refusal(process.ask("joe@example.org", address("VN"), sender=""))


def test_forging_a_colleague_does_not_block_the_colleague(make: Any) -> None:
    site = make()
    process = site.policy()
    for country in ("ES", "FR", "BR", "VN"):
        process.ask("thief@example.org", address(country), sender="ann@example.org")
    process.end()
    assert site.blocked() == ["thief@example.org"]


def test_recipients_and_stages_of_one_mail_are_one_mail(make: Any) -> None:
    site = make()
    process, other = site.policy(), site.policy()
    mail, second = new_instance(), new_instance()
    for _ in range(3):
        for state in ("RCPT", "RCPT", "DATA", "END-OF-MESSAGE"):
            assert is_pass(process.ask("joe", address("ES"), instance=mail, protocol_state=state))
            assert is_pass(other.ask("joe", address("ES"), instance=second, protocol_state=state))
    process.end()
    other.end()
    assert site.mails("joe") == {address("ES"): 2}


def test_retry_in_a_fresh_process_is_not_counted_again(make: Any) -> None:
    site = make()
    mail = new_instance()
    for _ in range(2):
        assert is_pass(site.ask("joe", address("ES"), instance=mail))
    assert site.mails("joe") == {address("ES"): 1}


def test_mails_without_an_instance_are_mails_of_their_own(make: Any) -> None:
    site = make()
    process = site.policy()
    for _ in range(3):
        process.ask("joe", address("ES"), instance="")
    process.end()
    assert site.mails("joe") == {address("ES"): 3}


def test_mail_is_counted_on_a_normal_end(make: Any) -> None:
    site = make()
    process = site.policy()
    for number in range(700):
        assert is_pass(process.ask("joe", address("ES", number % 7)))
    process.end()
    assert sum(site.mails("joe").values()) == 700


def test_mail_is_counted_soon_after_the_reply_without_an_end(make: Any) -> None:
    site = make()
    process = site.policy()
    for _ in range(5):
        process.ask("joe", address("ES"))
    deadline = time.monotonic() + 5
    while site.mails("joe") != {address("ES"): 5} and time.monotonic() < deadline:
        time.sleep(0.1)
    assert site.mails("joe") == {address("ES"): 5}


def test_sigterm_is_a_normal_end(make: Any) -> None:
    site = make()
    process = site.policy()
    for _ in range(5):
        process.ask("joe", address("ES"))
    process.process.terminate()
    assert process.process.wait(60) == 0
    assert site.mails("joe") == {address("ES"): 5}


def test_ipv6_addresses_are_recorded_as_their_network(make: Any) -> None:
    site = make(PLAIN + "[[limit]]\nmax_addresses = 2\n")
    process = site.policy()
    for host in range(1, 10):
        assert is_pass(process.ask("joe", address6("ES", 1, host)))
    assert is_pass(process.ask("joe", address6("ES", 2)))
    assert is_refusal(process.ask("joe", address6("ES", 3)))
    process.end()
    assert sorted(site.mails("joe").values()) == [1, 1, 9]


def test_ipv4_mapped_address_is_the_ipv4_address(make: Any) -> None:
    site = make()
    site.ask("joe", "::ffff:" + address("ES"))
    assert site.mails("joe") == {address("ES"): 1}


def test_unblock_starts_afresh_for_that_account_alone(make: Any) -> None:
    site = make()
    process = site.policy()
    hop(process, "ES FR BR VN", "joe")
    hop(process, "ES FR BR", "ann")
    process.end()
    assert site.admin("unblock", "joe").returncode == 0
    process = site.policy()
    assert hop(process, "ES FR BR", "joe") == [False] * 3
    assert hop(process, "VN", "ann") == [True]
    assert hop(process, "VN", "joe") == [True]


def test_observe_records_one_incident_and_lets_the_mail_pass(make: Any) -> None:
    site = make(PLAIN + 'mode = "observe"\n')
    process = site.policy()
    assert hop(process, "ES FR BR VN DE ES VN") == [False] * 7
    process.end()
    assert site.blocked() == []
    (incident,) = site.data("list", "--observed")
    assert incident["countries"] == ["ES", "FR", "BR", "VN"]
    assert len(site.data("list", "--observed", "--history")) == 1
    assert sum(site.mails().values()) == 7
    assert site.admin("unblock", "joe@example.org").returncode == 0
    assert site.data("list", "--observed") == []


def test_block_expires_and_counting_starts_afresh(make: Any) -> None:
    site = make(PLAIN + 'block_for = "1s"\nmax_countries = 1\n')
    process = site.policy()
    assert hop(process, "ES FR FR") == [False, True, True]
    time.sleep(1.1)
    assert site.blocked() == []
    assert hop(process, "FR FR ES") == [False, False, True]
    process.end()
    events = [event["what"] for event in site.data("show", "joe@example.org")["events"]]
    assert events == ["blocked", "expired", "blocked"]


def test_block_lasts_twice_as_long_as_the_last_one_that_ended_by_itself(make: Any) -> None:
    site = make(PLAIN + 'block_for = "1s"\nmax_countries = 1\n')
    process = site.policy()

    def seconds() -> float:
        """Block joe; return how long for."""
        hop(process, "ES FR")
        block = site.data("list", "--history")[-1]  # which may have expired by now
        since, expires = (
            datetime.fromisoformat(block[key].replace("Z", "+00:00"))
            for key in ("since", "expires")
        )
        return (expires - since).total_seconds()

    assert seconds() == 1
    time.sleep(1.1)
    assert seconds() == 2
    assert "It lasts longer than block_for" in site.admin("show", "joe@example.org").stdout
    time.sleep(2.1)
    assert seconds() == 4
    site.admin("unblock", "joe@example.org")
    assert seconds() == 1
    process.end()


@pytest.mark.parametrize(
    ("block_for", "before", "lasts"),
    [
        ("12h", 0, 0.5),
        ("12h", 0.5, 1),
        ("12h", 16, 30),
        ("12h", 30, 30),
        ("40d", 40, 40),
        ("", 1, 0),
    ],
)
def test_block_gets_no_longer_than_30_days_or_block_for(
    tmp_path: Path, block_for: str, before: float, lasts: float
) -> None:
    path = tmp_path / "pcc.toml"
    path.write_text(f'[policy]\nblock_for = "{block_for}"\n')
    assert load(str(path)).policy.block_seconds(before * 86400) == lasts * 86400


def test_exemption_lets_even_a_blocked_account_send_while_it_lasts(make: Any) -> None:
    site = make()
    process = site.policy()
    hop(process, "ES FR BR VN")
    site.admin("unblock", "joe@example.org", "--exempt-for", "2s")
    assert hop(process, "ES FR BR VN DE") == [False] * 5
    time.sleep(2.1)
    assert hop(process, "ES FR BR VN") == [False, False, False, True]


def test_override_holds_for_its_accounts_alone(make: Any) -> None:
    site = make(
        PLAIN + '[[override]]\naccounts = ["ceo@example.org", "@sales.example.org"]\n'
        "max_countries = 1\n"
    )
    process = site.policy()
    assert hop(process, "ES FR", "ceo@example.org") == [False, True]
    assert hop(process, "ES FR", "ann@sales.example.org") == [False, True]
    assert hop(process, "ES FR BR", "joe@example.org") == [False] * 3


def test_mail_is_held_up_to_the_limit_and_refused_from_then_on(make: Any) -> None:
    site = make(PLAIN + 'action = "HOLD"\nhold_limit = 2\nmax_countries = 1\n')
    process = site.policy()
    process.ask("joe", address("ES"))
    first = new_instance()
    actions = [
        process.ask("joe", address("FR"), instance=first, queue_id=queue_id)
        for queue_id in ("", "4A", "4A")
    ]
    assert actions == ["HOLD"] * 3  # three recipients of one mail
    assert process.ask("joe", address("FR"), queue_id="4B") == "HOLD"
    assert is_refusal(process.ask("joe", address("FR"), queue_id="4C"))
    assert process.ask("joe", address("FR"), instance=first, queue_id="4A") == "HOLD"
    process.end()
    assert site.ask("joe", address("FR"), instance=first, queue_id="4A") == "HOLD"
    (block,) = site.data("list")
    assert (block["held"], block["tries"]) == (2, 3)


@pytest.mark.parametrize("processes", [50])
def test_first_mails_at_the_same_instant_pass_exactly_max_countries(
    make: Any, processes: int
) -> None:
    site = make("familiar_after = 0\nmax_countries = 5\n")
    networks = [f"12.{number}.0.0/16" for number in range(processes)]
    codes = sorted(CODES)
    write_country_database(site.countries, dict(zip(networks, codes, strict=False)))
    started = [site.policy() for _ in networks]
    for process in started:
        process.ask("", "")  # up and waiting
    for number, process in enumerate(started):
        process.send(request_text("joe", f"12.{number}.0.1"))
    with ThreadPoolExecutor(processes) as pool:
        actions = list(pool.map(lambda process: process.reply(), started))
    assert sum(is_pass(action) for action in actions) == 5
    assert sum(is_refusal(action) for action in actions) == processes - 5
    for process in started:
        process.end()
    (block,) = site.data("list")
    assert block["tries"] == processes - 5


def test_replaced_country_database_is_used_for_new_addresses_at_once(make: Any) -> None:
    site = make()
    process = site.policy()
    process.ask("joe", address("ES", 1))
    write_country_database(site.folder / "new.mmdb", {"11.0.0.0/8": "IN"})
    os.replace(site.folder / "new.mmdb", site.countries)
    process.ask("joe", address("ES", 2))
    process.end()
    seen = {row["address"]: row["country"] for row in site.data("show", "joe")["sightings"]}
    assert seen == {address("ES", 1): "ES", address("ES", 2): "IN"}


@pytest.mark.parametrize("damage", ["missing", "rubbish", "empty", "folder"])
def test_mail_passes_and_blocks_hold_without_a_country_database(make: Any, damage: str) -> None:
    site = make()
    hop(site.policy(), "ES FR BR VN")
    site.countries.unlink()
    if damage == "folder":
        site.countries.mkdir()
    elif damage != "missing":
        site.countries.write_bytes(b"rubbish" * 100 if damage == "rubbish" else b"")
    process = site.policy()
    assert is_refusal(process.ask("joe@example.org", address("ES")))
    assert is_pass(process.ask("ann@example.org", address("ES")))


def test_request_split_over_packets_is_judged_whole(make: Any) -> None:
    site = make()
    process = site.policy()
    for piece in request_text("joe", address("ES")):
        process.send(piece)
    assert is_pass(process.reply())
    process.end()
    assert site.mails("joe") == {address("ES"): 1}


def test_requests_on_one_connection_are_answered_in_order(make: Any) -> None:
    site = make()
    process = site.policy()
    countries = ["ES", "FR", "BR", "VN", "DE"]
    process.send("".join(request_text("joe", address(country)) for country in countries))
    assert [is_refusal(process.reply()) for _ in countries] == [False] * 3 + [True] * 2


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        "rubbish\n\n",
        "request=something_else\n\n",
        "sasl_username=joe\n\n",
        "request=smtpd_access_policy\nsasl_username=joe\0\n\n",
        "request=smtpd_access_policy\r\nsasl_username=joe\r\n\r\n",
        "request=smtpd_access_policy\nx=" + "y" * 70000,
        "GET / HTTP/1.1\nHost: x\n\n",
    ],
)
def test_malformed_request_gets_no_reply(make: Any, text: str) -> None:
    site = make()
    process = site.policy()
    process.send(text)
    if "\r" in text:
        process.socket.shutdown(1)
    assert process.reply() is None
    assert process.end() == 76


def test_end_within_a_request_gets_no_reply(make: Any) -> None:
    process = make().policy()
    process.send("request=smtpd_access_policy\n")
    process.socket.shutdown(1)
    assert process.reply() is None
    assert process.end() == 76


def broken_config(site: Site) -> None:
    site.config.write_text("[policy]\nmax_countries = -1\n")


def missing_config(site: Site) -> None:
    site.config.unlink()


def missing_database(site: Site) -> None:
    site.database.unlink()


def rubbish_database(site: Site) -> None:
    site.database.write_bytes(b"rubbish" * 1000)


def empty_database(site: Site) -> None:
    site.database.write_bytes(b"")


def future_database(site: Site) -> None:
    with sqlite3.connect(site.database) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("trouble", "status"),
    [
        (broken_config, 78),
        (missing_config, 78),
        (missing_database, 74),
        (rubbish_database, 74),
        (empty_database, 74),
        (future_database, 74),
    ],
)
def test_socket_gets_nothing_in_trouble(make: Any, trouble: Any, status: int) -> None:
    site = make()
    trouble(site)
    process = site.policy()
    assert process.ask("joe", address("ES")) is None
    assert process.end() == status
    complaint = site.admin("list").stderr
    assert site.admin("list").returncode == 4
    assert complaint.count("\n") == 1
    assert str(site.config) in complaint or str(site.database) in complaint


def test_bug_ends_without_a_reply_or_a_traceback_on_the_socket(make: Any, tmp_path: Path) -> None:
    site = make()
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copytree(ROOT / "pcc", copy / "pcc")
    shutil.copy(ROOT / "pcc_policy.py", copy)
    (copy / "pcc" / "verdict" / "repeat.py").write_text("1 / 0\n")
    process = PolicyProcess(
        [sys.executable, str(copy / "pcc_policy.py"), "--config", str(site.config)]
    )
    assert process.ask("joe", address("ES")) is None
    assert process.end() == 70


@pytest.mark.parametrize("arguments", [["--config"], ["--confg", "x"], ["-c", "a", "b"], ["serve"]])
def test_wrong_arguments_are_a_usage_error(arguments: list[str]) -> None:
    process = PolicyProcess([sys.executable, str(ROOT / "pcc_policy.py"), *arguments])
    assert process.reply() is None
    assert process.end() == 64


def test_help_is_printed_for_a_person() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "pcc_policy.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("usage: pcc_policy.py [-c FILE | --config FILE]")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who can't write")
def test_blocks_hold_when_nothing_can_be_written(make: Any) -> None:
    site = make()
    process = site.policy()
    hop(process, "ES FR BR VN")
    process.end()
    for path in (site.folder, *site.folder.parents[:-2]):
        path.chmod(path.stat().st_mode | 0o055)
    site.database.chmod(0o644)
    copy = public_folder("read-only-code")
    for name in ("pcc", "pcc_policy.py", "schema.sql"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, copy / name)
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    command = [*nobody, str(service_python()), str(copy / "pcc_policy.py")]
    process = PolicyProcess([*command, "--config", str(site.config)])
    assert is_refusal(process.ask("joe@example.org", address("ES")))
    assert process.ask("ann@example.org", address("ES")) is None
    assert process.end() == 74


def test_corrected_country_database_corrects_what_is_known_of_an_address(make: Any) -> None:
    site = make("familiar_after = 0\nmax_countries = 1\n")
    process = site.policy()
    process.ask("joe", address("ES"))
    write_country_database(site.folder / "new.mmdb", {"11.0.0.0/8": "PT"})
    os.replace(site.folder / "new.mmdb", site.countries)
    assert site.admin("block", "joe").returncode == 0
    assert site.admin("unblock", "joe").returncode == 0
    assert [is_pass(process.ask("joe", address("ES", host))) for host in (1, 2, 1)] == [True] * 3
    process.end()
    assert {row["country"] for row in site.data("show", "joe")["sightings"]} == {"PT"}


def test_missing_country_database_also_makes_known_addresses_unknown(make: Any) -> None:
    site = make()
    process = site.policy()
    process.ask("joe", address("ES"))
    site.countries.unlink()
    for _ in range(3):
        assert is_pass(process.ask("joe", address("ES")))
    process.end()
    assert site.mails("joe") == {address("ES"): 1}


def test_retry_of_a_refused_mail_is_one_try(make: Any) -> None:
    site = make("familiar_after = 0\nmax_countries = 1\n")
    site.ask("joe", address("ES"))
    for number in range(2):
        mail = new_instance()
        for _ in range(3):
            assert is_refusal(site.ask("joe", address("FR", number), instance=mail))
    assert site.data("list")[0]["tries"] == 2


@pytest.mark.parametrize("login", ["joe@example.org.", "JOE@Example.Org", " joe@example.org"])
def test_spellings_of_a_login_are_the_same_account(make: Any, login: str) -> None:
    site = make("familiar_after = 0\nmax_countries = 1\n")
    process = site.policy()
    process.ask("joe@example.org", address("ES"))
    assert is_refusal(process.ask(login, address("FR")))


def test_mail_from_a_known_place_passes_where_nothing_can_be_written(make: Any) -> None:
    site = make()
    process = site.policy()
    process.ask("joe", address("ES"))
    process.end()
    locker = sqlite3.connect(site.database, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    assert is_pass(site.policy().ask("joe", address("ES")))
    locker.close()
